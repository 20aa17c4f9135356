"""The command line: fast help, one-line errors, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.app.cli.terminal import Lines

SUPPORT = Path(__file__).parents[1] / "examples" / "support"
HELP_BUDGET_CPU_S = 0.6
"""0.32 on a quiet machine; importing torch alone takes more than this."""


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_help_names_every_command_and_is_quick() -> None:
    shown, spent = zip(*(timed_help() for _ in range(4)), strict=True)
    for name in ("run", "rollout", "curate", "train", "export", "evaluate", "report", "models"):
        assert f" {name} " in shown[0]
    # the first start compiles; the quickest of the others is the program's own, the rest is what else the machine does
    assert min(spent[1:]) < HELP_BUDGET_CPU_S


def test_no_help_has_words_in_brackets_which_the_terminal_would_take_for_colours() -> None:
    waiting, texts = [typer.main.get_command(app)], list[str]()
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        texts += [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
    assert len(texts) > 100
    assert [text for text in texts if "[" in text] == []


def timed_help() -> tuple[str, float]:
    """What `prentice --help` prints, and the CPU seconds that it took."""
    before = os.times()
    command = [sys.executable, "-m", "prentice", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return shown, spent


def project(folder: Path, text: str) -> Path:
    """A project folder with that prentice.toml."""
    folder.mkdir(exist_ok=True)
    (folder / "prentice.toml").write_text(text, encoding="utf-8")
    return folder


TASK = (
    '[task]\nkind = "classify"\ncases = "cases.csv"\ninstructions = "Which?"\n[teacher]\nmodel = "recorded:*.jsonl"\n'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TASK + "[curate]\nkep = 1\n", "unknown key 'curate.kep'"),
        (TASK + '[train.sft]\nepochs = "many"\n', 'train.sft.epochs = "many"'),
        (TASK + '[curate]\nkeep = "success and"\n', "keep"),
        (TASK.replace("classify", "clasify"), "did you mean 'classify'"),
        (TASK, "cases.csv: No such file"),
    ],
)
def test_a_wrong_project_is_one_clear_line_and_exit_code_2(tmp_path: Path, text: str, message: str) -> None:
    code, out, err = run("run", str(project(tmp_path / "p", text)))
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err


def test_a_stage_alone_says_which_one_to_run_first(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", TASK)
    (folder / "cases.csv").write_text("id,split,text,label\na,train,x,l\nb,test,y,m\n", encoding="utf-8")
    (folder / "r.jsonl").write_text("", encoding="utf-8")
    code, _, err = run("train", "sft", str(folder))
    assert code == 2
    assert "train needs `rollout`" in err


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    home = SUPPORT / ".prentice"
    existed = home.exists()
    code, out, _ = run("run", str(SUPPORT), "--dry-run", "--set", f"curate.seed={time.time_ns() % 1000 + 1000}")
    assert code == 0
    assert "curate: runs" in out
    assert home.exists() == existed
    local = ("--set", "teacher.model=local:qwen2.5-coder-1.5b", "--set", "rollout.seed=77")
    code, out, _ = run("run", str(SUPPORT), "--dry-run", *local)
    assert "3,000 episodes of at least one call each" in out
    assert "no dollars" in out


def test_a_dry_run_of_a_priced_teacher_names_dollars() -> None:
    spec = ("--set", "teacher.model=openai:gpt-4.1-mini")
    code, out, _ = run("run", str(SUPPORT), "--dry-run", *spec)
    assert code == 0
    assert "at most $" in out
    assert "genai-prices" in out


def test_without_a_terminal_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    with Lines(Console()).bar("rollout", 10, "episodes", done=4) as bar:
        bar.advance(6, success="50%")
    out = capsys.readouterr().out
    assert out.startswith("rollout: 10/10 episodes, ")
    assert "success 50%" in out


def test_the_catalogue_is_listed() -> None:
    code, out, _ = run("models", "list")
    assert code == 0
    assert "smollm2-135m" in out
    assert "Apache-2.0" in out
