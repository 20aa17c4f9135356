"""Memory that is freed in a run stays with the process until the run's end."""

from __future__ import annotations

import resource
import sys

import psutil
import pytest
import torch

from prentice.training.pages import pages_kept

PIECES, FLOATS = 40, 2_000_000
BYTES = PIECES * FLOATS * 4

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings are Linux's")


def test_a_later_step_fetches_hardly_any_page_and_the_end_gives_all_back() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    with pages_kept():
        _step()
        kept = process.memory_info().rss
        later = min(_faults_of_a_step() for _ in range(3))  # what tests before have left in the heap may move one
    after = process.memory_info().rss
    assert kept - before > BYTES / 2
    assert later < BYTES / 4096 / 4
    assert after - before < BYTES / 4


def _step() -> None:
    pieces = [torch.ones(FLOATS) for _ in range(PIECES)]
    del pieces


def _faults_of_a_step() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    _step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
