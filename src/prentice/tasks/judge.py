"""A language model as a grader: a rubric and a text go in, a flag or a number comes out.

A judge that breaks raises; it never scores 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from prentice.errors import JudgeError, ModelError
from prentice.models.policy import Policy
from prentice.records import Message, Metric, Request, Sampling

YES, NO = "yes", "no"


class Judge:
    """Grades texts by a rubric.

    Args:
        policy: the model that judges; `Metered(policy, "judge")` counts what it takes.
        rubric: what makes a text good, in words; it comes first in the prompt, so that it can be cached.
        name: of the metric.
        scale: without it the verdict is yes or no; (low, high) asks for a whole number from low to high.
    """

    def __init__(
        self, policy: Policy, rubric: str, *, name: str = "judged", scale: tuple[int, int] | None = None
    ) -> None:
        self._policy, self._rubric, self._name, self._scale = policy, rubric, name, scale
        self._verdicts = (YES, NO) if scale is None else tuple(str(n) for n in range(scale[0], scale[1] + 1))

    async def grade(self, text: str) -> Metric:
        """Judge `text`: True or False for a rubric without a scale, else the number.

        Raises: JudgeError if the model fails or says something that is no verdict.
        """
        ask = (
            "Does the text satisfy the rubric?" if self._scale is None else "How well does the text satisfy the rubric?"
        )
        request = Request(
            function="judge",
            inputs={"text": text},
            messages=(
                Message(role="system", content=f"{self._rubric}\n\n{ask} Answer with {self._wording()} alone."),
                Message(role="user", content=text),
            ),
            choices=self._verdicts,
        )
        try:
            reply = await self._policy.generate(request, Sampling(max_tokens=16))
        except ModelError as error:
            raise JudgeError(f"{self._name}: {error.problem}", error.hint) from error
        said = reply.text.strip().lower().rstrip(".")
        if said not in self._verdicts:
            raise JudgeError(
                f"{self._name}: the judge {self._policy.name} said {reply.text[:80]!r}, not {self._wording()}"
            )
        return Metric(name=self._name, value=said == YES if self._scale is None else float(said), source="judge")

    def _wording(self) -> str:
        return f"{YES} or {NO}" if self._scale is None else f"a whole number from {self._scale[0]} to {self._scale[1]}"


def transcript(messages: Iterable[Message]) -> str:
    """A chat as the text that a judge reads: one paragraph a message, headed by its role, without system prompts."""
    parts = []
    for message in messages:
        calls = "".join(f"\n[calls {call.name}({call.arguments})]" for call in message.tool_calls)
        if message.role != "system":
            parts.append(f"{message.role}: {message.content}{calls}")
    return "\n\n".join(parts)
