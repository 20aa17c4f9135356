"""One key at a time, a line, or a text in an editor, from a person at a terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import typer

from prentice.errors import DataError

LEFT, RIGHT, UP, DOWN, ENTER, ESCAPE = "left", "right", "up", "down", "enter", "escape"
_NAMES = {
    "\r": ENTER,
    "\n": ENTER,
    "\x1b[D": LEFT,
    "\x1b[C": RIGHT,
    "\x1b[A": UP,
    "\x1b[B": DOWN,
    "\x1bOD": LEFT,
    "\x1bOC": RIGHT,
    "\x1bOA": UP,
    "\x1bOB": DOWN,
    "\xe0K": LEFT,
    "\xe0M": RIGHT,
    "\xe0H": UP,
    "\xe0P": DOWN,
}
"""What terminals send for keys that are no character; the last row is Windows."""
END = "."
"""The line that ends a text of several lines."""


def at_a_terminal() -> bool:
    """Whether a person can read and type here."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def key() -> str:
    """Wait for a key; what was typed before the call is dropped, since it was meant for what was shown before.

    Raises: KeyboardInterrupt for Ctrl-C; EOFError for Ctrl-D.
    """
    sys.stdout.flush()
    typed = typer.getchar()
    return _NAMES.get(typed) or (ESCAPE if typed.startswith("\x1b") else typed[:1])


def tell(text: str) -> None:
    """Say something below what is shown."""
    typer.echo(text)


def line(prompt: str, text: str = "") -> str | None:
    """Ask for one line, which begins as `text` where the terminal can do that; None for Ctrl-C or Ctrl-D."""
    with suppress(ImportError):
        import readline

        # called once the prompt is shown; without it the line begins empty
        readline.set_startup_hook((lambda: readline.insert_text(text)) if text else None)
    try:
        return input(prompt)
    except (KeyboardInterrupt, EOFError):
        typer.echo()  # the cursor stands behind what was typed
        return None
    except UnicodeDecodeError:
        return None


def edited(text: str) -> str | None:
    """Let a person change a text, in $VISUAL or $EDITOR if there is one, else here; None if it was left as it is.

    Raises: DataError if the editor cannot be started or says that it failed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if editor:
        found = _in_editor(editor, text)
        return None if found == text else found
    return _here(text)


def _in_editor(editor: str, text: str) -> str:
    try:
        command = shlex.split(editor, posix=os.name != "nt")
        with tempfile.TemporaryDirectory(prefix="prentice-") as folder:
            file = Path(folder) / "answer.txt"
            file.write_text(text + "\n", encoding="utf-8")
            ended = subprocess.run([*command, str(file)], check=False)
            found = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        hint = "set EDITOR to an editor's command, or to nothing to type the answer here"
        raise DataError(f"editor {editor!r}: {error}", hint) from error
    if ended.returncode:
        raise DataError(f"the editor ended with {ended.returncode}, nothing was changed: {editor}")
    return found.removesuffix("\n")


def _here(text: str) -> str | None:
    """One line with the old text in it, or several lines typed anew."""
    if "\n" not in text and len(text) < 200:
        typed = line("better answer (empty: leave it): ", text)
        return typed if typed and typed != text else None
    typer.echo(
        f"Type the better answer; a line with nothing but {END} ends it, and at once leaves the old answer as it is."
    )
    lines: list[str] = []
    while (typed := line("> ")) is not None:
        if typed == END:
            return "\n".join(lines) if lines else None
        lines.append(typed)
    return None
