"""One model for each function of a task, behind one policy."""

from __future__ import annotations

from collections.abc import Mapping

from prentice.errors import ModelError
from prentice.models.policy import Policy
from prentice.records import Reply, Request, Sampling


class ByFunction:
    """A policy that hands each request to the model of its function.

    Args:
        policies: function → who replies in it.
        name: how records call all of them together.
    """

    def __init__(self, policies: Mapping[str, Policy], name: str) -> None:
        self.name, self._policies = name, dict(policies)
        self.slots = min(policy.slots for policy in policies.values())

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """The reply of that function's model.

        Raises: ModelError if there is none.
        """
        return await self._of(request).generate(request, sampling)

    async def warm_up(self, request: Request) -> None:
        """Prepare the model that the request is for."""
        await self._of(request).warm_up(request)

    async def close(self) -> None:
        """Close all of them."""
        for policy in self._policies.values():
            await policy.close()

    def _of(self, request: Request) -> Policy:
        if request.function not in self._policies:
            known = ", ".join(self._policies)
            raise ModelError(f"{self.name}: no model for the function {request.function!r}; known: {known}")
        return self._policies[request.function]
