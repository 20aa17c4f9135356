"""Attacks on the endpoint's sockets: who is slow, broken or hostile gets a plain answer or none, and others go on."""

from __future__ import annotations

import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from openai_server import OpenAIServer, serving
from prentice.pipeline.recording import Recording
from prentice.serving.access import Access
from prentice.serving.connections import LONGEST_HEAD
from prentice.serving.endpoint import make_app
from prentice.serving.recorder import Recorder

BODY = b'{"model": "echo", "messages": [{"role": "user", "content": "hi"}]}'
PATIENCE_S = 1.0


@dataclass
class Desk:
    """An endpoint, by its socket."""

    port: int
    behind: OpenAIServer
    recorder: Recorder

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def answers(self, sent: bytes, *, half_closed: bool = False) -> list[tuple[int, bytes]]:
        """Status and body of all answers to these bytes, until the server closes or says no more."""
        with closing(self.connect()) as raw:
            raw.sendall(sent)
            if half_closed:
                raw.shutdown(socket.SHUT_WR)
            raw.settimeout(1.0)
            got = b""
            try:
                while data := raw.recv(65536):
                    got += data
            except (TimeoutError, ConnectionResetError):
                pass
        return list(parsed(got))

    @property
    def fine(self) -> bool:
        """Whether a well-behaved client is answered."""
        return [status for status, _ in self.answers(post(close=True))] == [200]


def post(
    *headers: bytes, body: bytes = BODY, version: bytes = b"1.1", host: bytes = b"localhost", close: bool = False
) -> bytes:
    """A request as bytes."""
    lines = [b"POST /v1/chat/completions HTTP/" + version, b"Host: " + host, b"Content-Type: application/json"]
    if not any(header.lower().startswith((b"content-length", b"transfer-encoding")) for header in headers):
        lines.append(b"Content-Length: %d" % len(body))
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, *headers, b"", b""]) + body


