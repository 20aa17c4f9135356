"""What could not become a record: kept in a file with the reason, within limits, and past the guard like all else."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import to_json

from prentice.records import Call, Failure, utc_now
from prentice.records.base import first_fault
from prentice.records.guard import Guard

LOG = logging.getLogger("prentice.record")
LONGEST_REASON = 500


class Refusals:
    """The file of refused calls.

    Args:
        guard: what is kept passes it.
        most_bytes: the file grows no longer; what is refused then is only counted, by who calls.
    """

    def __init__(self, file: Path, guard: Guard | None, most_bytes: int) -> None:
        self._file, self._guard, self._most = file, guard, most_bytes

    def keep(self, text: str, error: Exception) -> None:
        """Keep what was refused; it does not raise."""
        reason, what = self._guarded(_reason(error)), self._guarded(text)
        LOG.warning("a call could not become a record: %s (kept in %s)", reason, self._file)
        line = to_json({"at": utc_now(), "reason": reason, "what": what}) + b"\n"
        try:
            file = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                if os.fstat(file).st_size + len(line) <= self._most:
                    os.write(file, line)
            finally:
                os.close(file)
        except OSError as problem:
            LOG.warning("it could not be kept: %s", problem.strerror or problem)

    def _guarded(self, text: str) -> str:
        if self._guard is None:
            return text
        # the guard knows records only, and the words of a failure are text like any other
        carrier = Call(
            id="refused",
            episode="refused",
            run="",
            task="",
            case="",
            policy="",
            at=utc_now(),
            failure=Failure(where="model", message=text),
        )
        try:
            failure = self._guard.call(carrier).failure
        except Exception:
            failure = None  # perhaps it was the guard that could not read it: then nothing of it is kept
        return failure.message if failure is not None else ""


def _reason(error: Exception) -> str:
    said = ": ".join(filter(None, first_fault(error))) if isinstance(error, ValidationError) else str(error)
    return " ".join(f"{said or type(error).__name__}".split())[:LONGEST_REASON]
