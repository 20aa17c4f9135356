"""A provider that misbehaves on purpose, over real HTTP: for tests, and to measure what is lost to it.

It answers in the forms of OpenAI, Anthropic, Gemini and Ollama, and plays one trick a request: those in `tricks` in
their order, then by chance. It counts what a real provider would bill: each reply it made, whole or not.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prentice.models.limits import ProviderConfig
from prentice.models.prices import Price
from prentice.models.remote import RemoteModel

PRICE = Price(input_usd=10, output_usd=100)
# 10 tokens in at $10 and 2 out at $100 a million
ONE_CALL_USD = 300e-6

GOOD: dict[str, Any] = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "tiny",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
}
GOOD_BY_PATH: dict[str, dict[str, Any]] = {
    "/messages": {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "tiny",
        "content": [{"type": "text", "text": '{"answer": "yes"}'}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 4, "cache_read_input_tokens": 6, "output_tokens": 2},
    },
    ":generateContent": {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": '{"answer": "yes"}'}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12},
    },
    "/api/chat": {
        "model": "tiny",
        "created_at": "2026-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": '{"answer": "yes"}'},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 10,
        "eval_count": 2,
    },
}
HALF = json.dumps(GOOD)[:60]
FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 429, "retry_after": "0.01", "text": "{}"},
    {"status": 500, "text": "oops"},
    {"text": "\x00 garbage"},
    {"text": HALF, "length": 500},
    {"never": True},
)
"""What goes wrong by chance: too many calls, a breakdown, garbage, half a reply, no answer at all."""


class FaultyServer(ThreadingHTTPServer):
    """The server.

    Args:
        share: of the requests to which a fault of `FAULTS` happens by chance.
        seed: of that chance.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, share: float = 0.0, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.share, self._chance = share, random.Random(seed)
        self.tricks: list[dict[str, Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.answer: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None
        """Stands in for the good replies: path and body → reply."""
        self.date = ""
        """What its clock says; empty: the truth."""
        self.connections = self.billed = 0
        self.asked, self.over = threading.Event(), threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def model(self, *, spec: str = "llamacpp:tiny", **settings: Any) -> RemoteModel:
        """A model behind it; where its OpenAI form begins with /v1, the other forms do not mind."""
        config = ProviderConfig(**{"base_url": self.url + "/v1", "price": PRICE, **settings})
        return RemoteModel(spec, config, api_key="sk-hush")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: callers that give up break their connection."""

    def next_trick(self, body: dict[str, Any]) -> dict[str, Any]:
        """Note a request; return what happens to it."""
        with self.lock:
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self.asked.set()
            if self.tricks:
                trick = self.tricks.pop(0)
            else:
                trick = self._chance.choice(FAULTS) if self._chance.random() < self.share else {}
            self.billed += "status" not in trick
            return trick


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.server.date or super().date_time_string(timestamp)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        trick = self.server.next_trick(body)
        if trick.get("never"):
            self.server.over.wait(20)
            self.close_connection = True
            return
        path = self.path.split("?")[0]
        good = next((good for end, good in GOOD_BY_PATH.items() if path.endswith(end)), GOOD)
        if self.server.answer is not None:
            good = self.server.answer(path, body)
        self._send(trick, trick.get("text", json.dumps(trick.get("reply", good))).encode())

    def _send(self, trick: dict[str, Any], text: bytes) -> None:
        self.send_response(trick.get("status", 200))
        self.send_header("Content-Type", trick.get("type", "application/json"))
        self.send_header("Content-Length", str(trick.get("length", len(text))))
        for name, value in trick.get("headers", {}).items():
            self.send_header(name, value)
        if "retry_after" in trick:
            self.send_header("Retry-After", trick["retry_after"])
        self.close_connection = "length" in trick
        self.end_headers()
        try:
            if "drip" in trick:
                self._drip(text)
            else:
                self.wfile.write(text)
        except OSError:
            self.close_connection = True  # the caller has given up

    def _drip(self, text: bytes) -> None:
        for byte in text:
            if self.server.over.wait(0.05):
                return
            self.wfile.write(bytes([byte]))


@contextmanager
def serving(server: FaultyServer) -> Iterator[FaultyServer]:
    """Run the server in a thread while the block lasts."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
