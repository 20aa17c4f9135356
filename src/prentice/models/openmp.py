"""Threads that wait for work which will not come.

torch keeps its OpenMP threads when it has computed. GNU's runtime, which llama.cpp shares with it, counts them: as soon
as there are more threads than cores, those that compute sleep at every barrier in place of waiting awake, and a token
takes nearly twice as long (docs/log.md, 2026-11-29).
"""

from __future__ import annotations

import ctypes
import sys

SOFT = 1
"""`omp_pause_soft`: threads go, settings stay."""


def release_idle_threads() -> None:
    """Let the waiting threads of the calling thread go; its next parallel work makes new ones, in microseconds.

    Does nothing within parallel work, or where the runtime is not GNU's.
    Source: OpenMP API 5.0, section 3.2.44, `omp_pause_resource_all`.
    """
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL("libgomp.so.1").omp_pause_resource_all(SOFT)  # the one that is loaded already, if one is
    except (OSError, AttributeError):  # no such library, or one from before OpenMP 5
        return
