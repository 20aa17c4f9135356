"""`prentice check`: all that is wrong with a project, in plain words, each with its place and the next step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.config import build, faults
from prentice.pipeline import Project, ProjectConfig
from prentice.pipeline.checking import Finding, check
from prentice.pipeline.checking.cases import Seen
from prentice.pipeline.checking.grading import look_at_grader
from prentice.pipeline.checking.settings import line_of
from prentice.tasks.text import Text, TextConfig

TOP = Path(__file__).parents[1]
SETTINGS = """[task]
kind = "text"
cases = "cases.csv"
instructions = "What is the total?"
[task.grade]
kind = "number"
[teacher]
model = "task:most frequent answer"
"""
HEADER = "id,split,text,expected\n"
CASES = HEADER + "".join(
    f"{n},{'test' if n % 3 else 'train'},Note {n * n} says {n}.50 {'x' * n},{n}.50\n" for n in range(180)
)


def project(folder: Path, *, cases: str = CASES, settings: str = SETTINGS) -> list[Finding]:
    """What is said of a small project."""
    (folder / "cases.csv").write_text(cases, encoding="utf-8")
    (folder / "prentice.toml").write_text(settings, encoding="utf-8")
    return check(folder)


def texts(findings: list[Finding], state: str = "bad") -> list[str]:
    """What is bad, or doubtful, or good."""
    return [finding.text for finding in findings if finding.state == state]


def said(findings: list[Finding], part: str) -> Finding:
    """The one finding that says this."""
    found = [finding for finding in findings if part in finding.text]
    assert len(found) == 1, [finding.text for finding in findings]
    return found[0]


def test_a_good_project_has_nothing_to_fix_and_says_what_is_fine(tmp_path: Path) -> None:
    findings = project(tmp_path)
    assert (texts(findings), texts(findings, "doubtful")) == ([], [])
    assert "120 test, 60 train" in texts(findings, "good")
    assert "number: takes 180 answer keys for right, an empty reply for wrong" in texts(findings, "good")
    assert {finding.topic for finding in findings} == {
        *("settings", "cases", "grader", "prompt", "lengths", "teacher", "student", "store")
    }


@pytest.mark.parametrize("name", ["support", "babyai"])
def test_the_examples_have_nothing_to_fix(name: str) -> None:
    assert texts(check(TOP / "examples" / name)) == []


def test_every_wrong_key_is_named_with_its_line_and_the_nearest_right_one(tmp_path: Path) -> None:
    settings = SETTINGS.replace("instructions", "instruction").replace('"number"', '"number"\ntolerence = 1')
    findings = project(
        tmp_path, settings=settings + "[curate]\nkepe = 'success'\n[train.sft]\nepochs = 0\n[stundent]\n"
    )
    file = tmp_path / "prentice.toml"
    assert said(findings, "'instruction'").text.startswith(f"{file}:4: [task]: unknown key")
    assert said(findings, "'instructions' is missing").state == "bad"
    assert said(findings, "'tolerence'").text.startswith(f"{file}:7: [task.grade]: unknown key")
    assert said(findings, "'tolerence'").step == "did you mean 'tolerance'?"
    assert said(findings, "'curate.kepe'").text.startswith(f"{file}:11: [curate]")
    assert said(findings, "train.sft.epochs = 0").text.startswith(f"{file}:13: [train.sft]")
    assert said(findings, "'stundent'").step == "did you mean 'student'?"


def test_faults_of_the_settings_hide_none_of_the_cases(tmp_path: Path) -> None:
    findings = project(tmp_path, settings=SETTINGS + "[curate]\nkepe = 1\n", cases=CASES + "x,dev,Hello,1\n")
    assert said(findings, "kepe").state == said(findings, "split 'dev' is not one of").state == "bad"


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ("[task\n", "not valid TOML"),
        ("", "key 'teacher' is missing"),
        (SETTINGS.replace('kind = "text"', 'kind = "txt"'), "no task named 'txt'"),
        (SETTINGS.replace('kind = "text"', ""), "key 'kind' is missing"),
        (SETTINGS.replace('kind = "number"', 'kind = "nummer"'), "no grader named 'nummer'"),
        (SETTINGS.replace("cases.csv", "none.csv"), "none.csv: No such file"),
        (SETTINGS.replace("What is the total?", "none.md"), "none.md: No such file"),
        (SETTINGS.replace("What is the total?", " "), "the instructions are empty"),
        (SETTINGS.replace("task:most", "task:least"), "the task has no policy named"),
        (SETTINGS.replace("task:most frequent answer", "local:qwen"), "no model named 'qwen'"),
        (SETTINGS.replace("task:most frequent answer", "local:x.gguf"), "x.gguf: no such model file"),
        (SETTINGS.replace("task:most frequent answer", "recorded:t/*.gz"), "no recorded episodes there"),
        (SETTINGS.replace("task:most frequent answer", "gpt five"), "is not of the form provider:model"),
        (SETTINGS + "[student]\nbase = 'smollm3'\n", "no model named 'smollm3'"),
        (SETTINGS + "[student]\nbase = 'qwen2.5-coder-1.5b'\n", "cannot be trained"),
        (SETTINGS + "[curate]\nkeep = 'sucess'\n", "the task gives no metric 'sucess'"),
        (SETTINGS + "[curate]\nkeep = 'success and'\n", "curate.keep"),
        ("store = '$NO_SUCH_VARIABLE'\n" + SETTINGS, "that environment variable is not set"),
        (SETTINGS + "[train.sft]\nmax_tokens = 50\n", "more than [train.sft] max_tokens = 50"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_a_next_step(tmp_path: Path, settings: str, part: str) -> None:
    finding = said(project(tmp_path, settings=settings), part)
    assert finding.state == "bad"
    assert "\n" not in finding.text


def test_every_row_that_cannot_be_used_is_named_with_its_line(tmp_path: Path) -> None:
    rows = [
        "a,dev,Hello,1",
        ",test,Hello you,1",
        "b,test,,1",
        "0,train,Again,2",
        "c,train",
        "d,test,No answer,",
        "e,test,Bad,about 3",
    ]
    findings = project(tmp_path, cases=CASES + "\n".join(rows) + "\n")
    lines = [text.partition(": ")[0].rpartition(":")[2] for text in texts(findings)]
    assert sorted(lines) == [str(n) for n in range(182, 189)]


def test_many_alike_are_counted_not_listed(tmp_path: Path) -> None:
    findings = project(tmp_path, cases=CASES + "".join(f"w{n},dev,Hello {n},1\n" for n in range(100)))
    assert len([text for text in texts(findings) if "'dev'" in text]) == 20
    assert said(findings, "and 80 more like these").state == "bad"


def test_a_text_in_train_and_test_is_a_leak(tmp_path: Path) -> None:
    findings = project(tmp_path, cases=CASES + "a,train,The same  text,1\nb,test,the same text,1\n")
    assert "the text of line 183 (test) is also in line 182 (train)" in said(findings, "would be memory").text


def test_nearly_the_same_text_in_train_and_test_is_worth_a_look(tmp_path: Path) -> None:
    long = "This delivery was brought to the back door of the old warehouse in the harbour, as usual"
    findings = project(tmp_path, cases=CASES + f'a,train,"{long}.",1\nb,test,"{long}!",1\n')
    assert texts(findings) == []
    assert said(findings, "1 test texts are nearly the same").state == "doubtful"


def test_contradictions_and_copies_are_worth_a_look(tmp_path: Path) -> None:
    findings = project(tmp_path, cases=CASES + "a,train,Twice here,1\nb,train,Twice here,2\n")
    assert "such as line 182 and line 183" in said(findings, "different expected answers").text
    assert said(findings, "1 rows repeat the text").state == "doubtful"


def test_few_cases_say_how_little_they_can_show(tmp_path: Path) -> None:
    rows = "".join(f"{n},{'test' if n < 10 else 'train'},Note {n} says {n * n},{n * n}\n" for n in range(20))
    findings = project(tmp_path, cases=HEADER + rows)
    assert "only 10 test cases: a success of 80% would be known as 49% to 94%" in texts(findings, "doubtful")
    assert "only 10 training cases" in texts(findings, "doubtful")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_cases_is_in_the_way(tmp_path: Path, split: str) -> None:
    findings = project(tmp_path, cases=CASES.replace(f",{split},", ",val,"))
    assert said(findings, f"no case of the split {split}").state == "bad"


def test_a_label_that_nothing_teaches_is_worth_a_look(tmp_path: Path) -> None:
    rows = "".join(f"{n},{'test' if n % 2 else 'train'},Message {n * n},{('a', 'b')[n // 2 % 2]}\n" for n in range(240))
    cases = HEADER + rows + "x,test,Some other message,c\n"
    findings = project(tmp_path, cases=cases, settings=SETTINGS.replace('"number"', '"label"'))
    assert texts(findings) == []
    assert "1 answers occur in test cases only: c" in texts(findings, "doubtful")


def test_entities_that_only_held_out_texts_hold_are_nothing_to_look_at(tmp_path: Path) -> None:
    rows = "".join(f"{n},train,Message {n * n},{{}}\n" for n in range(120))
    rows += "".join(f'{n},test,Anna wrote {n * n},"{{""person"": [""Anna""]}}"\n' for n in range(120, 180))
    settings = '[task]\nkind = "ner"\ncases = "cases.csv"\ninstructions = "Find them."\nshots = 0\n'
    settings += '[teacher]\nmodel = "task:no entities"\n'
    findings = project(tmp_path, cases="id,split,text,entities\n" + rows, settings=settings)
    assert texts(findings) == []
    assert "occur in test cases only" not in " ".join(texts(findings, "doubtful"))


def test_an_answer_key_that_its_own_grader_rejects_is_named(tmp_path: Path) -> None:
    settings = SETTINGS.replace('kind = "number"', 'kind = "regex"\npattern = "^([0-9.]+)$"')
    findings = project(tmp_path, settings=settings, cases=CASES + "a,test,Hello,1 EUR\n")
    assert texts(findings) == [f"{tmp_path / 'cases.csv'}:182: its own answer key '1 EUR' is not a success"]


def test_a_grader_that_takes_silence_for_right_or_breaks_is_in_the_way(tmp_path: Path) -> None:
    settings = SETTINGS.replace('kind = "number"', 'kind = "python"\nfunction = "check_grader_a:grade"')
    (tmp_path / "check_grader_a.py").write_text(
        "def grade(reply, expected, inputs):\n    return True\n", encoding="utf-8"
    )
    assert texts(project(tmp_path, settings=settings)) == ["an empty reply is a success"]
    (tmp_path / "check_grader_b.py").write_text(
        "def grade(reply, expected, inputs):\n    return 1 / 0\n", encoding="utf-8"
    )
    findings = project(tmp_path, settings=settings.replace("grader_a", "grader_b"))
    assert "it broke: check_grader_b:grade raised ZeroDivisionError" in texts(findings)[0]


def test_a_judge_is_not_asked_and_the_teacher_should_not_judge_itself(tmp_path: Path) -> None:
    judge = 'kind = "judge"\nmodel = "local:qwen2.5-coder-1.5b"\nrubric = "good?"'
    settings = SETTINGS.replace('kind = "number"', judge).replace(
        "task:most frequent answer", "local:qwen2.5-coder-1.5b"
    )
    findings = project(tmp_path, settings=settings)
    assert "judge: asks local:qwen2.5-coder-1.5b, so it was not tried" in texts(findings, "good")
    assert said(findings, "the judge is the teacher").state == "doubtful"


def test_the_answer_key_as_a_rival_is_worth_a_look(tmp_path: Path) -> None:
    findings = project(tmp_path, settings=SETTINGS.replace("most frequent answer", "answer key"))
    assert said(findings, "no student can win against it").state == "doubtful"


def test_a_remote_teacher_needs_a_key_and_is_worth_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = SETTINGS.replace("task:most frequent answer", "openai:gpt-5-mini")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert said(project(tmp_path, settings=remote), "openai:gpt-5-mini: no API key").step == (
        "set OPENAI_API_KEY in the environment"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-mine")
    findings = project(tmp_path, settings=remote)
    assert "openai:gpt-5-mini: key set, $0.25 to read, $2 to write a million tokens" in said(findings, "key set").text
    assert said(findings, "nothing limits what").step == "set [rollout] budget_usd"
    assert "secret-of-mine" not in str(findings)
    unknown = remote.replace("gpt-5-mini", "gpt-none") + "[rollout]\nbudget_usd = 1\n"
    assert said(project(tmp_path, settings=unknown), "its price is unknown, so budget_usd").state == "bad"


def test_columns_that_nobody_sees_are_worth_a_look(tmp_path: Path) -> None:
    rows = "".join(line + (",note\n" if n == 0 else f",n{n}\n") for n, line in enumerate(CASES.splitlines()))
    assert "columns that no model is shown: note" in texts(project(tmp_path, cases=rows), "doubtful")


def test_the_exit_code_is_2_only_where_something_is_in_the_way(tmp_path: Path) -> None:
    project(tmp_path)
    shown = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert shown.exit_code == 0
    assert "0 to fix, 0 worth a look, 8 as it should be" in shown.output
    (tmp_path / "cases.csv").write_text(HEADER + "a,dev,x,1\n", encoding="utf-8")
    as_json = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    assert as_json.exit_code == 2
    assert json.loads(as_json.output)[0]["state"] == "bad"


def test_a_folder_without_a_project_says_so(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert shown.exit_code == 2
    assert "name a project folder that holds a prentice.toml" in shown.output


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    project(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"cases.csv", "prentice.toml"}


def test_the_line_of_a_key_is_found_in_its_section_or_else_that_of_the_section() -> None:
    lines = ["a = 1", "[b]", "a = 2", "'c' = 3", "[b.d]", '[ providers."x:y" ]', "z.w = 1"]
    assert [
        line_of(lines, path.split("/")) for path in ("a", "b/a", "b/c", "b/e", "b/d/a", "providers/x:y/z", "q")
    ] == [
        *(1, 3, 4, 2, 5, 7),
        None,
    ]


def test_all_faults_of_a_section_are_found_at_once() -> None:
    found = faults(ProjectConfig, {"task": {}, "threads": 0, "offlin": True}, "p")
    assert [path for path, _ in found] == [("offlin",), ("teacher",), ("threads",)]


def test_a_project_can_be_opened_on_what_is_left_of_its_settings(tmp_path: Path) -> None:
    project(tmp_path, settings="nonsense = 1\n" + SETTINGS)
    config = ProjectConfig.model_validate({"task": {}, "teacher": {"model": "local:x"}})
    assert Project(tmp_path, config=config).config is config


def test_a_grader_that_never_comes_back_is_said_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "sleeping_grader.py").write_text(
        "import time\ndef grade(reply, expected, inputs):\n    time.sleep(5)\n", encoding="utf-8"
    )
    (tmp_path / "cases.csv").write_text(CASES, encoding="utf-8")
    grade = {"kind": "python", "function": "sleeping_grader.py:grade"}
    config = build(TextConfig, {"cases": "cases.csv", "instructions": "Sum?", "grade": grade}, "[task]")
    task = Text(config, tmp_path)
    seen = [Seen(None, "test", case) for case in task.cases("test")[:2]]
    names, findings = look_at_grader(task, seen, limit_s=0.2)
    assert (names, texts(findings)) == (frozenset(), ["python: not done after 0.2 s"])
