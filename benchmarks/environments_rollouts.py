"""Rows of `make bench-environments` about rollouts: steps a second, parallel episodes, episodes in flight, kills."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from prentice.models import ScriptedModel
from prentice.models.catalogue import resolve_gguf
from prentice.models.local import LocalModel
from prentice.progress import Bar
from prentice.records import Reply, Request, Sampling
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.tasks.babyai import BabyAI, BabyAIConfig
from prentice.tasks.seeds import Seeds

Row = dict[str, Any]

REPEATS = 5
BASE, THOUGHT_TOKENS = "smollm2-135m", 32
THREADS = psutil.cpu_count() or 1
"""Of a model; the same for one episode as for eight."""
IN_FLIGHT = 2000
SEEDS = Seeds(train=(0, IN_FLIGHT))
KILLS = int(os.environ.get("PRENTICE_SOAK", "100"))
"""In each stage."""


def rollout_rows() -> list[Row]:
    """Steps a second with a scripted policy, turns a second with a local one, and what thousands in flight take."""
    return [*_scripted_rows(), *_parallel_rows(), *_in_flight_rows()]


def soak_rows() -> list[Row]:
    """What kills at random points cost: episodes lost or doubled, files of the dataset that differ."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from soak import soak  # noqa: PLC0415 - it lies with the tests
    from test_pipeline import write_project  # noqa: PLC0415 - it lies with the tests
    from tiny_models import write_tiny_llama  # noqa: PLC0415 - it lies with the tests

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        project = write_project(place / "project", write_tiny_llama(place / "base"))
        (place / "scratch").mkdir()
        damage = soak(project, place / "scratch", KILLS)
    kills = {stage: found.kills for stage, found in damage.items()}
    total = float(sum(found.total for found in damage.values()))
    return [_row("kills_lost", total, "episodes and files", n=sum(kills.values()), kills=kills)]


def _row(name: str, ours: float, unit: str, rival: float | None = None, **more: Any) -> Row:
    ratio = None if rival is None else ours / rival
    return {"name": name, "ours": ours, "rival": rival, "ratio": ratio, "unit": unit} | more


def _scripted_rows() -> list[Row]:
    """BabyAI's own random walk: reset, step, metrics, rendered request, episode, store."""
    many = [_steps_per_s(processes=2, episodes=600) for _ in range(REPEATS)]
    one = [_steps_per_s(processes=0, episodes=200) for _ in range(REPEATS)]
    note = "GoToLocal, random walk, from the first finished episode on; rival: all in one process"
    figures = [round(figure) for figure in many]
    return [_row("scripted_steps_per_s", median(many), "steps/s", median(one), n=REPEATS, note=note, all=figures)]


def _steps_per_s(processes: int, episodes: int) -> float:
    task = BabyAI(BabyAIConfig(level="GoToLocal", seeds=SEEDS), Path())
    config = RolloutConfig(processes=processes, concurrency=64, warm_up=False)
    clock = _Clock()
    with tempfile.TemporaryDirectory() as place, Store.open(Path(place) / "store.db") as store:
        policy = task.baselines()["random walk"]
        run = play_all(task, policy, task.cases("train")[:episodes], store, config, progress=clock)
        turns = sum(len(episode.turns) for episode in store.episodes(run=run))
    # until the first is finished, processes start and levels are imported
    return turns * (1 - 1 / len(clock.ticks)) / (clock.ticks[-1] - clock.ticks[0])


class _Clock:
    """A progress that notes when each episode was counted."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """Count on this clock."""
        del title, total, unit, done
        yield self

    def advance(self, amount: float = 1, **facts: str) -> None:
        """Note the time."""
        del amount, facts
        self.ticks.append(time.perf_counter())

    def say(self, text: str) -> None:
        """Say nothing."""
        del text


def _parallel_rows() -> list[Row]:
    """Eight episodes of a local model at once against one; the base's weights, which cost what a student's cost.

    A reply held to six actions takes one pass over the few tokens that are new in its prompt; one that may think takes
    a pass for each token it writes, and only there does a batch share the reading of the weights.
    """
    return [_parallel_row("parallel_8_turns", reasoning=False), _parallel_row("parallel_8_text_turns", reasoning=True)]


def _parallel_row(name: str, *, reasoning: bool) -> Row:
    rates: dict[int, list[float]] = {1: [], 8: []}
    for repeat in range(REPEATS):
        for together in (1, 8) if repeat % 2 else (8, 1):
            rates[together].append(_turns_per_s(together, first=16 * repeat, reasoning=reasoning))
    ratio = median(many / one for one, many in zip(rates[1], rates[8], strict=True))
    kind = f"thoughts of up to {THOUGHT_TOKENS} tokens" if reasoning else "one of six actions"
    note = f"GoToLocal, {BASE}, {kind}: turns/s of 8 episodes together over those of one after the other"
    return _row(name, ratio, "ratio", n=REPEATS, note=note, turns_per_s=rates, threads=THREADS)


def _turns_per_s(together: int, first: int, *, reasoning: bool) -> float:
    """Of the same episodes, from the first reply to the last; what is played at once has empty seats at the end."""
    settings = BabyAIConfig(level="GoToLocal", seeds=SEEDS, reasoning=reasoning, max_steps=8 if reasoning else 20)
    task = BabyAI(settings, Path())
    cases = task.cases("train")[first : first + (8 if reasoning else 16)]
    model = _Noted(LocalModel(resolve_gguf(BASE), slots=together, context=512, threads=THREADS))
    config = RolloutConfig(concurrency=together, max_tokens=THOUGHT_TOKENS)
    with tempfile.TemporaryDirectory() as place, Store.open(Path(place) / "store.db") as store:
        play_all(task, model, cases, store, config, audience="student")
    return (len(model.replies) - 1) / (model.replies[-1] - model.replies[0])


class _Noted:
    """A local model with the time of each reply."""

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self.name, self.slots = model.name, model.slots
        self.replies: list[float] = []

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """The model's reply."""
        reply = await self._model.generate(request, sampling)
        self.replies.append(time.perf_counter())
        return reply

    async def warm_up(self, request: Request) -> None:
        """As the model does."""
        await self._model.warm_up(request)

    async def close(self) -> None:
        """As the model does."""
        await self._model.close()


class _Remote(ScriptedModel):
    """Answers after a while, as a model behind an API does, and notes what that takes here."""

    def __init__(self) -> None:
        super().__init__(lambda _: "go forward", name="remote", slots=IN_FLIGHT)
        self.threads = self.bytes = 0

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Go forward."""
        await asyncio.sleep(0.5)
        self.threads = max(self.threads, threading.active_count())
        self.bytes = max(self.bytes, psutil.Process().memory_info().rss) if sampling.seed % 50 == 0 else self.bytes
        return await super().generate(request, sampling)


def _in_flight_rows() -> list[Row]:
    task = BabyAI(BabyAIConfig(level="GoToObj", max_steps=5, seeds=SEEDS), Path())
    policy, before = _Remote(), psutil.Process().memory_info().rss
    threads_before = threading.active_count()
    with tempfile.TemporaryDirectory() as place, Store.open(Path(place) / "store.db") as store:
        play_all(task, policy, task.cases("train")[:IN_FLIGHT], store, RolloutConfig(warm_up=False))
        played = store.count()
    added = (policy.bytes - before) / 2**20
    return [
        _row(f"in_flight_{IN_FLIGHT}_threads", float(policy.threads - threads_before), "threads more", n=played),
        _row(f"in_flight_{IN_FLIGHT}_mb", added, "MiB more", n=played),
    ]
