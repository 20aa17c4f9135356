"""A chat completion on its way through the endpoint: to the upstream, back to the client, and on record in between."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prentice.serving.access import Access
from prentice.serving.bodies import read_body, read_object
from prentice.serving.config import RecordConfig
from prentice.serving.http_errors import HttpError
from prentice.serving.labels import FIELD, HEADER, Labels
from prentice.serving.recorder import DISCONNECTED, Exchange, Recorder
from prentice.serving.streams import DONE, Completion, Events, chunk_of, data_of, only_counts
from prentice.serving.upstream import Answer, Upstream

PATH = "/chat/completions"
_MOST_KNOWN = 30


@dataclass
class Relay:
    """The endpoint of chat completions, as an ASGI application."""

    upstream: Upstream
    recorder: Recorder
    access: Access
    config: RecordConfig

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            self.access.check(request.headers, "chat")
            asked, labels = await self._asked(request)
        except HttpError as error:
            await error_response(error)(scope, receive, send)
            return
        exchange = Exchange(asked, labels, self.recorder.episode_of(asked, labels))
        passed, hide_counts = self._passed_on(asked)
        begun = time.perf_counter()
        try:
            async with self.upstream.ask("POST", PATH, request.headers, to_json(passed)) as answer:
                if answer.chunks is not None and answer.status < 400:
                    await _Stream(exchange, self, begun, hide_counts).relay(answer, receive, send)
                else:
                    response = await self._whole(exchange, answer, request, begun)
                    await response(scope, receive, send)
        except HttpError as error:
            self.failed(exchange, f"{error.status}: {error.message}", begun)
            await error_response(error, labelled(exchange))(scope, receive, send)

    async def _asked(self, request: Request) -> tuple[dict[str, Any], Labels]:
        """The request without our own field, and what it is labelled with."""
        asked = read_object(await read_body(request, self.config))
        if not isinstance(asked.get("model"), str):
            raise HttpError(400, "model is missing, or no text", param="model")
        messages = asked.get("messages")
        if not isinstance(messages, list) or not messages:
            raise HttpError(400, "messages is no list of messages, or empty", param="messages")
        wrong = next((n for n, message in enumerate(messages) if not isinstance(message, dict)), None)
        if wrong is not None:
            raise HttpError(400, f"messages[{wrong}] is not an object", param=f"messages[{wrong}]")
        if not isinstance(asked.get("stream", False), bool | None):
            raise HttpError(400, "stream is not true or false", param="stream")
        return asked, Labels.read(request.headers, asked.pop(FIELD, None))

    def _passed_on(self, asked: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """What goes to the upstream, and whether the count of tokens was asked for by us alone."""
        wanted = self.config.count_stream_tokens and self.upstream.counts_streams
        if asked.get("stream") and wanted and asked.get("stream_options") is None:
            return {**asked, "stream_options": {"include_usage": True}}, True
        return asked, False

    async def _whole(self, exchange: Exchange, answer: Answer, request: Request, begun: float) -> Response:
        body = answer.body
        if answer.chunks is not None:
            body = b"".join([chunk async for chunk in answer.chunks])
        if answer.status == 404:
            body = await self._with_known_models(body, request)
        completion = chunk_of(body)
        if answer.status >= 400 or completion is None or not completion.get("choices"):
            self.failed(exchange, problem_of(answer.status, completion), begun)
        else:
            exchange.answered, exchange.latency_s = completion, time.perf_counter() - begun
            self.recorder.record(exchange)
        return Response(body, answer.status, headers={**answer.headers, **labelled(exchange)})

    def failed(self, exchange: Exchange, problem: str, begun: float) -> None:
        """Record that a call failed."""
        exchange.answered, exchange.problem = None, problem
        exchange.latency_s = time.perf_counter() - begun
        self.recorder.record(exchange)

    async def _with_known_models(self, body: bytes, request: Request) -> bytes:
        """An error of an unknown model, with the models that are known."""
        said = chunk_of(body)
        error = said.get("error") if said else None
        if said is None or not isinstance(error, dict) or "known:" in str(error.get("message")):
            return body
        try:
            async with self.upstream.ask("GET", "/models", request.headers, b"") as answer:
                names = [str(model["id"]) for model in from_json(answer.body)["data"]]
        except (HttpError, ValueError, LookupError, TypeError):
            return body
        shown = ", ".join(names[:_MOST_KNOWN]) + (" …" if len(names) > _MOST_KNOWN else "")
        return to_json({**said, "error": {**error, "message": f"{error.get('message')} (known: {shown})"}})


class _Stream:
    """A streamed answer."""

    def __init__(self, exchange: Exchange, relay: Relay, begun: float, hide_counts: bool) -> None:
        self._exchange, self._relay, self._begun, self._hide_counts = exchange, relay, begun, hide_counts
        self._completion = Completion()
        self._recorded = False

    async def relay(self, answer: Answer, receive: Receive, send: Send) -> None:
        """Pass it on event by event; its end goes out only once the whole is on record."""
        headers = {**answer.headers, **labelled(self._exchange), "cache-control": "no-store"}
        gone = asyncio.create_task(_disconnect(receive))
        try:
            await self._send(send, {"type": "http.response.start", "status": answer.status, "headers": _raw(headers)})
            await self._events(answer, gone, send)
            await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})
        except (OSError, TimeoutError):  # the client left, or does not read
            self._record(DISCONNECTED)
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
            self._record(DISCONNECTED)

    async def _events(self, answer: Answer, gone: asyncio.Task[None], send: Send) -> None:
        assert answer.chunks is not None
        events = Events()
        try:
            async for data in answer.chunks:
                for event in events.feed(data):
                    await self._pass(event, send)
                if gone.done():
                    break
            if rest := events.rest():
                await self._pass(rest, send)
            self._record(DISCONNECTED if gone.done() else None)
        except HttpError as error:  # the upstream broke off, and a stream cannot take its status back
            if not self._recorded:
                self._recorded = True
                self._relay.failed(self._exchange, f"{error.status}: broke off: {error.message}", self._begun)
            event = b"data: " + error.body + b"\n\n"
            await self._send(send, {"type": "http.response.body", "body": event, "more_body": True})

    async def _pass(self, event: bytes, send: Send) -> None:
        data = data_of(event)
        if data == DONE:
            self._record(None)
        elif data and (chunk := chunk_of(data)) is not None:
            self._completion.add(chunk)
            if self._hide_counts and only_counts(chunk):
                return
        await self._send(send, {"type": "http.response.body", "body": event, "more_body": True})

    async def _send(self, send: Send, message: dict[str, Any]) -> None:
        async with asyncio.timeout(self._relay.config.client_timeout_s):
            await send(message)

    def _record(self, finish: str | None) -> None:
        if self._recorded:
            return
        self._recorded = True
        if self._completion.error is not None or not self._completion.begun:
            said = self._completion.error
            problem = problem_of(200, {"error": said} if said else None) if said else "the stream said nothing"
            self._relay.failed(self._exchange, problem, self._begun)
            return
        self._exchange.answered = self._completion.whole(finish)
        self._exchange.latency_s = time.perf_counter() - self._begun
        self._relay.recorder.record(self._exchange)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def problem_of(status: int, said: dict[str, Any] | None) -> str:
    """What a failed answer says, for a record: never of a refused key, which it may quote."""
    error = said.get("error") if said else None
    words = error.get("message") if isinstance(error, dict) else error
    return f"{status}" if status in (401, 403) or not words else f"{status}: {str(words)[:500]}"


def labelled(exchange: Exchange) -> dict[str, str]:
    """Headers that name the episode, so that feedback can."""
    named = exchange.episode
    return {f"{HEADER}episode": named} if named.isascii() else {}


def error_response(error: HttpError, headers: dict[str, str] | None = None) -> Response:
    """An error as a response."""
    return Response(error.body, error.status, headers, "application/json")


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
