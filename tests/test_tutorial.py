"""The tutorial, command by command, with the real teacher; a random 2-layer student and few cases make it short."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest

from prentice.pipeline import Project
from prentice.records import Manifest, Report
from prentice.runs import read_record
from tiny_models import write_tiny_llama

TOP = Path(__file__).parents[1]
SHORT = ("rollout.cases=16", "evaluate.cases=6", "train.sft.epochs=1", "export.check_rows=2")
SKIPPED = ("pip install", "prentice doctor")
VERDICTS = {0, 10, 11}


def commands() -> list[str]:
    """What the page tells its reader to type, in order."""
    text = (TOP / "docs" / "tutorial.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    return [line for line in lines if not line.startswith(SKIPPED)]


@pytest.mark.slow
def test_the_tutorial_leads_from_tickets_to_a_student_that_learnt_from_experts(tmp_path: Path, qwen: Path) -> None:
    del qwen  # it is there
    student = write_tiny_llama(tmp_path / "student")
    shutil.copy(TOP / "examples" / "tickets" / "tickets.csv", tmp_path)
    runs = 0
    for command in commands():
        words = shlex.split(command)
        if words[:2] == ["prentice", "run"]:
            words += [part for setting in (*SHORT, f"student.base={student.as_posix()}") for part in ("--set", setting)]
        if "--in" in words:
            _fill_in(tmp_path / "wrong.xlsx")
        ended = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
        wanted = VERDICTS if words[1] == "run" else {0}
        assert ended.returncode in wanted, f"{command}\n{ended.stdout}\n{ended.stderr}"
        runs += words[1] == "run" and "--dry-run" not in words
    home = Project(tmp_path / "desk").home
    manifests = sorted(home.glob("curate/*/manifest.json"), key=lambda path: path.stat().st_mtime)
    shown = [read_record(Manifest, path).demonstrations for path in manifests]
    assert runs == len(manifests) == 2
    assert shown[0] == 0 < shown[1]
    report = read_record(Report, max(home.glob("evaluate/*/report.json"), key=lambda path: path.stat().st_mtime))
    assert {result.name for result in report.results} >= {"teacher", "base", "student", "most frequent answer"}


def _fill_in(sheet: Path) -> None:
    """What an expert does: an answer into every row."""
    book = openpyxl.load_workbook(sheet)
    page = book.active
    assert page is not None
    header = {str(cell.value): position for position, cell in enumerate(next(page.iter_rows()), 1)}
    for row in range(2, page.max_row + 1):
        if page.cell(row, header["episode"]).value:
            page.cell(row, header["better_answer"]).value = "cards"
    book.save(sheet)
