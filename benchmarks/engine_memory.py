"""A process's own memory, as Linux counts it."""

from __future__ import annotations

import re
from pathlib import Path

_STATUS = Path("/proc/self/status")


def rss_bytes() -> int:
    """Resident now."""
    return _read("VmRSS")


def peak_bytes() -> int:
    """Most that was resident since the start, or since `forget_peak`."""
    return _read("VmHWM")


def forget_peak() -> None:
    """Let `peak_bytes` begin anew from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _read(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
