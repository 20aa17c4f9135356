"""What an ablation's table, sentence and plot say."""

from __future__ import annotations

import io
from typing import Literal

from rich.console import Console

from prentice.evaluation.ablation import Ablation, ArmResult, Table, Trained, enough, summarised
from prentice.evaluation.ablation_plots import plot
from prentice.evaluation.ablation_views import markdown, terminal_view


def student(*successes: float, rows: int = 10) -> Trained:
    return Trained(key="k", rows=rows, epochs=3, visits=30, tokens=1234, seconds=1, play_seconds=1, successes=successes)


def ablation(*arms: ArmResult, kind: Literal["curation", "sizes"] = "curation") -> Ablation:
    reference = arms[0].name if kind == "curation" else arms[-1].name
    table = Table(title="equal things", reference=reference, arms=summarised(arms, reference))
    return Ablation(
        kind=kind,
        task="t",
        cases=4,
        split="test",
        metric="success",
        tables=(table,),
        notes=("curated: what is kept",),
        references={"teacher": 0.5},
        created="2026-01-01T00:00:00Z",
    )


CURATED = ArmResult(name="curated", students={0: student(1, 1, 0, 0), 1: student(1, 0, 1, 0)})
WORSE = ArmResult(name="all", students={0: student(0, 1, 0, 0), 1: student(0, 0, 0, 0)})
NONE = ArmResult(name="human", left_out="the task has no demonstrations")


def test_the_markdown_has_a_row_an_arm_and_the_reason_for_one_without() -> None:
    page = markdown(ablation(CURATED, WORSE, NONE))
    rows = {line.split(" | ")[0].strip("| "): line for line in page.splitlines() if line.startswith("| ")}
    assert rows["curated"].startswith("| curated | 10 | 30 | 1,234 | 50.0 % [")
    assert "| 50.0 50.0 |" in rows["curated"]
    assert "| 25.0 0.0 | -37.5 [" in rows["all"]
    assert rows["human"] == "| human | – | – | – | left out |  |  |"
    assert "- left out: human: the task has no demonstrations" in page
    assert "- on the same cases: teacher 50.0 %" in page


def test_the_terminal_table_fits_100_columns_and_says_the_same() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(terminal_view(ablation(CURATED, WORSE, NONE)))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("all ") and "12.5 % [" in line and "-37.5 [" in line for line in lines)


def test_an_arm_that_was_not_played_yet_is_no_arm_that_is_left_out() -> None:
    page = markdown(ablation(CURATED, ArmResult(name="all")))
    assert "| all | – | – | – | not yet |" in page


def test_differences_are_taken_on_the_seeds_that_both_arms_have() -> None:
    late = ArmResult(name="all", students={1: student(1, 0, 1, 0)})
    _, arm = ablation(CURATED, late).tables[0].arms
    assert arm.difference is not None
    assert arm.difference.value == 0, "seed 1 did alike; seed 0 of the curated arm has no partner"


def test_the_plot_of_sizes_shows_rows_teacher_and_axis() -> None:
    few = ArmResult(name="10", students={0: student(0, 0, 0, 1)})
    many = ArmResult(name="1000", students={0: student(1, 1, 0, 1)})
    drawing = plot(ablation(few, many, ArmResult(name="3000", left_out="too few"), kind="sizes"))
    assert all(f">{text}<" in drawing for text in ("10", "1,000", "teacher", "curated rows to train on"))
    assert ">3,000<" not in drawing
    assert drawing == plot(ablation(few, many, ArmResult(name="3000", left_out="too few"), kind="sizes"))


def table(few: list[float], many: list[float]) -> Table:
    arms = [ArmResult(name="10", students={0: student(*few)}), ArmResult(name="1000", students={0: student(*many)})]
    return Table(title="", reference="1000", arms=summarised(arms, "1000"))


def test_rows_are_enough_only_where_the_whole_interval_is_within_the_margin() -> None:
    alike = enough(table([1.0, 0.0] * 500, [1.0, 0.0] * 500), margin=0.02)
    # 1000 pairs without a disagreement: Bonett and Price's end is 1.96 sqrt(2 / 1002 / 1002) = 0.28 points
    assert alike.startswith("10 rows are enough here: 1,000 rows add at most 0.3 points (end of the 95 % interval; ")
    assert "measured: +0.0" in alike
    assert "within the margin of 2 points" in alike
    assert enough(table([1.0, 0.0] * 5, [1.0, 0.0] * 5), margin=0.02).startswith("Of no smaller number of rows is it")


def test_nothing_is_said_to_be_enough_before_the_largest_was_played() -> None:
    arms = [ArmResult(name="10", students={0: student(1, 0)}), ArmResult(name="1000")]
    unfinished = Table(title="", reference="1000", arms=summarised(arms, "1000"))
    assert enough(unfinished, margin=0.02) == "Not enough was played yet to say how many rows are enough."
