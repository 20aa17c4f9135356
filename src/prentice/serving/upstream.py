"""Who answers behind the endpoint: any server of OpenAI's form by its URL, passed through byte by byte, or a policy."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from pydantic_core import from_json, to_json

from prentice.errors import ModelError, PrenticeError
from prentice.models.policy import Policy
from prentice.records import Reply, Request, Sampling
from prentice.records.importing.chats import Tools, read_chat
from prentice.records.importing.faults import RowError
from prentice.records.importing.openai import take_schema
from prentice.serving.http_errors import HttpError
from prentice.serving.streams import DONE

if TYPE_CHECKING:
    import aiohttp

PASSED_ON = frozenset(
    ("authorization", "api-key", "openai-organization", "openai-project", "openai-beta", "accept", "idempotency-key")
)
"""Headers of a client that go on to the provider; no other one does."""
PASSED_BACK = frozenset(("retry-after", "x-request-id", "openai-processing-ms"))
PREFIXES_BACK = ("x-ratelimit-",)
LONGEST_ANSWER = 64_000_000
"""Bytes of an answer that comes at once."""
_SENT_AT_ONCE = 500_000


@dataclass
class Answer:
    """What an upstream says; a stream has `chunks`, any other answer is whole in `body`."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = None


class Upstream(Protocol):
    """Answers requests of OpenAI's form."""

    name: str
    """As records call it; the model's name is added."""
    counts_streams: bool
    """Whether it can be asked to say how many tokens a stream took."""

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[Answer]:
        """Put a request; the answer can be read while the block lasts.

        Args:
            path: below `/v1`, such as `/chat/completions`, with its query.
        Raises: HttpError where nobody answers, or not in time.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class PassThrough:
    """A server of OpenAI's form.

    Args:
        base_url: with its version, such as `https://api.openai.com/v1`.
        name: as records call it.
        key: stands in for the client's own key.
        timeout_s: for a whole answer.
    """

    counts_streams = True

    def __init__(self, base_url: str, name: str, *, key: str | None = None, timeout_s: float = 600.0) -> None:
        self.base_url, self.name = base_url.rstrip("/"), name
        self._key, self._timeout_s = key, timeout_s
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> AsyncIterator[Answer]:
        """See `Upstream`."""
        with self._explained():
            response = await self._http().request(
                method, self.base_url + path, data=_in_parts(body), headers=self._headers(headers)
            )
        async with response:
            back = {key.lower(): value for key, value in response.headers.items()}
            named = (*PASSED_BACK, "content-type")
            kept = {k: v for k, v in back.items() if v.isascii() and (k in named or k.startswith(PREFIXES_BACK))}
            kept.setdefault("content-type", "application/json")
            if kept["content-type"].startswith("text/event-stream"):
                yield Answer(response.status, kept, chunks=self._chunks(response))
                return
            with self._explained():
                whole = await _all_of(response)
            yield Answer(response.status, kept, body=whole)

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        with self._explained():
            async for chunk in response.content.iter_any():
                yield chunk

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import aiohttp

        try:
            yield
        except TimeoutError as error:
            raise HttpError(504, f"{self.name} did not answer in time", code="timeout") from error
        except aiohttp.ClientError as error:
            said = f"{self.name} at {self.base_url} cannot be reached: {type(error).__name__}"
            raise HttpError(502, said, code="upstream_unreachable") from error

    async def close(self) -> None:
        """See `Upstream`."""
        if self._session is not None:
            await self._session.close()

    def _http(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            # answers are passed on as they are: a compressed one could not be read, so none is asked for
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=10),
                auto_decompress=True,
                headers={"accept-encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        # of a header that is there twice it is the first that counts, as where keys are checked
        passed = {name: value for name in PASSED_ON if (value := given.get(name)) is not None}
        if self._key is not None:
            passed = {name: value for name, value in passed.items() if name not in ("authorization", "api-key")}
            passed["authorization"] = f"Bearer {self._key}"
        return {**passed, "content-type": "application/json"}


def _in_parts(body: bytes) -> bytes | io.BytesIO | None:
    """A body as it is sent: a large one in parts, between which others have their turn."""
    return io.BytesIO(body) if len(body) > _SENT_AT_ONCE else body or None


async def _all_of(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > LONGEST_ANSWER:
            raise HttpError(502, f"the answer is longer than {LONGEST_ANSWER:,} bytes", code="answer_too_long")
    return b"".join(parts)


class Answering:
    """A policy - a local model, any provider that any-llm knows, a script - as a server of OpenAI's form.

    A reply comes whole: a stream of it is one chunk.
    """

    counts_streams = False
    TAKEN = frozenset((
        "model", "messages", "tools", "tool_choice", "response_format", "temperature", "max_tokens", "seed", "n",
        "user", "max_completion_tokens", "stream", "stream_options", "metadata", "store",
    ))  # fmt: skip
    """Fields of a request that are honoured, or change nothing."""

    def __init__(self, policy: Policy, model: str = "") -> None:
        self._policy, self._tools = policy, Tools()
        self.name = "prentice"
        self.model = model or policy.name
        """The name that clients ask for."""

    @asynccontextmanager
    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> AsyncIterator[Answer]:
        """See `Upstream`."""
        del headers
        if (method, path) == ("GET", "/models"):
            models = [{"id": self.model, "object": "model", "created": 0, "owned_by": "prentice"}]
            yield Answer(200, _JSON, to_json({"object": "list", "data": models}))
            return
        if (method, path) != ("POST", "/chat/completions"):
            raise HttpError(404, f"there is no {method} /v1{path} here", code="unknown_url")
        asked = from_json(body)
        completion = await self._complete(asked)
        if asked.get("stream"):
            yield Answer(200, _EVENTS, chunks=_as_stream(completion))
        else:
            yield Answer(200, _JSON, to_json(completion))

    async def close(self) -> None:
        """See `Upstream`."""
        await self._policy.close()

    async def _complete(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked.get("model") != self.model:
            said = f"the model {str(asked.get('model'))[:100]!r} does not exist; known: {self.model}"
            raise HttpError(404, said, code="model_not_found", param="model")
        request, sampling = self._read(asked)
        try:
            reply = await self._policy.generate(request, sampling)
        except ModelError as error:
            raise HttpError(503 if error.retryable else 502, error.problem, code="model_failed") from error
        except PrenticeError as error:
            raise HttpError(400, str(error)) from error
        return _completion(reply, self.model)

    def _read(self, asked: dict[str, Any]) -> tuple[Request, Sampling]:
        for name, value in asked.items():
            if value is not None and (name not in self.TAKEN or (name == "n" and value != 1)):
                raise HttpError(400, f"{name!r} is not honoured by this model", code="unsupported", param=name)
        try:
            chat = read_chat(asked.get("messages"))
            tools, _ = self._tools.read(asked.get("tools"))
        except RowError as error:
            raise HttpError(400, str(error), param="messages") from error
        most = asked.get("max_completion_tokens") or asked.get("max_tokens")
        wanted = {"temperature": asked.get("temperature"), "max_tokens": most, "seed": asked.get("seed")}
        try:
            sampling = Sampling.model_validate({key: value for key, value in wanted.items() if value is not None})
        except ValueError as error:
            raise HttpError(400, str(error).splitlines()[0]) from error
        request = Request(
            function="chat", messages=tuple(chat.messages), tools=tools, response_schema=take_schema(dict(asked))
        )
        return request, sampling


_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


def _completion(reply: Reply, model: str) -> dict[str, Any]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.message.tool_calls
    ]
    message = {"role": "assistant", "content": reply.text or None, **({"tool_calls": calls} if calls else {})}
    used = (reply.usage.input_tokens, reply.usage.output_tokens)
    usage = None
    if None not in used:
        usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(n or 0 for n in used)}
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason, "logprobs": None}],
        **({"usage": usage} if usage else {}),
    }


async def _as_stream(completion: dict[str, Any]) -> AsyncIterator[bytes]:
    choice = completion["choices"][0]
    delta = {**choice["message"]}
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": n, **call} for n, call in enumerate(delta["tool_calls"])]
    chunk = {**completion, "object": "chat.completion.chunk"}
    chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": choice["finish_reason"]}]
    yield b"data: " + to_json(chunk) + b"\n\n"
    yield b"data: " + DONE + b"\n\n"
