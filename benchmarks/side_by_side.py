"""Teacher and student live on one machine in one run: alternating blocks, equal threads, nothing else busy."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from prentice.models.local import LocalModel
from prentice.models.specs import Seats, open_policy, read_recording
from prentice.pipeline import Project
from prentice.progress import Silent
from prentice.records import Episode, Request, Sampling
from prentice.rollouts import play
from prentice.rollouts.plan import sampling_of
from prentice.statistics import quantile
from prentice.tasks import Audience, Case, Task, functions_of
from prentice.training.config import ExportConfig
from prentice.training.export import export

CASES, BLOCK, LEVER_CASES = 200, 40, 60
THREADS = psutil.cpu_count() or 2
BUSY = 15.0
"""Percent of the machine that others may use; above it a time says more about them than about the models."""

PATIENCE = 60
"""Seconds to wait for others to end."""

Played = tuple[list[Episode], list[Episode]]


@dataclass
class Live:
    """What both policies did on the same cases."""

    threads: int
    teacher: list[Episode] = field(default_factory=list)
    student: list[Episode] = field(default_factory=list)

    @property
    def n(self) -> int:
        """Cases played by both."""
        return len(self.teacher)

    def rows(self) -> list[tuple[str, tuple[float, float], str]]:
        """(name, (student's, teacher's), unit); less is better in each."""
        both = (self.student, self.teacher)
        return [
            ("cost_per_success", _pair(both, _cpu_per_success), "CPU-s"),
            ("processing_time_per_success", _pair(both, _seconds_per_success), "s"),
            ("latency_p50", _pair(both, _p50), "s"),
            ("latency_p95", _pair(both, _p95), "s"),
        ]


def compare_live(folder: Path, exported: Path, overrides: Sequence[str] = ()) -> Live:
    """Play the first held-out cases with both, block by block in turns."""
    project = Project(folder, overrides)
    task, cases = project.task, project.task.cases("test")[:CASES]
    recording = read_recording(project.config.teacher.model, folder)
    seats = Seats(functions=len(functions_of(task)), context=project.config.context, threads=THREADS)
    gguf = next(exported.glob("*.gguf"))
    live = Live(threads=THREADS)
    for begin in range(0, len(cases), BLOCK):
        block = cases[begin : begin + BLOCK]
        live.teacher += asyncio.run(
            _block(project, lambda: open_policy(recording.live, folder, seats=seats), block, "teacher")
        )
        live.student += asyncio.run(
            _block(project, lambda: project.open_student(gguf, "student", THREADS), block, "student")
        )
        print(f"live: {begin + len(block)}/{len(cases)} cases", flush=True)
    return live


async def _block(
    project: Project, opened: Callable[[], Any], cases: Sequence[Case], audience: Audience
) -> list[Episode]:
    """What one policy does, alone in memory, as it would be served.

    GNU's OpenMP counts the waiting threads of a second model in the process, and lets those that compute sleep at every
    barrier (prentice/models/openmp.py).
    """
    quiet_or_exit()
    policy, task, rules = opened(), project.task, project.held_out_rules
    await policy.warm_up(await task.environment(audience).reset(cases[0]))
    episodes = [await _episode(task, policy, case, audience, sampling_of(rules, case, 0)) for case in cases]
    await policy.close()
    return episodes


def levers(folder: Path, exported: Path) -> list[dict[str, Any]]:
    """What each lever is worth to the student's median latency, one changed at a time."""
    project = Project(folder)
    task, cases = project.task, project.task.cases("test")[:LEVER_CASES]
    ours = next(exported.glob("*.gguf"))
    plain = _float_export(project, exported)
    quiet_or_exit()
    short = [_request(task, case, "student") for case in cases]
    free = [request.model_copy(update={"choices": ()}) for request in short]
    long = [_request(task, case, "teacher") for case in cases]
    base = _median_latency(ours, short)
    return [
        _lever("lever_label_trie", base, _median_latency(ours, free), "against writing the label freely"),
        _lever("lever_short_prompt", base, _median_latency(ours, long), "against the teacher's prompt"),
        _lever("lever_q8_0", base, _median_latency(plain, short), "against f16"),
    ]


def quiet_or_exit() -> None:
    """Wait a while for other programs to end, and stop with a plain reason when they do not."""
    for _ in range(PATIENCE):
        busy = psutil.cpu_percent(interval=1.0)
        if busy <= BUSY:
            return
    if busy > BUSY:
        sys.exit(f"the machine is {busy:.0f} % busy with other work; times measured now would not be true: try later")


def _lever(name: str, with_it: float, without: float, note: str) -> dict[str, Any]:
    ratio = without / with_it
    row = {"name": name, "ours": with_it, "rival": without, "ratio": ratio, "unit": "s", "n": LEVER_CASES}
    return row | {"note": note}


def _float_export(project: Project, exported: Path) -> Path:
    out = project.home / "benchmark" / f"{exported.name}-f16"
    if not (out / "export.json").exists():
        config = ExportConfig(quantization="f16", check_rows=0)
        export(config, checkpoint=None, base=exported / "model", out=out, rows=(), progress=Silent())
    return next(out.glob("*.gguf"))


def _request(task: Task, case: Case, audience: Audience) -> Request:
    return asyncio.run(task.environment(audience).reset(case))


def _median_latency(gguf: Path, requests: Sequence[Request]) -> float:
    model = LocalModel(gguf, threads=THREADS)

    async def ask() -> list[float]:
        await model.warm_up(requests[0])
        seconds = []
        for request in requests:
            begun = time.perf_counter()
            await model.generate(request, Sampling(max_tokens=24))
            seconds.append(time.perf_counter() - begun)
        await model.close()
        return seconds

    return quantile(asyncio.run(ask()), 0.5)


async def _episode(task: Task, policy: Any, case: Case, audience: Audience, sampling: Sampling) -> Episode:
    return await play(policy, task.environment(audience), case, run="live", task=task.name, sampling=sampling)


def _pair(both: Played, figure: Any) -> tuple[float, float]:
    student, teacher = both
    return figure(student), figure(teacher)


def _successes(episodes: Sequence[Episode]) -> int:
    return sum(e.metric("success") is True for e in episodes)


def _cpu_per_success(episodes: Sequence[Episode]) -> float:
    return sum(e.total("processing_s") or 0.0 for e in episodes) / max(1, _successes(episodes))


def _seconds_per_success(episodes: Sequence[Episode]) -> float:
    return sum(e.total("latency_s") or 0.0 for e in episodes) / max(1, _successes(episodes))


def _p50(episodes: Sequence[Episode]) -> float:
    return quantile([e.total("latency_s") or 0.0 for e in episodes], 0.5)


def _p95(episodes: Sequence[Episode]) -> float:
    return quantile([e.total("latency_s") or 0.0 for e in episodes], 0.95)
