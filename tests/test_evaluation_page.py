"""The report on disk and in the terminal: complete, escaped, and without a single request to the network."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pydantic import JsonValue
from rich.console import Console

from prentice.evaluation import render_page, success_cost_plot, terminal_table, write_report
from prentice.evaluation.plots import page_plots
from prentice.evaluation.wording import count, difference_text, headline, money, notes, seconds, significant, times
from prentice.records import Interval, PolicyResult, Report, Verdict
from prentice.runs import read_record
from prentice.statistics import wilson

VOID = {"meta", "link", "br", "hr", "img", "input"}


def result(name: str, successes: int, **more: object) -> PolicyResult:
    cost = {"cost_per_success": 100 / successes if successes else None, "cost_unit": "CPU-s", "processing_s": 1.0}
    times = {"latency_p50_s": 0.2, "latency_p95_s": 0.3, "latencies_s": (0.1, 0.2, 0.3)}
    plain = PolicyResult(name=name, policy=f"local:{name}", n=100, successes=successes, success=wilson(successes, 100))
    return plain.model_copy(update={**cost, **times, "input_tokens": 60.0, "output_tokens": 4.5, **more})


def report(*results: PolicyResult, **more: object) -> Report:
    reasons = ("met: lower end above −2 points; measured +10", "not met: cost per success below; 2 against 1")
    usual: dict[str, object] = {
        "task": "support",
        "split": "test",
        "cases": 100,
        "results": results,
        "verdict": Verdict(answer="hold", margin=0.02, reasons=reasons),
        "machine": "two cores",
        "created": "2026-01-01T10:00:00+00:00",
    }
    return Report.model_validate({**usual, **more})


TEACHER = result("teacher", 50, timing="scaled")
STUDENT = result("student", 60, difference=Interval(value=0.1, low=0.01, high=0.19))
RULE = result("most frequent", 2, cost_per_success=1e-6, latencies_s=(1e-6,), latency_p50_s=1e-6)
FULL = report(TEACHER, result("base", 4), STUDENT, RULE, scale=1.5)
UNKNOWN = {
    **dict.fromkeys(("cost_unit", "cost_per_success", "latency_p50_s", "latency_p95_s", "input_tokens")),
    "latencies_s": (),
    "timing": "none",
}
ODD = {
    "full": FULL,
    "no cost": report(result("teacher", 50, cost_per_success=None, cost_unit=None), STUDENT),
    "no costs and no times": report(TEACHER.model_copy(update=UNKNOWN), STUDENT.model_copy(update=UNKNOWN)),
    "failures": report(TEACHER, result("student", 60, failures={"model": 3, "environment": 1})),
    "zero successes": report(result("teacher", 0), result("student", 0)),
    "no teacher": report(result("base", 4), STUDENT, verdict=None),
    "two units": report(result("teacher", 50, cost_unit="USD"), STUDENT),
    "one case": report(TEACHER.model_copy(update={"latencies_s": (0.2,)}), STUDENT),
}


@cache
def page_of(name: str) -> str:
    """Drawing takes most of the time, so each page is made once."""
    return render_page(ODD[name])


class Page(HTMLParser):
    """Checks nesting, and gathers text, attributes and ids."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.said: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