def parsed(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Answers with a length, or to the end."""
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0 if status == 100 else len(rest)
        yield status, rest[:size]
        data = rest[size:]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """An endpoint with little patience."""
    folder, behind = tmp_path_factory.mktemp("desk"), OpenAIServer()
    with serving(behind.app) as upstream:
        recording = Recording.of(folder, [f'record.upstream="{upstream}"', f"record.client_timeout_s={PATIENCE_S}"])
        access, recorder = Access(recording.home, "127.0.0.1"), recording.recorder()
        app = make_app(recording.upstream(own_key=False), recorder, access, recording.config)
        with serving(app, PATIENCE_S) as url:
            port = httpx.URL(url).port
            assert port is not None
            yield Desk(port, behind, recorder)


REFUSED = [
    ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\xfc\x03\x03" * 20, 400),
    ("no HTTP", b"HELLO\r\n\r\n", 400),
    ("garbage after a request", post() + b"\x00\xff\r\n\r\n", 400),
    ("two lengths", post(b"Content-Length: 5", b"Content-Length: 66"), 400),
    ("length and chunks", post(b"Content-Length: 66", b"Transfer-Encoding: chunked"), 400),
    ("negative length", post(b"Content-Length: -1"), 400),
    ("huge length", post(b"Content-Length: 99999999999999999999"), 400),
    ("space before the colon", post(b"X-Prentice-Case : x"), 400),
    ("a line feed in a value", post(b"X-Prentice-Case: a\nHost: evil"), 400),
    ("a carriage return in a value", post(b"X-Prentice-Case: a\rb"), 400),
    ("a folded header", post(b"X-Prentice-Case: a\r\n b"), 400),
    ("a nul in a value", post(b"X-Prentice-Case: a\x00b"), 400),
    (
        "an escaped line feed in the body",
        post(body=BODY[:-1] + b', "prentice": {"episode": "a\\r\\nX: y"}}', close=True),
        400,
    ),
    ("gzip", post(b"Content-Encoding: gzip", body=gzip.compress(BODY, mtime=0), close=True), 415),
    ("another host", post(host=b"evil.example", close=True), 403),
    ("no host", b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", 403),
    ("an endless header", b"GET / HTTP/1.1\r\nX: " + b"x" * (LONGEST_HEAD * 5), 431),
    ("endless headers", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (LONGEST_HEAD), 431),
    ("an upgrade", post(b"Upgrade: websocket", b"Connection: upgrade, close"), 400),
    ("a bad chunk", post(b"Transfer-Encoding: chunked", body=b"zz\r\n"), 400),
]


@pytest.mark.parametrize(("sent", "status"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_no_proper_request_is_refused_in_openais_form(here: Desk, sent: bytes, status: int) -> None:
    found, body = here.answers(sent)[-1]
    assert found == status
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert here.fine


TAKEN = [
    ("pipelined", post() + post(close=True), [200, 200]),
    ("chunks with trailers", post(
        b"Transfer-Encoding: chunked", body=b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\nX-Prentice-Case: t\r\n\r\n"
    ), [200]),
    ("100-continue", post(b"Expect: 100-continue", close=True), [100, 200]),
    ("HTTP/1.0", post(version=b"1.0"), [200]),
    ("many headers", post(*(b"X-%d: y" % n for n in range(900)), close=True), [200]),
    ("the same header twice", post(b"X-Prentice-Case: a", b"X-Prentice-Case: b", b"Authorization: Bearer a",
                                   b"Authorization: Bearer b", close=True), [200]),
    ("no UTF-8", post(b"X-Prentice-Case: \xff\xfe\xe9", b"Authorization: Bearer \xff", close=True), [200]),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "statuses"), [case[1:] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_what_is_odd_and_allowed_is_answered(here: Desk, sent: bytes, statuses: list[int]) -> None:
    assert [status for status, _ in here.answers(sent)] == statuses
    assert here.fine


def test_a_client_that_closes_its_half_after_the_request_is_answered_or_let_go(here: Desk) -> None:
    assert [status for status, _ in here.answers(post(), half_closed=True)] in ([200], [])
    assert here.fine


def test_a_client_that_leaves_before_its_request_is_whole_costs_nothing(here: Desk) -> None:
    asked = len(here.behind.asked)
    for _ in range(20):
        with closing(here.connect()) as raw:
            raw.sendall(post()[:-5])
    assert here.fine
    assert len(here.behind.asked) == asked + 1


def test_a_client_that_leaves_before_its_answer_is_on_record_all_the_same(here: Desk) -> None:
    before = here.recorder.recorded
    with closing(here.connect()) as raw:
        raw.sendall(post(body=BODY.replace(b"echo", b"slow")))
    assert recorded_more(here, before) == 1


def recorded_more(here: Desk, before: int) -> int:
    """How many calls were recorded since, once it is one or does not come."""
    deadline = time.monotonic() + 5
    while here.recorder.recorded == before and time.monotonic() < deadline:
        time.sleep(0.05)
    return here.recorder.recorded - before


def ended_within(raw: socket.socket, seconds: float) -> bool:
    """Whether the server ends a connection in time; what it says before is read."""
    raw.settimeout(seconds)
    try:
        while raw.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


def test_clients_that_say_nothing_or_half_a_request_are_let_go(here: Desk) -> None:
    with ExitStack() as stack:
        clients = []
        for sent in (b"", b"POST /v1/chat", post()[:60], post()[:-5]):
            clients.append(stack.enter_context(closing(here.connect())))
            clients[-1].sendall(sent)
        assert here.fine
        for raw in clients[:3]:
            assert ended_within(raw, PATIENCE_S + 8)
        assert clients[3].recv(12) == b"HTTP/1.1 408"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_stops_reading_is_let_go_and_what_it_got_is_on_record(here: Desk, stream: bool) -> None:
    before = here.recorder.recorded
    long = json.dumps(
        {
            "model": "echo",
            "stream": stream,
            "messages": [{"role": "user", "content": "x" * (400_000 if stream else 9_000_000)}],
        }
    ).encode()
    with closing(socket.socket()) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", here.port))
        raw.settimeout(10)
        raw.sendall(post(body=long))
        raw.recv(10)
        deadline = time.monotonic() + PATIENCE_S + 12
        gone = False
        while not gone and time.monotonic() < deadline:
            time.sleep(0.2)
            try:
                raw.sendall(b" ")
            except OSError:
                gone = True
        assert gone
    assert recorded_more(here, before) == 1
    assert here.fine


def test_hundreds_of_idle_connections_keep_nobody_out_and_are_let_go(here: Desk) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(closing(here.connect())) for _ in range(500)]
        assert here.fine
        assert all(ended_within(raw, PATIENCE_S + 5) for raw in idle)
    assert here.fine


def test_where_the_system_allows_few_files_more_connections_than_that_do_no_harm(tmp_path: Path) -> None:
    with serving(OpenAIServer().app) as upstream, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = (
            f"ulimit -n 150; exec {sys.executable} -m prentice record {tmp_path} --upstream {upstream} --port {port}"
        )
        endpoint = subprocess.Popen(
            ["bash", "-c", f"{command} --set record.client_timeout_s=1"], stderr=subprocess.PIPE
        )
        try:
            assert endpoint.stderr is not None
            endpoint.stderr.readline()  # it is bound now
            with ExitStack() as stack:
                for _ in range(300):
                    stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=10)))
                answers = [httpx.get(f"http://127.0.0.1:{port}/health", timeout=20)]
                deadline = time.monotonic() + 15
                while answers[-1].status_code != 200 and time.monotonic() < deadline:
                    time.sleep(0.2)
                    answers.append(httpx.get(f"http://127.0.0.1:{port}/health", timeout=20))
            assert {answer.status_code for answer in answers[:-1]} <= {503}
            assert answers[-1].status_code == 200
        finally:
            endpoint.kill()
            endpoint.communicate()


def test_a_prompt_of_10_mb_is_answered_and_recorded(here: Desk) -> None:
    body = {
        "model": "tools",
        "messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y" * 10_000_000}],
    }
    answer = httpx.post(f"http://127.0.0.1:{here.port}/v1/chat/completions", json=body, timeout=30)
    assert answer.status_code == 200
    assert here.recorder.flush(20)


def test_many_clients_at_once_are_all_answered_while_others_attack(here: Desk) -> None:
    found: list[int] = []

    def good() -> None:
        found.extend(status for _ in range(5) for status, _ in here.answers(post(close=True)))

    def bad() -> None:
        for _, sent, _ in REFUSED[:6]:
            here.answers(sent)

    threads = [threading.Thread(target=job) for job in (good, bad, good, bad)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 10
