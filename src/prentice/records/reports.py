"""Reports and verdicts: policies compared on the same cases."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from prentice.records.base import Record


class Interval(Record):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class PolicyResult(Record):
    """How one policy did on the report's cases."""

    name: str
    """Its role: teacher, base, student, or a trivial policy's name."""
    policy: str
    """What answered, e.g. `local:student-q8_0.gguf`."""
    run: str = ""
    """The stored run whose episodes these are."""
    n: int
    successes: int
    failures: dict[str, int] = Field(default_factory=dict)
    """Episodes that ended early, by boundary; they count as not successful and are shown."""
    success: Interval
    """Wilson interval."""
    difference: Interval | None = None
    """Success minus the teacher's on the same cases, paired."""
    measures: dict[str, Interval] = Field(default_factory=dict)
    """What else the task measures, as shares: over the episodes that ended, by bootstrap over cases."""
    measures_to_teacher: dict[str, Interval] = Field(default_factory=dict)
    """The same minus the teacher's, over the cases that ended with both."""
    input_tokens: float | None = None
    """Mean per episode."""
    output_tokens: float | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    turns: float | None = None
    """Mean turns per episode."""
    turn_p50_s: float | None = None
    """Median seconds of one turn, over all turns of all episodes."""
    latencies_s: tuple[float, ...] = ()
    """One per episode, for the plot."""
    processing_s: float | None = None
    """Mean CPU-seconds per episode."""
    cost_usd: float | None = None
    """Mean dollars per episode, where there is a price."""
    cost_per_success: float | None = None
    """Cost of all episodes over the number of successes, in `cost_unit`."""
    cost_unit: Literal["USD", "CPU-s"] | None = None
    environment: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Role of a model inside the environment -> what it took in a mean episode; no part of the policy's own cost."""
    timing: Literal["measured", "scaled", "recorded", "none"] = "measured"
    """`scaled`: recorded times, multiplied by how the base model runs now over how it ran then; `recorded`: as they
    were recorded, perhaps elsewhere."""


class Verdict(Record):
    """May the student replace the teacher?"""

    answer: Literal["promote", "hold", "more data"]
    margin: float
    reasons: tuple[str, ...]
    """One line per condition, `state: asked; measured`, where state is met, not met, undecided or not judged."""


class Report(Record):
    """Policies compared on the same held-out cases."""

    version: Literal[1] = 1
    task: str
    split: str
    cases: int
    results: tuple[PolicyResult, ...]
    verdict: Verdict | None
    scale: float | None = None
    """Factor put on recorded CPU-seconds, where there was one."""
    latency_scale: float | None = None
    """Factor put on recorded latencies; not said: the same."""
    machine: str
    created: str
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    """Dataset ledger, training and export figures, whatever the run knows about itself."""
