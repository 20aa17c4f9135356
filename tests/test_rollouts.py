"""Rollouts: failures are data, what is stored is never played again, a kill loses nothing finished."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prentice.errors import JudgeError, ModelError, PrenticeError, StoreError
from prentice.models import ScriptedModel
from prentice.records import Failure, Metric, Reply, Request, Sampling
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, plan, play, play_all, rollout, run_id
from prentice.tasks import Audience, Case, Environment, Step
from prentice.tasks.classify import Classify, ClassifyConfig

LABELS = ("yes", "no")


def make_task(folder: Path, n: int = 20) -> Classify:
    """A task of n training cases whose right answer is always yes."""
    rows = "".join(f"c{i},train,text {i},yes\n" for i in range(n)) + "p,prompt,never,no\n"
    (folder / "cases.csv").write_text("id,split,text,label\n" + rows, encoding="utf-8")
    return Classify(ClassifyConfig(cases=Path("cases.csv"), instructions="Which?"), folder)


class Raising:
    """An environment that breaks on its first step."""

    async def reset(self, case: Case) -> Request:
        del case
        return Request(function="f", messages=())

    async def step(self, reply: Reply) -> Step:
        raise ValueError("boom")

    async def close(self) -> None:
        """Nothing to give back."""


CASE = Case(id="c", split="train", inputs={})


async def test_a_failed_call_ends_the_episode_as_data(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    episode = await play(
        ScriptedModel([ModelError("503 from provider")]),
        task.environment("teacher"),
        task.cases("train")[0],
        run="r",
        task="t",
    )
    assert episode.failure == Failure(where="model", message="503 from provider")
    assert episode.metric("success") is None


async def test_an_environment_that_raises_ends_the_episode_as_data() -> None:
    episode = await play(ScriptedModel(["x"]), Raising(), CASE, run="r", task="t")
    assert episode.failure == Failure(where="environment", message="ValueError: boom")
    assert [turn.reply.text for turn in episode.turns] == ["x"]


async def test_turns_go_on_until_the_environment_ends_them() -> None:
    class TwoTurns:
        def __init__(self) -> None:
            self.left = 2

        async def reset(self, case: Case) -> Request:
            return Request(function="f", inputs={"case": case.id}, messages=())

        async def step(self, reply: Reply) -> Step:
            self.left -= 1
            if self.left:
                return Step(request=Request(function="g", messages=()))
            return Step(metrics=(Metric(name="success", value=reply.text == "b"),))

        async def close(self) -> None:
            """Nothing to give back."""

    episode = await play(ScriptedModel(["a", "b"]), TwoTurns(), CASE, run="r", task="t")
    assert [turn.request.function for turn in episode.turns] == ["f", "g"]
    assert episode.metric("success") is True


async def test_what_is_stored_is_not_played_again(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    asked: list[str] = []

    def answer(request: Request) -> str:
        asked.append(str(request.inputs["text"]))
        return "yes"

    with Store.open(tmp_path / "s.db") as store:
        first = await rollout(task, ScriptedModel(answer), task.cases("train")[:5], store, RolloutConfig())
        again = await rollout(task, ScriptedModel(answer), task.cases("train"), store, RolloutConfig())
        assert first == again
        assert store.count(run=first) == 20
    assert len(asked) == len(set(asked)) == 20


async def test_tries_of_a_case_follow_each_other_and_the_first_is_the_likeliest(tmp_path: Path) -> None:
    task = make_task(tmp_path, 2)
    seen: list[tuple[float, int]] = []

    class Spy(ScriptedModel):
        async def generate(self, request: Request, sampling: Sampling) -> Reply:
            seen.append((sampling.temperature, sampling.seed))
            return await super().generate(request, sampling)

    with Store.open(tmp_path / "s.db") as store:
        config = RolloutConfig(tries=3, retry_temperature=0.7)
        run = await rollout(task, Spy(lambda _: "yes"), task.cases("train"), store, config)
        assert store.attempts(run) == {(f"c{i}", attempt) for i in range(2) for attempt in range(3)}
    assert [temperature for temperature, _ in seen] == [0.0, 0.7, 0.7] * 2
    assert len({seed for _, seed in seen}) == 6


async def test_as_many_episodes_are_in_flight_as_the_policy_serves(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    flying, most = 0, 0

    class Slow(ScriptedModel):
        async def generate(self, request: Request, sampling: Sampling) -> Reply:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.001)
            flying -= 1
            return await super().generate(request, sampling)

    with Store.open(tmp_path / "s.db") as store:
        await rollout(task, Slow(lambda _: "yes", slots=4), task.cases("train"), store, RolloutConfig())
    assert most == 4


def test_a_run_is_another_run_when_policy_prompt_or_sampling_differ(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    one = run_id(task, "a", "teacher", "train", RolloutConfig())
    assert run_id(task, "a", "teacher", "train", RolloutConfig(concurrency=9, tries=3)) == one
    others = [
        run_id(task, "b", "teacher", "train", RolloutConfig()),
        run_id(task, "a", "student", "train", RolloutConfig()),
        run_id(task, "a", "teacher", "test", RolloutConfig()),
        run_id(task, "a", "teacher", "train", RolloutConfig(seed=1)),
    ]
    assert len({one, *others}) == 5


def test_tries_that_would_all_be_equal_are_refused(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    with Store.open(tmp_path / "s.db") as store, pytest.raises(PrenticeError, match="equal replies"):
        plan(task, "a", task.cases("train"), store, RolloutConfig(tries=2, retry_temperature=0))


async def test_what_a_failed_call_ended_is_played_again(tmp_path: Path) -> None:
    task = make_task(tmp_path, 3)
    with Store.open(tmp_path / "s.db") as store:
        broken = ScriptedModel(lambda _: ModelError("503"))
        run = await rollout(task, broken, task.cases("train"), store, RolloutConfig())
        assert [e.failure is not None for e in store.episodes(run=run)] == [True] * 3
        assert await rollout(task, ScriptedModel(lambda _: "yes"), task.cases("train"), store, RolloutConfig()) == run
        assert [e.metric("success") for e in store.episodes(run=run)] == [True] * 3


async def test_what_a_broken_judge_ended_is_played_again(tmp_path: Path) -> None:
    class Judged(Classify):
        """Its judge is out of order while `broken`."""

        broken = True

        def environment(self, audience: Audience) -> Environment:
            return _Verdict() if self.broken else super().environment(audience)

    class _Verdict(Raising):
        async def reset(self, case: Case) -> Request:
            return Request(function="f", inputs={"case": case.id}, messages=())

        async def step(self, reply: Reply) -> Step:
            raise JudgeError("no verdict")

    make_task(tmp_path, 3)
    task = Judged(ClassifyConfig(cases=Path("cases.csv"), instructions="Which?"), tmp_path)
    with Store.open(tmp_path / "s.db") as store:
        run = await rollout(task, ScriptedModel(lambda _: "yes"), task.cases("train"), store, RolloutConfig())
        assert {e.failure and e.failure.where for e in store.episodes(run=run)} == {"judge"}
        task.broken = False
        await rollout(task, ScriptedModel(lambda _: "yes"), task.cases("train"), store, RolloutConfig())
        assert [e.metric("success") for e in store.episodes(run=run)] == [True] * 3


def test_an_error_that_is_the_users_comes_out_alone_not_in_a_group(tmp_path: Path) -> None:
    task = make_task(tmp_path)

    class Full(Store):
        """A store whose disk is full."""

        def add_rows(self, episodes: object) -> int:
            raise StoreError("disk is full")

    with Full.open(tmp_path / "s.db") as store, pytest.raises(StoreError, match="disk is full"):
        play_all(task, ScriptedModel(lambda _: "yes"), task.cases("train"), store, RolloutConfig())


PLAYER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_rollouts import make_task
from prentice.models import ScriptedModel
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
folder = Path(sys.argv[1])
def slow(request):
    with (folder / "asked").open("a") as file:
        print(request.inputs["text"], file=file)
    time.sleep(0.003)
    return "yes"
task = make_task(folder, 300)
with Store.open(folder / "s.db") as store:
    print(play_all(task, ScriptedModel(slow), task.cases("train"), store, RolloutConfig()))
"""


def test_kill_9_during_a_rollout_loses_nothing_finished_and_plays_nothing_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PLAYER.format(tests=str(Path(__file__).parent)), str(tmp_path)]
    stored = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        _wait_for_lines(tmp_path / "asked", stored + 40, process)
        process.kill()
        process.communicate()
        with Store.open(tmp_path / "s.db") as store:
            now = store.count()
        assert now >= stored + 30
        stored = now
    run = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    with Store.open(tmp_path / "s.db") as store:
        assert store.attempts(run) == {(f"c{i}", 0) for i in range(300)}
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert len(asked) <= 300 + 3, "at most the one episode in flight at each kill is asked again"


def _wait_for_lines(path: Path, n: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 200
    while time.monotonic() < until and process.poll() is None:
        if path.exists() and len(path.read_text(encoding="utf-8").splitlines()) >= n:
            return
        time.sleep(0.01)
    raise AssertionError("the player ended or hung before it was killed")
