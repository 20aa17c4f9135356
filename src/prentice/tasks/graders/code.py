"""Graders of the user's own: a Python function beside `prentice.toml`, or a program that is run for every reply."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from prentice.errors import ConfigError, MetricError, PrenticeError
from prentice.models.fetch import sha256_of
from prentice.records import Metric
from prentice.tasks.beside import load_beside
from prentice.tasks.graders.contract import Answer, Grader, GraderConfig
from prentice.tasks.results import number

GIVES = "true or false, a number, or an object with `success`"


class PythonConfig(GraderConfig):
    """A function of your own: `def grade(reply, expected, inputs)`."""

    kind: str = "python"
    """The built-in that this section configures."""
    function: str = "grader.py:grade"
    """The function, as `grader.py:grade`; the file lies beside `prentice.toml`. It returns true or false, a number, or
    an object of flags and numbers with `success` among them; it may be async."""
    success_at: float = 1.0
    """Where it gives a number: success from this on."""


class Python(Grader):
    """What the function says.

    Raises: ConfigError if there is no such function, or it takes other arguments.
    """

    Config = PythonConfig
    needs_key = False

    def __init__(self, config: PythonConfig, folder: Path, keys: Sequence[JsonValue]) -> None:
        del keys
        self.config = config
        name = config.function.replace(".py:", ":")
        self._function = load_beside(name, folder, "[task.grade] function")
        if not callable(self._function):
            raise ConfigError(f'[task.grade] function = "{config.function}" is no function')
        try:
            inspect.signature(self._function).bind("", None, {})
        except TypeError as error:
            raise ConfigError(
                f'[task.grade] function = "{config.function}": {error}', "write `def grade(reply, expected, inputs):`"
            ) from error

    def key(self, expected: JsonValue) -> str:
        """The answer key as a text; whether it is right only the function knows."""
        return any_key(expected)

    def code(self) -> JsonValue:
        """Hash of the file that holds the function."""
        file = inspect.getsourcefile(inspect.unwrap(self._function))
        return sha256_of(Path(file)) if file else None

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """Call the function; what it raises is its own breaking, not a wrong reply."""
        where = self.config.function
        try:
            # copies: what a grader changes would be another case to the next policy
            result = self._function(answer.text, *deepcopy((answer.expected, dict(answer.inputs))))
            result = await result if inspect.isawaitable(result) else result
        except PrenticeError:
            raise
        except Exception as error:
            raise MetricError(f"{where} raised {type(error).__name__}: {error}") from error
        return read_grades(where, result, self.config.success_at)


class CommandConfig(GraderConfig):
    """A program of your own, run for every reply."""

    kind: str = "command"
    """The built-in that this section configures."""
    command: tuple[str, ...] = Field(min_length=1)
    """The program and its arguments, run in the project's folder without a shell. It reads an object with reply,
    expected and inputs from its standard input, and writes true or false, a number or an object with success; or it
    writes nothing, and its exit code says 0 for success and 1 for a wrong reply."""
    success_at: float = 1.0
    """Where it writes a number: success from this on."""
    timeout_s: float = Field(10.0, gt=0)
    """Seconds after which it is ended, and has failed."""


class Command(Grader):
    """What the program says; any exit code but those that mean something, and any other text, is its breaking."""

    Config = CommandConfig
    needs_key = False

    def __init__(self, config: CommandConfig, folder: Path, keys: Sequence[JsonValue]) -> None:
        del keys
        self.config, self._folder = config, folder

    def key(self, expected: JsonValue) -> str:
        """The answer key as a text; whether it is right only the program knows."""
        return any_key(expected)

    def code(self) -> JsonValue:
        """Hashes of the project's own files among program and arguments."""
        files = [self._folder / part for part in self.config.command]
        return [sha256_of(file) for file in files if file.is_file()]

    async def grade(self, answer: Answer) -> tuple[Metric, ...]:
        """Run the program once."""
        asked = {"reply": answer.text, "expected": answer.expected, "inputs": dict(answer.inputs)}
        code, out, err = await self._run(json.dumps(asked).encode())
        where = self.config.command[0]
        if out.strip() and code == 0:
            try:
                result = json.loads(out)
            except ValueError as error:
                raise MetricError(f"{where} wrote {out[:80]!r}, which is not JSON") from error
            return read_grades(where, result, self.config.success_at)
        if out.strip() or code not in (0, 1) or (code == 1 and err.strip()):
            last = (err.decode(errors="replace").strip().splitlines() or ["nothing on its standard error"])[-1]
            raise MetricError(f"{where} ended with code {code}: {last[:200]}")
        return (Metric(name="success", value=code == 0),)

    async def _run(self, asked: bytes) -> tuple[int, bytes, bytes]:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self.config.command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=self._folder, start_new_session=True
            )
        except OSError as error:
            raise ConfigError(
                f"[task.grade] command: {self.config.command[0]}: {error.strerror or error}",
                "name a program that is on the path, or an executable file of the project",
            ) from error
        try:
            async with asyncio.timeout(self.config.timeout_s):
                out, err = await process.communicate(asked)
        except TimeoutError as error:
            raise MetricError(
                f"{self.config.command[0]} did not end within {self.config.timeout_s:g} s ([task.grade] timeout_s)"
            ) from error
        finally:
            # what the program started ends with it, where the system knows groups of processes
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
            await process.wait()
        return process.returncode or 0, out, err


def any_key(expected: JsonValue) -> str:
    """The answer key as a text: a text as it is, anything else as JSON.

    Raises: ValueError if there is none.
    """
    if expected is None or expected == "":
        raise ValueError("it is empty")
    return expected.strip() if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False)


def read_grades(where: str, result: Any, success_at: float) -> tuple[Metric, ...]:
    """The metrics that code of the user's gave.

    Raises: MetricError if it gave something that is no grade.
    """
    if isinstance(result, bool):
        return (Metric(name="success", value=result),)
    if isinstance(result, Mapping):
        found = {str(name): _flag_or_number(f"{where}: {name!r}", value) for name, value in result.items()}
        if not isinstance(found.get("success"), bool):
            raise MetricError(f"{where} gave no flag `success`, only {', '.join(found) or 'nothing'}")
        return tuple(Metric(name=name, value=value) for name, value in found.items())
    score = _flag_or_number(where, result)
    return (Metric(name="score", value=score), Metric(name="success", value=score >= success_at))


def _flag_or_number(what: str, value: Any) -> bool | float:
    found = number(what, value)
    if found is None:
        raise MetricError(f"{what} gave {str(value)[:80]!r}, not {GIVES}")
    return found
