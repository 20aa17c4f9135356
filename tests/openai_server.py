"""A server of OpenAI's form for tests and benchmarks: what it says follows from the request alone.

The model's name says how it behaves, see `MODELS`; any other one is unknown.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from prentice.serving.serve import bind, server_of

MODELS = ("echo", "tools", "slow", "fails", "limited", "breaks", "stalls", "garbage")


class OpenAIServer:
    """The application, and what it was asked.

    Args:
        models: the names that it knows; one that is not in `MODELS` behaves as `echo`.
    """

    def __init__(self, models: tuple[str, ...] = MODELS) -> None:
        self._models = models
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.delay_s = 0.0
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/v1/embeddings", self.embeddings, methods=["POST"]),
            ]
        )

    async def models(self, request: Request) -> Response:
        """All but one."""
        del request
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self._models]})

    async def embeddings(self, request: Request) -> Response:
        """Something that is not recorded."""
        return JSONResponse({"data": [{"embedding": [0.0], "index": 0}], "model": (await request.json())["model"]})

    async def chat(self, request: Request) -> Response:
        """One completion."""
        asked = await request.json()
        self.asked.append(asked)
        self.headers.append(dict(request.headers))
        model = asked["model"]
        if self.delay_s or model == "slow":
            await asyncio.sleep(self.delay_s or 0.5)
        if model == "fails":
            return _error(500, "the server had an error", "server_error")
        if model == "limited":
            return JSONResponse(_said("slow down", "rate_limit"), 429, headers={"retry-after": "7"})
        if model == "garbage":
            return Response(b"<html>not json</html>", 200, media_type="text/html")
        if model not in self._models:
            return _error(404, f"The model `{model}` does not exist", "model_not_found")
        if asked.get("stream"):
            return StreamingResponse(_stream(asked), media_type="text/event-stream")
        return JSONResponse(completion(asked))


def completion(asked: dict[str, Any]) -> dict[str, Any]:
    """What `echo` and `tools` say."""
    message = _message(asked)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_770_000_000,
        "model": asked["model"],
        "choices": [
            {"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def _message(asked: dict[str, Any]) -> dict[str, Any]:
    last = asked["messages"][-1]
    if asked["model"] == "tools" and last["role"] == "user":
        call = {"name": "look_up", "arguments": json.dumps({"order": last["content"]})}
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        }
    return {"role": "assistant", "content": f"echo: {last.get('content')}"}


async def _stream(asked: dict[str, Any]) -> AsyncIterator[bytes]:
    whole = completion(asked)
    about = {"id": whole["id"], "object": "chat.completion.chunk", "created": whole["created"], "model": whole["model"]}
    choice = whole["choices"][0]
    for delta in _deltas(choice["message"]):
        yield _event({**about, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        await asyncio.sleep({"slow": 0.05, "stalls": 60}.get(asked["model"], 0))
        if asked["model"] == "breaks":
            raise ConnectionResetError("as a server that dies")
    yield _event({**about, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield _event({**about, "choices": [], "usage": whole["usage"]})
    yield b"data: [DONE]\n\n"


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    if "tool_calls" in message:
        call = message["tool_calls"][0]
        arguments = call["function"]["arguments"]
        yield {"tool_calls": [{"index": 0, **call, "function": {"name": call["function"]["name"], "arguments": ""}}]}
        for piece in (arguments[:5], arguments[5:]):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        return
    text = message["content"]
    for start in range(0, len(text), 4):
        yield {"content": text[start : start + 4]}


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _said(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _error(status: int, message: str, code: str) -> Response:
    return JSONResponse(_said(message, code), status)


@contextmanager
def serving(app: Any, patience_s: float = 60.0) -> Iterator[str]:
    """Serve an application on a free port of this machine, as `prentice record` does; yields its URL with `/v1`."""
    bound = bind("127.0.0.1", 0)
    server = server_of(app, patience_s)
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]), daemon=True)
    thread.start()
    try:
        while not server.started:
            threading.Event().wait(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()
