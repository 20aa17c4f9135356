"""The batch endpoints of OpenAI and of Anthropic, as small as they can be, over real HTTP: for tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from faulty_provider import GOOD, GOOD_BY_PATH

RESULTS = {
    "request_counts": {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "type": "message_batch",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
}


class BatchServer(ThreadingHTTPServer):
    """Takes jobs; each is at work until `finish` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, str] = {}
        self.jobs: dict[str, list[dict[str, Any]]] = {}
        """By id: the calls, each with `custom_id` and its body under `body` (OpenAI) or `params` (Anthropic)."""
        self.finish = threading.Event()
        self.failing: set[int] = set()
        """Positions in a job of the calls that fail."""
        self.refusals: list[int] = []
        """Statuses of the next answers."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, calls: list[dict[str, Any]]) -> str:
        """Start a job."""
        self.jobs[f"job_{len(self.jobs)}"] = calls
        return f"job_{len(self.jobs) - 1}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BatchServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.server.refusals:
            return self._send("{}", status=self.server.refusals.pop(0))
        if self.path == "/v1/files":
            # the lines that are JSON are the file, the others the form around it
            self.server.files["file_in"] = "\n".join(line for line in raw.splitlines() if line.startswith("{"))
            return self._send({"id": "file_in", "object": "file"})
        if self.path == "/v1/batches":
            calls = [json.loads(line) for line in self.server.files["file_in"].splitlines()]
            return self._send(self._openai_job(self.server.take(calls)))
        return self._send(self._anthropic_job(self.server.take(json.loads(raw)["requests"])))

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts[1] == "files":
            return self._send(self._openai_file(*parts[2].split("-")))
        if parts[1] == "batches":
            return self._send(self._openai_job(parts[2]))
        if parts[-1] == "results":
            return self._send(self._anthropic_results(parts[-2]))
        return self._send(self._anthropic_job(parts[-1]))

    def _openai_job(self, job: str) -> dict[str, Any]:
        over = self.server.finish.is_set()
        files = {"output_file_id": f"{job}-good", "error_file_id": f"{job}-bad"} if over else {}
        return {"id": job, "object": "batch", "status": "completed" if over else "in_progress", **files}

    def _openai_file(self, job: str, which: str) -> str:
        rows = []
        for position, call in enumerate(self.server.jobs[job]):
            fails = position in self.server.failing
            body = {"error": {"message": "the server had an error"}} if fails else GOOD
            row = {"custom_id": call["custom_id"], "response": {"status_code": 500 if fails else 200, "body": body}}
            rows += [json.dumps(row)] if fails == (which == "bad") else []
        return "\n".join(rows)

    def _anthropic_job(self, job: str) -> dict[str, Any]:
        over = self.server.finish.is_set()
        results = f"{self.server.url}/v1/messages/batches/{job}/results" if over else None
        return RESULTS | {"id": job, "processing_status": "ended" if over else "in_progress", "results_url": results}

    def _anthropic_results(self, job: str) -> str:
        rows = []
        for position, call in enumerate(self.server.jobs[job]):
            error = {"type": "error", "error": {"type": "api_error", "message": "the server had an error"}}
            good = {"type": "succeeded", "message": GOOD_BY_PATH["/messages"]}
            result = {"type": "errored", "error": error} if position in self.server.failing else good
            rows.append(json.dumps({"custom_id": call["custom_id"], "result": result}))
        return "\n".join(rows)

    def _send(self, answer: dict[str, Any] | str, status: int = 200) -> None:
        text = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if isinstance(answer, dict) else "application/x-jsonl")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def serving_batches() -> Iterator[BatchServer]:
    """Run the server in a thread while the block lasts."""
    with BatchServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
