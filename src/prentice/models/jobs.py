"""Batch endpoints of providers: a file of calls goes in, replies come out within a day, at half the price.

any-llm's own batch calls are not used: for Anthropic they drop tools and schemas, for OpenAI the file of failed calls
(1.40, `any_llm.providers.anthropic.base._acreate_batch`, `openai.base._aretrieve_batch_results`). Its conversions are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from prentice.registry import Table

if TYPE_CHECKING:
    from any_llm import AnyLLM
    from any_llm.types.completion import ChatCompletion

Outcomes = dict[str, "ChatCompletion | str"]
"""Key of a call → its completion, or why there is none."""


class Jobs(Protocol):
    """One provider's batch endpoint."""

    async def submit(self, client: AnyLLM, calls: Mapping[str, dict[str, Any]]) -> str:
        """Hand in calls (key → arguments of any-llm's `acompletion`); return the job's id."""
        ...

    async def outcomes(self, client: AnyLLM, job: str) -> Outcomes | None:
        """What came of a job; None while it is at work. A call that is missing was not answered in time."""
        ...


class OpenAIJobs:
    """OpenAI: a file of calls, a job, a file of replies and one of errors."""

    async def submit(self, client: AnyLLM, calls: Mapping[str, dict[str, Any]]) -> str:
        """Upload the calls and start the job."""
        sdk: Any = getattr(client, "client")  # noqa: B009 - only some providers of any-llm have one
        lines = [
            json.dumps({"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": _body(client, call)})
            for key, call in calls.items()
        ]
        file = await sdk.files.create(file=("calls.jsonl", "\n".join(lines).encode()), purpose="batch")
        job = await sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        return str(job.id)

    async def outcomes(self, client: AnyLLM, job: str) -> Outcomes | None:
        """Both files of a finished job, one that expired or was cancelled included."""
        sdk: Any = getattr(client, "client")  # noqa: B009
        batch = await sdk.batches.retrieve(job)
        if batch.status not in ("completed", "failed", "expired", "cancelled"):
            return None
        found: Outcomes = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            for line in (await sdk.files.content(file)).text.splitlines():
                row = json.loads(line)
                found[row["custom_id"]] = self._outcome(row)
        return found

    def _outcome(self, row: dict[str, Any]) -> ChatCompletion | str:
        from any_llm.types.completion import ChatCompletion

        response = row.get("response") or {}
        if response.get("status_code") == 200:
            return ChatCompletion.model_validate(response["body"])
        return json.dumps(row.get("error") or response.get("body"), ensure_ascii=False)[:300]


class AnthropicJobs:
    """Anthropic: Message Batches."""

    async def submit(self, client: AnyLLM, calls: Mapping[str, dict[str, Any]]) -> str:
        """Start a job of these calls."""
        sdk: Any = getattr(client, "client")  # noqa: B009
        rows = [{"custom_id": key, "params": _body(client, call)} for key, call in calls.items()]
        return str((await sdk.messages.batches.create(requests=rows)).id)

    async def outcomes(self, client: AnyLLM, job: str) -> Outcomes | None:
        """The results of an ended job."""
        sdk: Any = getattr(client, "client")  # noqa: B009
        if (await sdk.messages.batches.retrieve(job)).processing_status != "ended":
            return None
        found: Outcomes = {}
        async for row in await sdk.messages.batches.results(job):
            if row.result.type == "succeeded":
                found[row.custom_id] = client._convert_completion_response(row.result.message)
            else:
                error = getattr(getattr(row.result, "error", None), "error", None)
                found[row.custom_id] = getattr(error, "message", None) or row.result.type
        return found


BATCHES = Table(
    "batch endpoint",
    {"openai": "prentice.models.jobs:OpenAIJobs", "anthropic": "prentice.models.jobs:AnthropicJobs"},
)


def _body(client: AnyLLM, call: Mapping[str, Any]) -> dict[str, Any]:
    """The body that any-llm would post for this call."""
    from any_llm.types.completion import CompletionParams

    named = {key: value for key, value in call.items() if key in CompletionParams.model_fields}
    other = {key: value for key, value in call.items() if key not in named and key != "model"}
    if client.PROVIDER_NAME == "anthropic":
        named["reasoning_effort"], other["provider_name"] = "auto", client.PROVIDER_NAME
    body = client._convert_completion_params(CompletionParams(model_id=call["model"], **named), **other)
    return {"model": call["model"], "messages": call["messages"], **body}
