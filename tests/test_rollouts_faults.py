"""Rollouts bear environments that misbehave, replies of any size and script, clocks that jump, and each other."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prentice.errors import PrenticeError
from prentice.models import ScriptedModel
from prentice.models.policy import Policy
from prentice.records import Episode, Failure, Reply, Request, Sampling
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, Rules, play, play_all, rollout
from prentice.tasks import Case
from rollout_tasks import Counting, CountingTask, Yes

RULES = Rules()


def yes(slots: int = 1) -> ScriptedModel:
    """A policy that is always right."""
    return ScriptedModel(lambda _: "yes", slots=slots)


async def one(fault: str, rules: Rules = RULES, turns: int = 3) -> Episode:
    """An episode whose environment misbehaves in this way."""
    case = Case(id="c", split="train", inputs={"turns": turns, "fault": fault})
    return await play(yes(), Counting(), case, run="r", task="t", rules=rules)


async def test_an_environment_that_never_ends_fails_after_max_turns() -> None:
    episode = await one("", Rules(max_turns=5), turns=1_000_000)
    assert episode.failure is not None
    assert episode.failure.where == "environment"
    assert "did not end within 5 turns" in episode.failure.message
    assert len(episode.turns) == 5


async def test_an_environment_that_waits_for_ever_fails_in_time() -> None:
    episode = await one("waits", Rules(step_timeout_s=0.05))
    assert episode.failure is not None
    assert "no answer within 0.05 s" in episode.failure.message
    assert len(episode.turns) == 2


@pytest.mark.parametrize("fault", ["nan", "hidden nan"])
async def test_a_metric_that_is_nan_fails_by_its_name_and_is_no_score(fault: str) -> None:
    episode = await one(fault)
    assert episode.failure is not None
    assert episode.failure.where == "metric"
    assert "'score' is nan" in episode.failure.message
    assert episode.metric("score") is None
    assert episode.metric("success") is None


async def test_an_environment_that_returns_nonsense_fails_and_says_what_it_was() -> None:
    assert (await one("nonsense")).failure == Failure(where="environment", message="step returned list, not a Step")


def test_what_an_environment_prints_goes_to_the_log_not_to_the_screen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: Request) -> str:
        print("from the policy", request.inputs["step"])
        return "yes"

    with caplog.at_level(logging.INFO, "prentice.environment"), Store.open(tmp_path / "s.db") as store:
        task = CountingTask(2, faults={0: "prints", 1: "prints"})
        play_all(task, ScriptedModel(answer, slots=2), task.cases("train"), store, RolloutConfig())
    assert caplog.messages == ["LOOK AT ME"] * 2
    printed = capfd.readouterr().out
    assert "LOOK" not in printed
    assert printed.count("from the policy") == 6


def test_an_environment_in_a_process_cannot_print_on_the_screen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Store.open(tmp_path / "s.db") as store:
        task = CountingTask(1, faults={0: "prints"})
        run = play_all(task, yes(), task.cases("train"), store, RolloutConfig(processes=1))
        assert [e.metric("success") for e in store.episodes(run=run)] == [True]
    out, err = capfd.readouterr()
    assert "LOOK" not in out + err


@pytest.mark.parametrize("policy", [yes(), Yes()], ids=["stays", "portable"])
def test_a_process_that_dies_or_hangs_fails_its_own_episode_and_no_other(policy: Policy, tmp_path: Path) -> None:
    """Two deaths, one hang and one plain error among twelve cases, all on one process."""
    faults = {2: "dies", 5: "hangs", 7: "dies", 9: "raises"}
    with Store.open(tmp_path / "s.db") as store:
        task = CountingTask(12, faults=faults)
        config = RolloutConfig(processes=1, concurrency=4, step_timeout_s=3.0)
        run = play_all(task, policy, task.cases("train"), store, config)
        episodes = {e.case: e for e in store.episodes(run=run)}
    assert len(episodes) == 12
    assert all(len(e.turns) == (2 if e.failure else 3) for e in episodes.values()), "what came before is known"
    failed = {case: e.failure.message for case, e in episodes.items() if e.failure is not None}
    assert failed == {
        "c2": "its process died (exit code 3)",
        "c5": "gave no answer within 3 s ([rollout] step_timeout_s)",
        "c7": "its process died (exit code 3)",
        "c9": "ValueError: boom",
    }
    assert all(e.metric("success") is True for case, e in episodes.items() if case not in failed)


def test_episodes_from_processes_equal_those_from_here_and_ran_elsewhere(tmp_path: Path) -> None:
    found = []
    for processes in (0, 2):
        with Store.open(tmp_path / f"{processes}.db") as store:
            task = CountingTask(8)
            config = RolloutConfig(processes=processes, concurrency=8)
            run = play_all(task, yes(), task.cases("train"), store, config)
            found.append(list(store.episodes(run=run)))
    here, elsewhere = found
    ids = [{t.request.inputs["process"] for e in episodes for t in e.turns} for episodes in found]
    assert len(ids[0]) == 1
    assert 1 <= len(ids[1]) <= 2  # the one that starts first may do it all
    assert not ids[0] & ids[1]
    assert [(e.id, e.metrics, len(e.turns)) for e in here] == [(e.id, e.metrics, len(e.turns)) for e in elsewhere]


def test_a_portable_policy_answers_where_its_environment_runs_and_any_other_here(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        task = CountingTask(8)
        run = play_all(task, Yes(), task.cases("train"), store, RolloutConfig(processes=2))
        turns = [turn for episode in store.episodes(run=run) for turn in episode.turns]
        assert len(turns) == 24
        assert all(turn.reply.model == str(turn.request.inputs["process"]) for turn in turns)
        assert str(os.getpid()) not in {turn.reply.model for turn in turns}


def test_a_long_episode_elsewhere_is_not_taken_for_one_that_hangs(tmp_path: Path) -> None:
    """Fifty turns of 0.1 s each against a limit of 3 s for one answer."""
    with Store.open(tmp_path / "s.db") as store:
        task = CountingTask(1, turns=50, faults={0: "slow"})
        run = play_all(task, Yes(), task.cases("train"), store, RolloutConfig(processes=1, step_timeout_s=3.0))
        (episode,) = store.episodes(run=run)
    assert episode.failure is None
    assert len({turn.reply.model for turn in episode.turns} - {str(os.getpid())}) == 1, "it was not played again here"


def test_a_task_that_no_other_process_can_make_is_named_with_the_next_step(tmp_path: Path) -> None:
    class Local(CountingTask):
        """A class inside a function."""

    with (
        Store.open(tmp_path / "s.db") as store,
        pytest.raises(PrenticeError, match=r"'counting' cannot be sent to another process.*processes = 0"),
    ):
        play_all(Local(1), yes(), Local(1).cases("train"), store, RolloutConfig(processes=1))


def test_a_portable_policy_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    policy = ScriptedModel(lambda _: "yes", name="held")
    policy.portable = True  # type: ignore[attr-defined]
    with (
        Store.open(tmp_path / "s.db") as store,
        pytest.raises(PrenticeError, match=r"policy 'held' cannot be sent to another process"),
    ):
        play_all(CountingTask(1), policy, CountingTask(1).cases("train"), store, RolloutConfig(processes=1))


@pytest.mark.parametrize("processes", [0, 1])
def test_a_reply_of_100_000_tokens_and_every_script_come_back_as_they_were(tmp_path: Path, processes: int) -> None:
    scripts = "".join(chr(c) for c in range(1, 0x11000) if not 0xD800 <= c <= 0xDFFF)
    said = {"0": "word " * 100_000, "1": scripts, "2": "yes"}
    with Store.open(tmp_path / "s.db") as store:
        task = CountingTask(1)
        policy = ScriptedModel(lambda request: said[request.messages[0].content or ""])
        run = play_all(task, policy, task.cases("train"), store, RolloutConfig(processes=processes))
        (episode,) = store.episodes(run=run)
    assert [turn.reply.text for turn in episode.turns] == list(said.values())
    assert episode.metric("success") is True


async def test_a_clock_that_jumps_back_changes_started_at_and_nothing_else() -> None:
    times = iter([datetime(2030, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)])
    case = Case(id="c", split="train", inputs={"turns": 3})
    first, second = [
        await play(yes(), Counting(), case, run="r", task="t", rules=Rules(now=lambda: next(times))) for _ in range(2)
    ]
    assert second.started_at < first.started_at - timedelta(days=3000)
    assert second.model_copy(update={"started_at": first.started_at}) == first


async def test_two_runs_on_one_store_at_once_leave_every_episode_once(tmp_path: Path) -> None:
    task = CountingTask(30)
    with Store.open(tmp_path / "s.db") as one_store, Store.open(tmp_path / "s.db") as other_store:
        runs = await asyncio.gather(
            *(rollout(task, Slow(), task.cases("train"), s, RolloutConfig()) for s in (one_store, other_store))
        )
        assert runs[0] == runs[1]
        assert one_store.count() == 30
        assert one_store.attempts(runs[0]) == {(f"c{i}", 0) for i in range(30)}


class Slow(ScriptedModel):
    """Takes a moment for each reply, as a model behind an API does."""

    def __init__(self, slots: int = 4) -> None:
        super().__init__(lambda _: "yes", slots=slots)

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Say yes after a moment."""
        await asyncio.sleep(0.002)
        return await super().generate(request, sampling)


