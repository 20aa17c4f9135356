"""The retail desk measured: gold solutions, the scripted customer, and what a student learns from them."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from pydantic import JsonValue
from tokenizers import Tokenizer

import tasks_students as students
from prentice.app.cli.terminal import terminal_progress
from prentice.models.chat import ChatFormat
from prentice.models.policy import Policy
from prentice.pipeline import Project
from prentice.pipeline.bases import base_gguf, trainable_base
from prentice.records import Episode, Split
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.statistics import ratio, ratio_difference, wilson
from prentice.tasks.contract import Audience
from prentice.tasks.retail import Retail, agents
from prentice.tasks.retail.desk import Desk, jobs, replay
from prentice.tasks.retail.task import FUNCTION, gold_conversation

Row = dict[str, Any]
Hits = tuple[Sequence[float], Sequence[float]]
"""Of each job: calls that are right, and calls."""
Played = Sequence[tuple[str, Episode]]
"""Job and reply, call by call."""
RETAIL = students.EXAMPLES / "retail"
CONVERSATIONS = 10
"""Held-out tasks that are played whole, from the first on: one that ends at the limit of steps takes a minute."""


def gold_rows() -> list[Row]:
    """The reward of the gold solutions, replayed and played with the scripted customer; and of doing nothing. Where
    PRENTICE_DATA is set, also of those of the corrected task file."""
    task = _task()
    replayed = [replay("retail", job.actions).reward(job) == 1 for job in task.jobs]
    untouched = [Desk("retail").reward(job) == 1 for job in task.jobs]
    silent = [same and not job.to_say for same, job in zip(untouched, task.jobs, strict=True)]
    served = _served(task, task.teachers()[agents.GOLD], "gold")
    return [
        _counted("retail_gold_reward", replayed, "gold calls replayed: the database"),
        _counted("retail_gold_conversations", served, "gold agent and scripted customer, whole conversations"),
        _counted("retail_nothing_database", untouched, "no call at all: the database"),
        _counted("retail_nothing_reward", silent, "no call and no word: the whole reward"),
        *_corrected_rows(),
    ]


def _corrected_rows() -> list[Row]:
    if (data := os.environ.get("PRENTICE_DATA")) is None:
        return []
    corrected = jobs("retail", f"{data}/tau2_retail_tasks.json")
    replayed = [replay("retail", job.actions).reward(job) == 1 for job in corrected]
    return [
        _counted("retail_gold_reward_corrected", replayed, "gold calls of the corrected file replayed: the database")
    ]


def prompt_rows() -> list[Row]:
    """Tokens that an agent reads in the gold conversations of all tasks: what a long policy takes of a context."""
    project, task = Project(RETAIL), _task()
    _, base = trainable_base(project, terminal_progress())
    chat, tokenizer = ChatFormat.from_folder(base), Tokenizer.from_file(str(base / "tokenizer.json"))
    conversations = [[row for row, _ in asyncio.run(gold_conversation(task, job))] for job in task.jobs if job.actions]

    def tokens(job: str, rows: JsonValue, audience: Audience) -> int:
        request = task.render(FUNCTION, {"job": job, "chat": rows}, audience)
        return len(tokenizer.encode(chat.prompt(request.messages, request.tools), add_special_tokens=False).ids)

    found = []
    for audience in ("teacher", "student"):
        turns = [
            [tokens(job.id, rows, audience) for rows in turns]
            for job, turns in zip((job for job in task.jobs if job.actions), conversations, strict=True)
        ]
        last, grown = [each[-1] for each in turns], [b - a for each in turns for a, b in pairwise(each)]
        told = f"at the last turn (most {max(last):,}); a turn adds {median(grown):.0f} (most {max(grown):,})"
        always = tokens(task.jobs[0].id, [], audience)
        found += [
            _tokens(f"retail_prompt_{audience}", median(last), len(last), told),
            _tokens(f"retail_prompt_{audience}_always", always, 1, "policy and tools, before anything is said"),
        ]
    return found


def _tokens(name: str, value: float, n: int, note: str) -> Row:
    return {"name": name, "ours": value, "rival": None, "ratio": None, "unit": "tokens", "n": n, "note": note}


def call_rows() -> list[Row]:
    """What a student of the gold solutions does call by call on the held-out tasks, beside its base, which is told the
    same, and the most frequent call."""
    return _call_rows("retail", _next_calls("retail", ("test",)))


def conversation_rows() -> list[Row]:
    """What it does in whole conversations of the held-out tasks."""
    outcome = students.student_run("retail", f"evaluate.cases={CONVERSATIONS}")
    whole = students.result(outcome, "student")
    told = "the student's whole conversations"
    return [
        *students.policy_rows("retail", outcome),
        students.share("retail_success", whole.success, whole.n, told),
    ]


def airline_rows() -> list[Row]:
    """What it does call by call at the airline's desk, of which it has learnt nothing."""
    return _call_rows("retail_airline", _next_calls("airline", ("train", "test")))


