"""A chat completion on its way through the endpoint: to the upstream, back to the client, and on record in between."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prentice.serving.access import Access
from prentice.serving.asking import Asked, read_asked
from prentice.serving.bodies import read_body
from prentice.serving.config import RecordConfig
from prentice.serving.exchanges import Exchange
from prentice.serving.http_errors import HttpError
from prentice.serving.recorder import Recorder
from prentice.serving.streams import chunk_of
from prentice.serving.upstream import Answer, Upstream
from prentice.serving.witness import Hearing, Unheard, Witness

PATH = "/chat/completions"
_PATH = re.compile(r"(/[A-Za-z0-9_:@~-][A-Za-z0-9_:.@~-]*){1,8}")
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
            asked = await self._asked(request)
            labels = asked.labels(request.headers)
        except HttpError as error:
            await error_response(error)(scope, receive, send)
            return
        exchange = Exchange(asked.body, labels, self.recorder.episode_of(asked.body, labels))
        witness = Witness(self.recorder.record, exchange, hide_counts=asked.hide_counts)
        try:
            async with self.upstream.ask("POST", PATH, request.headers, asked.passed_on) as answer:
                if answer.chunks is not None and answer.status < 400:
                    await _Stream(witness, self.config.client_timeout_s).relay(answer, receive, send)
                else:
                    response = await self._whole(witness, answer, request)
                    await response(scope, receive, send)
        except HttpError as error:
            witness.failed(f"{error.status}: {error.message}")
            await error_response(error, witness.headers)(scope, receive, send)

    async def _asked(self, request: Request) -> Asked:
        count_tokens = self.config.count_stream_tokens and self.upstream.counts_streams
        return read_asked(await read_body(request, self.config), count_tokens=count_tokens)

    async def _whole(self, witness: Witness, answer: Answer, request: Request) -> Response:
        body = answer.body
        if answer.chunks is not None:
            body = b"".join([chunk async for chunk in answer.chunks])
        if answer.status == 404:
            body = await self._with_known_models(body, request)
        witness.whole(answer.status, body)
        return Response(body, answer.status, headers={**answer.headers, **witness.headers})

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


@dataclass
class Through:
    """All other paths of OpenAI's form: passed on, not recorded."""

    upstream: Upstream
    access: Access
    config: RecordConfig

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            self.access.check(request.headers, "chat")
            path = _plain_path(request)
            body = await read_body(request, self.config) if request.method == "POST" else b""
            async with self.upstream.ask(request.method, path, request.headers, body) as answer:
                if answer.chunks is not None:
                    await _Stream(Unheard(), self.config.client_timeout_s).relay(answer, receive, send)
                else:
                    await Response(answer.body, answer.status, answer.headers)(scope, receive, send)
        except HttpError as error:
            await error_response(error)(scope, receive, send)


def _plain_path(request: Request) -> str:
    path = "/" + request.path_params["path"]
    # what is written in other words could name something else to who answers
    if not _PATH.fullmatch(path) or request.scope["raw_path"].decode("latin-1") != f"/v1{path}":
        raise HttpError(404, f"there is no /v1{path[:100]} here", code="unknown_url")
    return f"{path}?{request.url.query}" if request.url.query else path


class _Stream:
    """A streamed answer.

    Args:
        patience_s: how long a client may take for the next part.
    """

    def __init__(self, witness: Hearing, patience_s: float) -> None:
        self._witness, self._patience_s = witness, patience_s

    async def relay(self, answer: Answer, receive: Receive, send: Send) -> None:
        """Pass it on event by event; its end goes out only once the whole is on record."""
        headers = {**answer.headers, **self._witness.headers, "cache-control": "no-store"}
        gone = asyncio.create_task(_disconnect(receive))
        try:
            await self._send(send, {"type": "http.response.start", "status": answer.status, "headers": _raw(headers)})
            async with asyncio.timeout(None) as waiting:
                gone.add_done_callback(lambda _: _end(waiting))
                await self._events(answer, send)
            await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})
        except (OSError, TimeoutError):
            pass  # the client left, or does not read
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
            self._witness.ended(early=True)

    async def _events(self, answer: Answer, send: Send) -> None:
        assert answer.chunks is not None
        try:
            async for data in answer.chunks:
                for event in self._witness.hear(data):
                    await self._part(event, send)
            for event in self._witness.rest():
                await self._part(event, send)
        except HttpError as error:  # the upstream broke off, and a stream cannot take its status back
            self._witness.failed(f"{error.status}: broke off: {error.message}")
            await self._part(b"data: " + error.body + b"\n\n", send)

    async def _part(self, event: bytes, send: Send) -> None:
        await self._send(send, {"type": "http.response.body", "body": event, "more_body": True})

    async def _send(self, send: Send, message: dict[str, Any]) -> None:
        async with asyncio.timeout(self._patience_s):
            await send(message)


def _end(waiting: asyncio.Timeout) -> None:
    """Stop waiting for an upstream whose answer nobody wants any more."""
    with suppress(RuntimeError):  # it is over already
        waiting.reschedule(asyncio.get_running_loop().time())


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def error_response(error: HttpError, headers: dict[str, str] | None = None) -> Response:
    """An error as a response."""
    return Response(error.body, error.status, headers, "application/json")


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
