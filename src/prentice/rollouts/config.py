"""How a policy is rolled out."""

from __future__ import annotations

from pydantic import Field

from prentice.config import StageConfig


class RolloutConfig(StageConfig):
    """How a policy is rolled out on cases."""

    cases: int = Field(0, ge=0)
    """How many training cases are played, from the first on; 0 plays all."""
    tries: int = Field(1, ge=1)
    """Attempts at each case."""
    temperature: float = Field(0.0, ge=0)
    """Of the first try; 0 takes the likeliest reply."""
    retry_temperature: float = Field(1.0, ge=0)
    """Of the tries after the first, which are there to differ from it."""
    max_tokens: int = Field(512, ge=1)
    """Longest reply, in tokens."""
    seed: int = 0
    """Attempt n of a case draws with a seed made of this, the case and n."""
    warm_up: bool = True
    """Let a local model read the instructions once before the clock runs, as a model in service has."""
    concurrency: int | None = Field(None, ge=1)
    """Episodes in flight, thousands if need be; default: as many as the policy serves at once."""
    processes: int = Field(0, ge=0)
    """Processes that the environments run in, for those that compute much or may crash; 0 = in this process."""
    max_turns: int = Field(200, ge=1)
    """An episode that has not ended after so many turns has failed at its environment."""
    step_timeout_s: float = Field(600.0, gt=0)
    """An environment that takes longer for one answer has failed. Code of this process that never awaits cannot be
    interrupted: let it run in `processes`."""
    budget_usd: float | None = Field(None, gt=0)
    """Most dollars that the remote models of one run may cost together, earlier goes included; then it stops in good
    order."""


SHAPE_REPLIES = {"temperature", "retry_temperature", "max_tokens", "seed"}
"""Settings that make a run another run; named one by one, so that a new setting leaves what was played valid."""
