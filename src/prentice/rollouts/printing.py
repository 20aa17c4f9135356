"""What environments print goes to the log, never between the lines of a progress bar."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any, TextIO, cast

LOG = logging.getLogger("prentice.environment")
"""Gets every printed text at level INFO."""
_SPEAKS: ContextVar[bool] = ContextVar("environment_speaks", default=False)


@contextmanager
def environment_speaks() -> Iterator[None]:
    """Code that runs inside, in this task alone, is the environment's."""
    token = _SPEAKS.set(True)
    try:
        yield
    finally:
        _SPEAKS.reset(token)


@contextmanager
def printing_to_log() -> Iterator[None]:
    """While it lasts, what is printed by environments goes to the log; what others print goes where it went."""
    with redirect_stdout(cast("TextIO", _Switch(sys.stdout))):
        yield


class _Switch:
    """Standard output for all of the process; who prints is told by the context, since episodes take turns."""

    def __init__(self, screen: TextIO) -> None:
        self._screen = screen

    def write(self, text: str) -> int:
        if not _SPEAKS.get():
            return self._screen.write(text)
        if text.strip():
            LOG.info(text.rstrip())
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._screen, name)
