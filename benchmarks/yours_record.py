"""The recording endpoint against LiteLLM's proxy and against no proxy at all: the same upstream, load and machine.

Load comes from wrk at about 100 requests a second over 10 connections, in alternating blocks; every request is another
one. The headline is of clients that do not know each other: each waits 0 to 200 ms between two requests. With
the same pause for all, ten connections fall into step and ask at once, again and again: that is a row of its
own. Both proxies have one worker, check a key and log every call: prentice into its store, LiteLLM by a callback that
writes its own logging payload to a file. PRENTICE_LITELLM names the `litellm` command of an environment of its own
(`pip install "litellm[proxy]"`); without it there is no rival.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from prentice.records.store import Store
from prentice.serving.keys import add_key

ROUNDS, BLOCK_S, CONNECTIONS, RATE = 5, 12, 10, 100
KEY = "sk-bench-1234"
Row = dict[str, Any]
_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer KEY"
local n = 0
local system = string.rep("You sort messages of bank customers by what they ask for. ", 25)
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, '{"model":"gpt-4o-mini","temperature":0,"messages":[{"role":"system","content":"'
    .. system .. '"},{"role":"user","content":"message ' .. n .. ' of ' .. tostring(math.random()) .. '"}]}')
end
delay = function() return PAUSE end
"""
_PAUSE_MS = 1000 * CONNECTIONS // RATE
PAUSES = {"": f"math.random(0, {2 * _PAUSE_MS})", "in_step_": str(_PAUSE_MS)}
"""Kind of load → what a connection waits between two requests, in milliseconds."""
_CONFIG = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{upstream}/v1", api_key: sk-upstream}}
litellm_settings: {{callbacks: call_log.handler, telemetry: false}}
general_settings: {{master_key: {key}}}
"""
_CALLBACK = """
import json
from litellm.integrations.custom_logger import CustomLogger

class Log(CustomLogger):
    def __init__(self):
        self.file = open("calls.jsonl", "a")
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.file.write(json.dumps(kwargs["standard_logging_object"], default=str) + "\\n")
        self.file.flush()

handler = Log()
"""


@dataclass
class Place:
    """Where load goes, and what was measured there."""

    url: str
    key: str
    process: psutil.Process
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)

    def forget(self) -> None:
        """Forget what was measured."""
        for measured in (self.p50_ms, self.p99_ms, self.cpu_ms, self.rate):
            measured.clear()

    def measure(self, folder: Path, pause: str) -> None:
        """One block of load."""
        script = folder / "load.lua"
        script.write_text(_LUA.replace("KEY", self.key).replace("PAUSE", pause), encoding="utf-8")
        before = _cpu_s(self.process)
        said = subprocess.run(
            [
                "wrk",
                "-t1",
                f"-c{CONNECTIONS}",
                f"-d{BLOCK_S}s",
                "--latency",
                "-s",
                script,
                f"{self.url}/v1/chat/completions",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        if "Non-2xx" in said:
            raise RuntimeError(f"{self.url}: {said}")
        time.sleep(1.5)  # what is written after the answer counts too
        requests = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
        self.p50_ms.append(_percentile(said, "50%"))
        self.p99_ms.append(_percentile(said, "99%"))
        self.rate.append(requests / BLOCK_S)
        self.cpu_ms.append(1000 * (_cpu_s(self.process) - before) / requests)


def record_rows() -> list[Row]:
    """Overhead in time and in CPU-seconds."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as running:
        folder = Path(scratch)
        places = running.enter_context(_places(folder))
        rows = []
        for kind, pause in PAUSES.items():
            for number in range(ROUNDS + 1):  # the first round warms up
                for place in places.values():
                    place.measure(folder, pause)
                if number == 0:
                    for place in places.values():
                        place.forget()
            rows += _rows(places, kind)
        return rows


def _rows(places: dict[str, Place], kind: str) -> list[Row]:
    direct, ours, rival = places["direct"], places["ours"], places.get("rival")
    rates = {"requests_per_s": {name: median(place.rate) for name, place in places.items()}}
    rows = []
    for name in ("p50", "p99"):
        mine = _over(ours, direct, name)
        theirs = None if rival is None else _over(rival, direct, name)
        middle = None if theirs is None else median(theirs)
        rows.append(_row(f"record_overhead_{kind}{name}_ms", median(mine), middle, "ms", mine, theirs) | rates)
    if kind:
        return rows
    cpu = None if rival is None else median(rival.cpu_ms) / median(ours.cpu_ms)
    row = _row(
        "record_vs_litellm_cpu",
        cpu or 0.0,
        None,
        "times fewer CPU-s",
        ours.cpu_ms,
        None if rival is None else rival.cpu_ms,
    )
    note = "CPU-milliseconds a request, recording included: all (prentice), rival_all (LiteLLM)"
    return [*rows, row | {"note": note} | rates]