def _call_rows(task: str, played: Mapping[str, Played]) -> list[Row]:
    right, names = (
        {who: _by_job(each, metric) for who, each in played.items()} for metric in ("success", "name_right")
    )
    return [
        *(_of_calls(f"{task}_next_call_{who}", each, "name and arguments") for who, each in right.items()),
        *(_of_calls(f"{task}_next_name_{who}", each, "name alone") for who, each in names.items()),
        *(
            _minus(f"{task}_next_action_minus_{who}_low", right["student"], right[who], who)
            for who in ("base", "frequent")
        ),
    ]


def _by_job(played: Played, metric: str) -> Hits:
    """Right calls and all calls of each job: calls of one conversation are no cases of their own."""
    right, calls = Counter[str](), Counter[str]()
    for job, episode in played:
        calls[job] += 1
        right[job] += episode.metric(metric) is True
    return [float(right[job]) for job in calls], [float(n) for n in calls.values()]


def _of_calls(name: str, hits: Hits, note: str) -> Row:
    found, calls = ratio(*hits), int(sum(hits[1]))
    assert found is not None
    return students.share(name, found, calls, f"{int(sum(hits[0]))} of {calls} calls of {len(hits[1])} jobs: {note}")


def _minus(name: str, ours: Hits, theirs: Hits, who: str) -> Row:
    found = ratio_difference(ours, theirs)
    assert found is not None
    told = f"student minus {who}, name and arguments of the next call; interval over {len(ours[1])} jobs"
    return students.difference_row(name, found, int(sum(ours[1])), told)


def _next_calls(domain: str, splits: Sequence[Split]) -> dict[str, Played]:
    """Who → its reply to every call of the gold conversations; student and base are shown the same."""
    exported = students.student_run("retail", "evaluate.cases=1").student  # one conversation: for now
    project = Project(RETAIL, ["task.judged_by=next call", f"task.domain={domain}"])
    task = project.task
    cases = [case for split in splits for case in task.cases(split)]
    base = base_gguf(project, trainable_base(project, terminal_progress())[0], terminal_progress())
    ours = next(exported.glob("*.gguf"))
    # opened one after the other: two models in one process slow each other down
    players: dict[str, tuple[Callable[[], Policy], str]] = {
        "student": (lambda: project.open_student(ours, "student"), exported.name),
        "base": (lambda: project.open_student(base, "base"), base.parent.name),
        "frequent": (lambda: next(iter(task.baselines().values())), "frequent"),
    }
    found: dict[str, Played] = {}
    with Store.open(project.home / "bench-next-call.db") as store:
        for name, (opened, identity) in players.items():
            print(f"next call, {domain}: {name}", flush=True)
            by_case: dict[str, Episode] = {}
            for split in splits:
                run = play_all(
                    task,
                    opened(),
                    task.cases(split),
                    store,
                    project.held_out_rules,
                    audience="student",
                    identity=identity,
                    progress=terminal_progress(),
                )
                by_case |= {e.case: e for e in store.episodes(run=run)}
            found[name] = [(str(case.inputs["job"]), by_case[case.id]) for case in cases]
    return found


def _task() -> Retail:
    task = Project(RETAIL).task
    assert isinstance(task, Retail)
    return task


def _served(task: Retail, policy: Policy, name: str) -> Sequence[bool]:
    """Whether each task of the benchmark was solved, training tasks first."""
    cases = [*task.cases("train"), *task.cases("test")]
    file = Project(RETAIL).home / f"bench-{name}.db"
    file.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(file) as store:
        run = play_all(task, policy, cases, store, RolloutConfig(), progress=terminal_progress())
        found = {episode.case: episode.metric("success") is True for episode in store.episodes(run=run)}
    return [found[case.id] for case in cases]


def _counted(name: str, hits: Sequence[bool], note: str) -> Row:
    return students.share(name, wilson(sum(hits), len(hits)), len(hits), f"{sum(hits)} of {len(hits)}: {note}")
