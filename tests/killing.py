"""Training runs in a process of their own that kill -9 ends underway, and what they had written by then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this platform")


def kill_underway(script: str, arguments: Sequence[str], out: Path, steps: int) -> None:
    """Run a script, and kill it after so many lines of the curve in `out`: it has a saved state and no checkpoint."""
    command = [sys.executable, "-c", script, *arguments]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    wait_for(lambda: written(out) >= steps and (out / "resume.safetensors").exists(), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "checkpoint.json").exists(), "it was done before it could be killed"


def written(out: Path) -> int:
    """Lines of the curve."""
    path = out / "curve.jsonl"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until something is there that the process makes."""
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.005)
