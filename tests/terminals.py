"""A real program in a pseudo-terminal, driven key by key."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

CLEAR = "\x1b[2J"
_CODES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>])")


class Terminal:
    """`python -m prentice ARGUMENTS` on a terminal of its own.

    Args:
        size: lines and columns.
        more: environment variables beside those of the test.
    """

    def __init__(
        self, *arguments: object, cwd: Path, size: tuple[int, int] = (24, 80), more: Mapping[str, str] | None = None
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        plain = {
            name: value for name, value in os.environ.items() if name not in ("EDITOR", "VISUAL", "COLUMNS", "LINES")
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "prentice", *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=plain | {"TERM": "xterm", "PYTHONUTF8": "1", **(more or {})},
            start_new_session=True,
        )
        os.close(slave)
        self._seen = ""
        # a read may end within the bytes of one character
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def screen(self) -> str:
        """What was written since the terminal was last cleared, without colours."""
        return _CODES.sub("", self._seen.rpartition(CLEAR)[2]).replace("\r", "")

    def wait(self, text: str = "", *, raw: bool = True, clears: int = 0, limit_s: float = 20) -> str:
        """Read until the screen holds `text` and the program waits for a key (raw) or a line.

        Args:
            clears: how often the terminal must have been cleared.
        """
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            self._read(0.02)
            if self._seen.count(CLEAR) >= clears and text in self.screen and self._is_raw() == raw:
                self._read(0.02)
                return self.screen
        raise AssertionError(f"waited {limit_s} s for {text!r}; the screen is:\n{self.screen}")

    def press(self, key: str, text: str = "") -> str:
        """Press a key and wait until the screen has been drawn anew and holds `text`."""
        clears = self._seen.count(CLEAR)
        os.write(self._master, key.encode())
        return self.wait(text, clears=clears + 1)

    def ask(self, key: str, text: str) -> str:
        """Press a key and wait until a line is asked for."""
        os.write(self._master, key.encode())
        return self.wait(text, raw=False)

    def type(self, line: str, text: str = "", *, clears: bool = True) -> str:
        """Type a line and wait until the screen has been drawn anew (or just grown) and holds `text`."""
        before = self._seen.count(CLEAR)
        os.write(self._master, f"{line}\r".encode())
        return self.wait(text, clears=before + clears)

    def send(self, text: str) -> None:
        """Type without waiting for anything."""
        os.write(self._master, text.encode())

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def end(self, limit_s: float = 30) -> tuple[int, str]:
        """Wait for the program to end; its exit code, and the last screen."""
        end = time.monotonic() + limit_s
        while self._process.poll() is None and time.monotonic() < end:
            self._read(0.02)
        self._read(0.1)
        return self._process.wait(1), self.screen

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        os.close(self._master)

    def _is_raw(self) -> bool:
        return not termios.tcgetattr(self._master)[3] & termios.ISIG

    def _read(self, seconds: float) -> None:
        while select.select([self._master], [], [], seconds)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the program has ended
                return
            if not data:
                return
            self._seen += self._decoder.decode(data)
            seconds = 0
