"""Threads that torch leaves waiting are gone when llama.cpp starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNTED = """
import os, time, torch
from prentice.models.openmp import release_idle_threads
torch.set_num_threads(4)
before = len(os.listdir("/proc/self/task"))
torch.randn(600, 600) @ torch.randn(600, 600)
torch.randn(4_000_000).exp_()
waiting = len(os.listdir("/proc/self/task"))
release_idle_threads()
time.sleep(0.2)
after = len(os.listdir("/proc/self/task"))
same = torch.randn(4_000_000).exp_().isfinite().all()
print(waiting - before, after - before, bool(same))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux names them")
def test_threads_that_torch_has_left_waiting_go_and_torch_goes_on() -> None:
    said = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, check=True).stdout.split()
    assert int(said[0]) >= 3
    assert int(said[1]) <= int(said[0]) - 3
    assert said[2] == "True"
