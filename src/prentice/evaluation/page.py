"""A report on disk: `report.json` to compute with, and one self-contained `report.html` to read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from prentice.evaluation.plots import page_plots
from prentice.evaluation.wording import (
    TITLES,
    count,
    headline,
    measure_differences,
    measure_rows,
    notes,
    percent,
    row,
    significant,
)
from prentice.records import Report
from prentice.runs import write_atomic

TEMPLATE = "page.html.j2"
SHOWN_APART = ("dataset", "command")
"""Facts with a section of their own."""


def write_report(report: Report, folder: Path) -> None:
    """Write `report.json` and `report.html` into `folder`, each whole or not at all.

    The page loads nothing: it opens without a network and can be sent as one file.
    """
    write_atomic(folder / "report.json", report.model_dump_json(indent=2) + "\n")
    write_atomic(folder / "report.html", render_page(report))


def render_page(report: Report) -> str:
    """The report as one HTML document; every text from models, tasks and facts is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        report=report,
        title=TITLES[report.verdict.answer] if report.verdict else "No verdict",
        tone=report.verdict.answer.replace(" ", "-") if report.verdict else "none",
        headline=headline(report),
        reasons=[r.partition(": ")[::2] for r in report.verdict.reasons] if report.verdict else [],
        rows=[row(r) for r in report.results],
        notes=notes(report),
        measures=[
            list(zip(*rows, strict=True))
            for rows in zip(measure_rows(report), measure_differences(report), strict=True)
        ],
        # matplotlib escapes the text inside its own SVG
        plots={name: Markup(svg) for name, svg in page_plots(report).items()},
        dataset=_dataset(report.facts.get("dataset")),
        commands=_lines(report.facts.get("command")),
        others=_flat({name: fact for name, fact in report.facts.items() if name not in SHOWN_APART}),
        created=_readable(report.created),
        count=count,
    )


def _readable(created: str) -> str:
    """An ISO time to the minute; any other text as it is."""
    try:
        return datetime.fromisoformat(created).strftime("%Y-%m-%d %H:%M %Z").rstrip()
    except ValueError:
        return created


def _dataset(fact: JsonValue) -> dict[str, Any] | None:
    """What the page says of a dataset's manifest; None when the report holds none."""
    if not isinstance(fact, Mapping) or not isinstance(ledger := fact.get("ledger"), Mapping):
        return None
    total = _whole(ledger.get("rows_in"))
    dropped = ledger.get("dropped")
    entries = [("kept", _whole(ledger.get("kept")))]
    entries += [(f"dropped: {why}", _whole(n)) for why, n in dropped.items()] if isinstance(dropped, Mapping) else []
    shares = [n / total if total else 0.0 for _, n in entries]
    without = fact.get("replies_without_rows")
    return {
        "hash": str(fact.get("hash", "")),
        "total": count(total),
        "entries": [(why, count(n), percent(part), part) for (why, n), part in zip(entries, shares, strict=True)],
        "without": [str(reply) for reply in without] if isinstance(without, list | tuple) else [],
    }


def _whole(value: JsonValue) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _lines(fact: JsonValue) -> list[str]:
    if isinstance(fact, list):
        return [str(line) for line in fact]
    return [] if fact is None else str(fact).splitlines()


def _flat(facts: Mapping[str, JsonValue], prefix: str = "") -> list[tuple[str, str]]:
    """Facts as name and text, nested ones under a dotted name."""
    found = []
    for name, fact in facts.items():
        if isinstance(fact, Mapping):
            found += _flat(fact, f"{prefix}{name}.")
        elif isinstance(fact, list):
            found.append((prefix + name, ", ".join(str(part) for part in fact)))
        else:
            known = isinstance(fact, int | float) and not isinstance(fact, bool)
            found.append((prefix + name, significant(float(fact)) if known else str(fact)))  # type: ignore[arg-type]
    return found