async def test_two_thousand_episodes_in_flight_take_one_more_thread_and_few_transactions(tmp_path: Path) -> None:
    threads: set[str] = set()

    class Counted(Store):
        """Counts transactions."""

        batches = 0

        def add(self, episodes: object) -> int:
            Counted.batches += 1
            threads.update(thread.name for thread in threading.enumerate())
            return super().add(episodes)  # type: ignore[arg-type]

    task = CountingTask(2000, turns=2)
    before = {thread.name for thread in threading.enumerate()}
    with Counted.open(tmp_path / "s.db") as store:
        await rollout(task, Slow(slots=2000), task.cases("train"), store, RolloutConfig())
        assert store.count() == 2000
    assert len(threads - before) <= 1
    assert Counted.batches < 500


async def test_what_is_finished_when_a_rollout_is_cancelled_is_stored(tmp_path: Path) -> None:
    task, finished, enough = CountingTask(500), [], asyncio.Event()

    class Watched(Slow):
        async def generate(self, request: Request, sampling: Sampling) -> Reply:
            reply = await super().generate(request, sampling)
            if request.inputs["step"] == 2:
                finished.append(request.inputs["case"])
            if len(finished) == 40:
                enough.set()
            return reply

    with Store.open(tmp_path / "s.db") as store:
        work = asyncio.create_task(rollout(task, Watched(), task.cases("train"), store, RolloutConfig()))
        await enough.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        stored = store.count()
    assert len(finished) - 4 <= stored <= len(finished), "a reply that came with the cancellation may be lost"
    assert stored < 500


INTERRUPTED = """
import signal, sys
from pathlib import Path
# a shell lets what it starts in the background ignore Ctrl-C, tests too
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
from test_rollouts_faults import Slow
from rollout_tasks import CountingTask
from prentice.app.cli.options import user_errors
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
class Telling(Slow):
    replies = 0
    async def generate(self, request, sampling):
        self.replies += 1
        if self.replies == 60:
            print("twenty episodes", flush=True)
        return await super().generate(request, sampling)
task = CountingTask(5_000)
with user_errors(), Store.open(Path(sys.argv[1])) as store:
    play_all(task, Telling(), task.cases("train"), store, RolloutConfig(processes=1))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_stores_what_is_finished_and_says_in_one_line_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED.format(tests=str(Path(__file__).parent)), str(tmp_path / "s.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "twenty episodes\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert "stopped; the same command goes on from here" in err
    with Store.open(tmp_path / "s.db") as store:
        assert 10 < store.count() < 5_000
