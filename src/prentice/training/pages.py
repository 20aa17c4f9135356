"""Memory that one step frees and the next one takes again stays with the process.

glibc gives large pieces back to the system as soon as they are free; every layer of every step then fetches them anew,
and the system clears each page before it hands it out: a fifteenth of a step on long rows (docs/log.md, 2026-11-29).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM, MMAP = -1, -3
"""glibc's names (malloc.h) for how much free memory at the end is given back, and from what size on at once."""
KEPT = {TRIM: 2**31 - 1, MMAP: 32 << 20}
AFTERWARDS = {TRIM: 64 << 20, MMAP: 32 << 20}
"""Where glibc's own adjustment ends in a process that has freed large pieces; a value once set ends it."""


@contextmanager
def pages_kept() -> Iterator[None]:
    """Keep what is freed until the end, then give it back; does nothing where the C library is not glibc."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "malloc_trim"):
        yield
        return
    _set(libc, KEPT)
    try:
        yield
    finally:
        _set(libc, AFTERWARDS)
        libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, thresholds: dict[int, int]) -> None:
    for name, value in thresholds.items():
        libc.mallopt(name, value)
