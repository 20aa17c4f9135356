"""The endpoint: OpenAI's paths, recorded; feedback; how it stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from prentice.errors import StoreError
from prentice.serving.access import Access
from prentice.serving.asking import read_object
from prentice.serving.bodies import read_body
from prentice.serving.config import RecordConfig
from prentice.serving.feedback import add_feedback, read_feedback
from prentice.serving.http_errors import HttpError
from prentice.serving.openapi import document
from prentice.serving.recorder import Recorder
from prentice.serving.relay import Relay, Through, error_response
from prentice.serving.upstream import Upstream

FLUSH_S = 3.0
"""How long feedback waits for the calls before it to be stored."""
Handler = Callable[[Request], Awaitable[Response]]


def make_app(upstream: Upstream, recorder: Recorder, access: Access, config: RecordConfig) -> Starlette:
    """The ASGI application; it closes what it was given when it ends."""
    doors = _Doors(recorder, access, config)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await upstream.close()
        await asyncio.to_thread(recorder.close)

    return Starlette(
        routes=[
            Route("/v1/chat/completions", Relay(upstream, recorder, access, config), methods=["POST"]),
            Route("/v1/feedback", _answering(doors.feedback), methods=["POST"]),
            Route("/v1/{path:path}", Through(upstream, access, config), methods=["GET", "POST", "DELETE"]),
            Route("/health", _answering(doors.health), methods=["GET"]),
            Route("/openapi.json", _answering(doors.openapi), methods=["GET"]),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
        lifespan=lifespan,
    )


class _Doors:
    def __init__(self, recorder: Recorder, access: Access, config: RecordConfig) -> None:
        self._recorder, self._access, self._config = recorder, access, config

    async def feedback(self, request: Request) -> Response:
        """Store one piece of feedback."""
        self._access.check(request.headers, "feedback")
        said = read_feedback(read_object(await read_body(request, self._config)))
        # what is said of a call may come before the call is stored
        if not await asyncio.to_thread(self._recorder.flush, FLUSH_S):
            raise HttpError(503, "the calls before it are not stored yet: send it again later", code="store_down")
        try:
            stored = await asyncio.to_thread(lambda: add_feedback(self._recorder.store(), said))
        except StoreError as error:
            raise HttpError(503, f"the store cannot be written: {error.problem}", code="store_down") from error
        return Response(to_json(stored), media_type="application/json")

    async def health(self, request: Request) -> Response:
        """How it stands: 200 while calls are answered and recorded."""
        del request
        recorder = self._recorder
        told = {
            "status": "ok" if not recorder.trouble else "store down, records wait on disk",
            "recorded": recorder.recorded,
            "waiting_bytes": recorder.waiting,
            "not_recorded": recorder.lost,
            "refused": recorder.refused,
            "personal_data": recorder.personal_data,
        }
        return Response(to_json(told), media_type="application/json")

    async def openapi(self, request: Request) -> Response:
        """This interface, described."""
        del request
        return Response(to_json(document()), media_type="application/json")


def _answering(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except HttpError as error:
            return error_response(error)

    return answer


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    response = error_response(HttpError(error.status_code, message))
    response.headers.update(error.headers or {})
    return response


async def _bug(request: Request, error: Exception) -> Response:
    del request, error  # uvicorn logs it; a client is told nothing of the inside
    return error_response(HttpError(500, "a bug in prentice; its log says more", code="bug"))