def _over(place: Place, direct: Place, name: str) -> list[float]:
    """What a place takes longer than no proxy does, block by block."""
    pairs = zip(getattr(place, f"{name}_ms"), getattr(direct, f"{name}_ms"), strict=True)
    return [through - plain for through, plain in pairs]


def _row(
    name: str, ours: float, rival: float | None, unit: str, all_: list[float], rival_all: list[float] | None
) -> Row:
    return {
        "name": name,
        "ours": ours,
        "rival": rival,
        "ratio": None if rival is None else ours / rival,
        "unit": unit,
        "n": ROUNDS,
        "note": f"median of {ROUNDS} alternating blocks of {BLOCK_S} s, less those of no proxy; wrk, {RATE} requests/s",
        "all": [round(value, 3) for value in all_],
        "rival_all": None if rival_all is None else [round(value, 3) for value in rival_all],
    }


@contextmanager
def _places(folder: Path) -> Iterator[dict[str, Place]]:
    with ExitStack() as running:
        here, ports = Path(__file__).parent, [_free_port() for _ in range(3)]
        upstream = running.enter_context(_process([sys.executable, here / "plain_upstream.py", ports[0]], folder))
        url = f"http://127.0.0.1:{ports[0]}"
        places = {"direct": Place(url, KEY, upstream)}
        home = folder / "ours"
        key = add_key(home / ".prentice", "bench", ["chat"])
        command = [sys.executable, "-m", "prentice", "record", home, "--upstream", f"{url}/v1", "--port", ports[1]]
        environment = {"PRENTICE_UPSTREAM_KEY": "sk-upstream"}
        ours = running.enter_context(_process(command, folder, environment))
        places["ours"] = Place(f"http://127.0.0.1:{ports[1]}", key, ours)
        if litellm := os.environ.get("PRENTICE_LITELLM"):
            rival_home = folder / "rival"
            rival_home.mkdir()
            (rival_home / "config.yaml").write_text(_CONFIG.format(upstream=url, key=KEY), encoding="utf-8")
            (rival_home / "call_log.py").write_text(_CALLBACK, encoding="utf-8")
            command = [
                litellm,
                "--config",
                "config.yaml",
                "--port",
                ports[2],
                "--host",
                "127.0.0.1",
                "--num_workers",
                "1",
            ]
            rival = running.enter_context(_process(command, rival_home, {"LITELLM_LOG": "ERROR"}))
            places["rival"] = Place(f"http://127.0.0.1:{ports[2]}", KEY, rival)
        for place in places.values():
            _wait_for(place)
        yield places
        with Store.open(home / ".prentice" / "store.db") as store:
            stored = sum(len(episode.turns) for episode in store.episodes())
            print(f"{stored:,} calls are stored")
        if "rival" in places:
            logged = (folder / "rival" / "calls.jsonl").read_bytes().count(b"\n")
            print(f"{logged:,} calls are in the rival's log")


@contextmanager
def _process(command: list[Any], folder: Path, environment: dict[str, str] | None = None) -> Iterator[psutil.Process]:
    with (folder / f"{Path(str(command[0])).name}-{command[-1]}.log").open("w", encoding="utf-8") as log:
        running = subprocess.Popen(
            [str(part) for part in command], cwd=folder, stdout=log, stderr=log, env=os.environ | (environment or {})
        )
        try:
            yield psutil.Process(running.pid)
        finally:
            running.terminate()
            running.wait(60)


def _wait_for(place: Place) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "ready?"}]}
    for _ in range(240):
        try:
            answer = httpx.post(
                f"{place.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {place.key}"}
            )
            if answer.status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"{place.url} does not answer")


def _cpu_s(process: psutil.Process) -> float:
    return sum(p.cpu_times().user + p.cpu_times().system for p in (process, *process.children(recursive=True)))


def _percentile(said: str, name: str) -> float:
    found = re.search(rf"{name}\s+([\d.]+)(us|ms|s)", said)
    assert found is not None, said
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