def printed(found: Report, width: int = 100) -> str:
    console = Console(record=True, width=width, file=None, force_terminal=False, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(terminal_table(found))
    return capture.get()


@pytest.mark.parametrize("name", ODD)
def test_every_kind_of_report_gives_a_whole_page_that_loads_nothing(name: str) -> None:
    html = page_of(name)
    page = Page(html)
    for attribute in ("src", "href", "xlink:href", "srcset", "action"):
        assert all(value.startswith(("#", "data:")) for value in page.values(attribute))
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert not {tag for tag, _, _ in page.attributes} & {"script", "iframe", "object"}
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', html)) <= set(ids)


@pytest.mark.parametrize("name", ODD)
def test_every_kind_of_report_fits_a_terminal_of_100_columns(name: str) -> None:
    assert max(len(line.rstrip()) for line in printed(ODD[name]).splitlines()) <= 100


def test_the_verdict_comes_first_in_one_sentence_and_the_table_follows() -> None:
    text = Page(page_of("full")).text
    assert text.index("The teacher stays: the student succeeds on 60.0 %") < text.index("The policies")
    for cell in ("60.0 % [50.2, 69.1]", "+10.0 [+1.0, +19.0]", "200 ms*", "1.67 CPU-s", "60 / 4.5"):
        assert cell in text
        assert cell in printed(FULL)


def test_plots_have_words_and_tables_have_captions() -> None:
    html = page_of("full")
    assert html.count("<figure") == 2 == html.count("<figcaption")
    assert html.count("<table") == html.count("<caption")
    labels = Page(html).values("aria-label")
    assert sum(label.startswith("Plot: ") for label in labels) == 2


def test_a_short_axis_of_times_has_more_numbers_than_its_powers_of_ten() -> None:
    quick, slow = (
        result(name, 50, latencies_s=times) for name, times in (("base", (1.6, 1.9)), ("student", (2.0, 2.4)))
    )
    svg = page_plots(report(quick, slow))["latency"]
    numbers = re.findall(r">(\d\.\d+)</text>", svg)
    assert len(numbers) >= 4, numbers
    assert all(1.5 <= float(number) <= 2.5 for number in numbers)


def test_plots_follow_the_page_into_the_dark() -> None:
    html = page_of("full")
    svg = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert "var(--student)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert "prefers-color-scheme: dark" in html


def test_text_from_models_and_facts_is_escaped_everywhere() -> None:
    evil = '<script>alert("$x_1$")</script>'
    rival = result(evil, 30, policy=evil)
    dataset = {"hash": evil, "ledger": {"rows_in": 1, "kept": 0, "dropped": {evil: 1}}, "replies_without_rows": [evil]}
    facts = {"dataset": dataset, "command": evil, "deep": {evil: [evil]}}
    verdict = Verdict(answer="hold", margin=0, reasons=(f"met: {evil}; {evil}",))
    found = report(TEACHER, STUDENT, rival, facts=facts, task=evil, machine=evil, created=evil, verdict=verdict)
    html = render_page(found)
    assert "<script" not in html
    assert Page(html).text.count(evil) >= 12
    assert "alert" in printed(found)


def test_the_terminal_takes_markup_in_names_as_plain_text() -> None:
    assert "[bold]x[/bold]" in printed(report(TEACHER, STUDENT, result("[bold]x[/bold]", 3)))


def test_the_ledger_and_the_command_are_on_the_page() -> None:
    dataset = {
        "ledger": {"rows_in": 3000, "kept": 1400, "dropped": {"not right": 1600}},
        "replies_without_rows": ["lost"],
    }
    found = FULL.model_copy(
        update={"facts": {"dataset": dataset, "command": "prentice run x", "training": {"seconds": 412.3}}}
    )
    text = Page(render_page(found)).text
    for part in (
        "3 000 rows",
        "1 400 46.7 %",
        "dropped: not right 1 600 53.3 %",
        "prentice run x",
        "training.seconds 412",
    ):
        assert part in text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_dataset_fact_of_another_shape_does_no_harm() -> None:
    shapes: list[JsonValue] = ["text", {"ledger": 3}, {"ledger": {"rows_in": "many"}}, None]
    for shape in shapes:
        assert "How it was measured" in render_page(
            ODD["no costs and no times"].model_copy(update={"facts": {"dataset": shape}})
        )


def test_a_written_report_reads_back_equal(tmp_path: Path) -> None:
    write_report(FULL, tmp_path / "out")
    assert read_record(Report, tmp_path / "out" / "report.json") == FULL
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == page_of("full")


def test_the_plot_for_a_readme_is_one_valid_document_and_the_same_each_time() -> None:
    svg = success_cost_plot(FULL)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == success_cost_plot(FULL)
    for text in ("student", "teacher*", "most frequent (almost no cost)"):
        assert text in svg


def test_without_any_cost_there_is_no_plot_of_it() -> None:
    assert success_cost_plot(ODD["no costs and no times"]) == ""
    assert "nothing to draw" in page_of("no costs and no times")


def test_policies_off_the_cost_axis_say_why() -> None:
    assert "teacher (cost in USD)" in success_cost_plot(ODD["two units"])
    assert "teacher (cost unknown)" in success_cost_plot(ODD["no cost"])
    assert "base (no success)" in success_cost_plot(report(STUDENT, result("base", 0)))


def test_marks_and_failures_are_explained() -> None:
    assert notes(FULL)[0].startswith("* recorded times, multiplied by 1.50: how the base")
    two = FULL.model_copy(update={"latency_scale": 0.75})
    assert "multiplied by 1.50 (CPU-seconds) and 0.750 (latency): how" in notes(two)[0]
    assert notes(report(result("teacher", 5, timing="recorded")))[0].startswith("† times as they were recorded")
    assert notes(ODD["failures"])[-1].startswith(
        "student: 4 of 100 episodes failed (1 at the environment, 3 at the model)"
    )


def test_the_headline_fits_each_answer() -> None:
    def said(answer: str) -> str:
        return headline(report(TEACHER, STUDENT, verdict={"answer": answer, "margin": 0.02, "reasons": ("met: a; b",)}))

    assert said("promote").startswith(
        "The student may replace the teacher: it succeeds on 60.0 % of 100 cases against 50.0 %"
    )
    assert said("more data").startswith("It is too early to tell")
    assert said("hold").endswith("1 of 1 conditions are met.")
    assert headline(ODD["no teacher"]) == "There is no verdict: the report holds no teacher."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (significant(1283.4), "1\N{NO-BREAK SPACE}283"),
        (significant(99.96), "100"),
        (significant(0.012345), "0.0123"),
        (significant(0.00001234), "0.0000123"),
        (significant(2.0), "2"),
        (significant(0.0), "0"),
        (seconds(0.0854), "85.4 ms"),
        (seconds(1.5), "1.50 s"),
        (money(0.00123, "USD"), "$0.00123"),
        (money(None, "USD"), "no success"),
        (count(12345), "12\N{NO-BREAK SPACE}345"),
        (times(9.04), "9.0"),
        (times(1.034), "1.03"),
        (difference_text(Interval(value=-0.0001, low=-0.02, high=0.02)), "+0.0 [−2.0, +2.0]"),
    ],
)
def test_figures_read_well(text: str, expected: str) -> None:
    assert text == expected
