"""What doctor says: findings, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from prentice.records import Record

State = Literal["good", "absent", "bad"]
"""As it should be; not there, or better otherwise, and the demo runs without; in the way of the demo."""


class Finding(Record):
    """One thing that was looked at."""

    topic: str
    state: State
    text: str
    step: str = ""
    """What the user can do about it; one that is bad has one."""


class Diagnosis(Record):
    """All that was found."""

    findings: tuple[Finding, ...]
    ready: bool
    """Whether the demo could run."""
    next: str
    """The one thing to do now."""


def diagnose(findings: Sequence[Finding], otherwise: str) -> Diagnosis:
    """The next step is the first bad finding's, and `otherwise` where none is bad."""
    steps = [finding.step for finding in findings if finding.state == "bad"]
    return Diagnosis(findings=tuple(findings), ready=not steps, next=steps[0] if steps else otherwise)
