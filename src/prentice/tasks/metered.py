"""Models inside an environment - a simulated user, a judge - are policies like any other, and are counted apart.

What they take never mixes with what the policy under study takes: it stands in metrics of the episode, named after the
model's role, also when the episode failed midway.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prentice.errors import ConfigError, ModelError
from prentice.models.policy import Policy
from prentice.records import Episode, Message, Metric, Reply, Request, Sampling

FIELDS = ("input_tokens", "output_tokens", "cost_usd", "processing_s", "latency_s")
"""What is added up over the calls of a role, as far as every reply says it."""


class Metered:
    """A policy in a role inside the environment, for one episode.

    Args:
        policy: what answers; it may be shared with other episodes and roles.
        role: names its metrics: `user` gives `user_calls`, `user_cost_usd`, ...
    Raises: ConfigError if the role cannot name a metric.
    """

    def __init__(self, policy: Policy, role: str) -> None:
        if not role.isidentifier() or role == "tool":
            raise ConfigError(f"{role!r} cannot be the role of a model", "use a word like user or judge")
        self.name, self.slots = policy.name, policy.slots
        self.role = role
        self.calls = 0
        self._policy = policy
        self._replies: list[Reply] = []

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Pass the call on and count it; a failed one counts as a call."""
        self.calls += 1
        try:
            reply = await self._policy.generate(request, sampling)
        except ModelError as error:
            raise ModelError(
                f"the {self.role}'s model: {error.problem}", error.hint, retryable=error.retryable
            ) from error
        self._replies.append(reply)
        return reply

    async def say(self, messages: str | Sequence[Message], *, system: str = "", max_tokens: int = 512) -> str:
        """The model's text in answer to `messages` (or to one user message), at temperature 0."""
        chat = [Message(role="user", content=messages)] if isinstance(messages, str) else list(messages)
        head = [Message(role="system", content=system)] if system else []
        request = Request(function=self.role, messages=(*head, *chat))
        return (await self.generate(request, Sampling(max_tokens=max_tokens))).text

    async def warm_up(self, request: Request) -> None:
        """Pass it on."""
        await self._policy.warm_up(request)

    async def close(self) -> None:
        """Nothing: whoever opened the shared policy closes it."""

    def metrics(self) -> tuple[Metric, ...]:
        """Calls, tokens, dollars, CPU-seconds and seconds so far; what one reply did not say is left out, never 0."""
        found = [Metric(name=f"{self.role}_calls", value=float(self.calls))]
        for field in FIELDS if self._replies else ():
            values = [getattr(reply.usage if field.endswith("tokens") else reply, field) for reply in self._replies]
            if None not in values:
                found.append(Metric(name=f"{self.role}_{field}", value=float(sum(values))))
        return tuple(found)


def spent_by_role(episodes: Iterable[Episode]) -> dict[str, dict[str, float]]:
    """Role → what its model took in a mean episode, by the names of `FIELDS` and `calls`.

    A quantity is left out where an episode that called the model does not know it.
    """
    rows = [{m.name: m.value for m in e.metrics if m.turn is None} for e in episodes]
    roles = sorted(
        {
            name.removesuffix("_calls")
            for row in rows
            for name in row
            if name.endswith("_calls") and any(f"{name.removesuffix('_calls')}_{field}" in row for field in FIELDS)
        }
    )
    return {role: _mean_of_role(role, rows) for role in roles}


def _mean_of_role(role: str, rows: Sequence[dict[str, bool | float | str]]) -> dict[str, float]:
    called = [row for row in rows if row.get(f"{role}_calls")]
    means = {"calls": sum(float(row[f"{role}_calls"]) for row in called) / len(rows)}
    for field in FIELDS:
        values = [row.get(f"{role}_{field}") for row in called]
        if None not in values:
            means[field] = sum(float(value) for value in values if value is not None) / len(rows)
    return means
