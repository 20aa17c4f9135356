"""One student for all functions of a task, or one for each: trained, compared, and served behind one policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prentice.errors import ConfigError, ModelError
from prentice.models import ScriptedModel
from prentice.models.functions import ByFunction
from prentice.pipeline import Context, Project, run, run_stage, states
from prentice.pipeline.forecast import forecast
from prentice.progress import Silent
from prentice.records import Message, Request, Sampling
from prentice.records.parquet import read_dataset
from prentice.records.store import Store
from tiny_models import write_tiny_llama

NAME = "students, one a function"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose teacher asks the question as its query."""
    place = tmp_path_factory.mktemp("functions")
    base = write_tiny_llama(tmp_path_factory.mktemp("base"))
    passages = [{"id": f"p{n}", "title": f"City {n}", "text": f"City {n} lies at river {n}."} for n in range(12)]
    questions = [
        {"id": f"q{n}", "split": split, "question": f"Which river has city {n}?", "answer": f"river {n}"}
        | {"supporting_ids": [f"p{n}"]}
        for split, numbers in (("train", range(8)), ("val", range(8, 10)), ("test", range(10, 12)))
        for n in numbers
    ]
    for name, rows in (("corpus", passages), ("questions", questions)):
        (place / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (place / "prentice.toml").write_text(
        f"""threads = 1
[task]
kind = "multihop"
corpus = "corpus.jsonl"
questions = "questions.jsonl"
hops = 1
[teacher]
model = "task:question as query"
[rollout]
max_tokens = 8
[student]
base = "{base.as_posix()}"
one_each = true
[train.sft]
epochs = 1
""",
        encoding="utf-8",
    )
    return place


def alone(folder: Path) -> list[str]:
    """What is ahead where nobody but students plays."""
    return forecast(folder, ['evaluate.policies=["student"]'])


def test_one_student_for_each_function_stands_beside_the_one_of_all(folder: Path) -> None:
    assert any("one for query, one for notes" in line for line in forecast(folder))
    assert any(f"2 cases for each of student, {NAME}" in line and "teacher" not in line for line in alone(folder))
    outcome = run(folder)
    assert [r.name for r in outcome.report.results] == ["teacher", "base", "student", NAME]
    assert NAME in outcome.page.read_text(encoding="utf-8")
    home = Project(folder).home
    learnt = [
        {row.messages[0].content for row in read_dataset(each.parent)[1]}
        for each in home.glob("curate/*/manifest.json")
    ]
    notes, query = "Take notes, and answer.", "Write the next search query."
    assert sorted(map(sorted, learnt)) == [[notes], [notes, query], [query]]
    with Store.open(home / "store.db") as store:
        (one,) = {e.run for e in store.episodes() if e.policy == NAME}
        replies = [turn.reply.model for e in store.episodes(run=one) for turn in e.turns]
    assert len(set(replies[::2]) | set(replies[1::2])) == 2  # each function was answered by a student of its own
    assert len(set(replies[::2])) == len(set(replies[1::2])) == 1
    assert "evaluate" in run(folder).skipped
    assert all(done for _, done in states(Context(Project(folder), Silent())))
    assert run_stage(Context(Project(folder), Silent()), "evaluate").facts


def test_what_each_function_keeps_is_kept_of_what_curation_keeps(folder: Path) -> None:
    project = Project(folder, ["curate.keep_turns=invalid == 0 or right"]).of_function("notes")
    assert project.config.curate.keep_turns == "(invalid == 0 or right) and function == 'notes'"


def test_a_task_of_one_function_has_no_student_for_each(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("id,split,text,label\na,train,x,A\nb,test,y,A\n", encoding="utf-8")
    (tmp_path / "prentice.toml").write_text(
        '[task]\nkind = "classify"\ncases = "cases.csv"\ninstructions = "Which?"\n[teacher]\n'
        'model = "task:most frequent label"\n[student]\none_each = true\n',
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"\[student\] one_each = true: the task 'classify' has one function alone"):
        states(Context(Project(tmp_path), Silent()))


async def test_a_request_goes_to_the_model_of_its_function() -> None:
    both = ByFunction({name: ScriptedModel([name], name=name, slots=4) for name in ("query", "notes")}, "both")
    request = Request(function="notes", messages=(Message(role="user", content="x"),))
    assert (await both.generate(request, Sampling())).text == "notes"
    with pytest.raises(ModelError, match="both: no model for the function 'judge'; known: query, notes"):
        await both.generate(request.model_copy(update={"function": "judge"}), Sampling())
    await both.close()
