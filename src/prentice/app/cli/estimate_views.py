"""An estimate in the terminal: a table of functions, each in words, and what it all rests on; fits 100 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prentice.estimation import (
    Assumptions,
    BreakEven,
    Estimate,
    Frequent,
    FunctionEstimate,
    Outlook,
    Outputs,
    Priced,
    Spent,
)
from prentice.evaluation.wording import NONE, count, money, percent, significant
from prentice.models.prices import Price

SHOWN_FUNCTIONS = 10
_COLOURS = {"good first candidate": "green", "possible": "yellow", "not yet": "red"}
_SHOWN_REPLIES = 3
_SHOWN_MODELS = 5


def print_estimate(found: Estimate, left_out: Sequence[str], console: Console) -> None:
    """All of it, what asks for a decision first."""
    console.print(Text(_what_was_read(found)))
    for line in left_out:
        console.print(Text(line, style="yellow"))
    console.print()
    console.print(_table(found))
    for function in found.functions[:SHOWN_FUNCTIONS]:
        console.print()
        console.print(Text.assemble((function.name, "bold"), ": ", (function.answer, _COLOURS[function.answer])))
        console.print(_facts(function))
    if more := len(found.functions) - SHOWN_FUNCTIONS:
        console.print(Text(f"\n{more} more functions: --json shows them all") if more > 0 else "", end="")
    console.print()
    console.print(_assumptions(found.assumptions))
    for line in _notes(found):
        console.print(Text(line, style="dim"))


def _what_was_read(found: Estimate) -> str:
    span = f", {found.begun:%Y-%m-%d} to {found.ended:%Y-%m-%d}" if found.begun and found.ended else ""
    return f"{_number(found.episodes, 'episode')}, {_number(found.calls, 'call')}{span}; {found.month}"


def _table(found: Estimate) -> Table:
    monthly = found.functions[0].calls_per_month is not None
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("function", overflow="fold", max_width=30)
    for name in (
        "calls",
        "tokens a call\nin / out",
        "in the\nlogs",
        "a\nmonth" if monthly else "1 000\ncalls",
        "repeats",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("a small model?", no_wrap=True)
    for function in found.functions[:SHOWN_FUNCTIONS]:
        table.add_row(*_cells(function))
    if len(found.functions) > 1:
        table.add_row(*_total(found, monthly=monthly), style="bold")
    return table


def _cells(function: FunctionEstimate) -> list[Text]:
    spent = function.spent
    rate = function.usd_per_month if function.calls_per_month is not None else _per_thousand(spent)
    tokens = [significant(total / spent.calls) for total in (spent.input_tokens, spent.output_tokens)]
    shown = (
        function.name,
        count(spent.calls),
        f"{'~' if spent.estimated else ''}{tokens[0]} / {tokens[1]}",
        _known_usd(spent.usd, spent.unpriced, spent.calls),
        NONE if rate is None else money(rate, "USD"),
        percent(function.prompts.repeats),
    )
    return [*map(Text, shown), Text(function.answer, style=_COLOURS[function.answer])]


def _total(found: Estimate, *, monthly: bool) -> list[Text]:
    spent = [function.spent for function in found.functions]
    usd, unpriced = sum(s.usd for s in spent), sum(s.unpriced for s in spent)
    a_month = [f.usd_per_month for f in found.functions if f.usd_per_month is not None]
    rate = (
        sum(a_month)
        if monthly and a_month
        else usd / (found.calls - unpriced) * 1000
        if unpriced < found.calls
        else None
    )
    shown = (
        "all",
        count(found.calls),
        "",
        _known_usd(usd, unpriced, found.calls),
        NONE if rate is None else money(rate, "USD"),
    )
    return [Text(text) for text in shown]


def _known_usd(usd: float, unpriced: int, calls: int) -> str:
    if unpriced == calls:
        return "no price"
    return f"≥ {money(usd, 'USD')}" if unpriced else money(usd, "USD")


def _per_thousand(spent: Spent) -> float | None:
    return None if spent.usd_per_call is None else spent.usd_per_call * 1000


def _facts(function: FunctionEstimate) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, min_width=11)
    grid.add_column(overflow="fold")
    rows = [
        ("  why", function.reason),
        ("  replies", _replies(function.outputs)),
        ("  prompts", _prompts(function)),
        ("  outcomes", _outcomes(function)),
        ("  a student", "" if function.break_even is None else _student(function.break_even)),
        *(
            (f"  {'missing' if not position else ''}", f"{gap.kind}: {gap.what} → {gap.todo}")
            for position, gap in enumerate(function.gaps)
        ),
    ]
    for name, text in rows:
        if text:
            grid.add_row(Text(name, style="dim"), Text(text))
    return grid


def _replies(outputs: Outputs) -> str:
    parts = [f"{outputs.tokens_p50:,} tokens at the median, {outputs.tokens_p95:,} at p95 (of the text, ~)"]
    if outputs.tools:
        parts.append(f"{percent(outputs.tools)} call tools: {_listed(outputs.tool_names)}")
    if outputs.objects:
        shapes = f", keys of the most frequent: {outputs.top_shapes[0].text}" if outputs.top_shapes else ""
        parts.append(f"{percent(outputs.objects)} are JSON objects{shapes}")
    parts.append(f"{count(outputs.distinct)} different, {outputs.entropy_bits:.1f} bits")
    # what is rarely said twice is no label, and a long list of it says nothing
    if not outputs.tools and outputs.top and outputs.top[0].share >= 0.02:
        parts.append(f"the most frequent: {_listed(outputs.top)}")
    return "; ".join(parts)


def _listed(frequent: Sequence[Frequent]) -> str:
    shown = ", ".join(f"{each.text} {each.share * 100:.0f} %" for each in frequent[:_SHOWN_REPLIES])
    return f"{shown}, …" if len(frequent) > _SHOWN_REPLIES else shown


def _prompts(function: FunctionEstimate) -> str:
    prompts, spent = function.prompts, function.spent
    parts = [f"{count(prompts.distinct)} different"]
    if prompts.asked_again:
        parts.append(
            f"{count(prompts.asked_again)} came again, {count(prompts.answered_alike)} always with the same answer"
        )
    if prompts.repeats_from < 1:
        parts.append(f"repeats told from {percent(prompts.repeats_from)} of them")
    if prompts.shared:
        parts.append(f"{percent(prompts.shared)} of their text repeats a beginning")
    if spent.cacheable_usd:
        share = f", {percent(spent.cacheable_usd / spent.usd)} of the bill" if spent.usd else ""
        parts.append(f"a provider's prompt cache saves at most {money(spent.cacheable_usd, 'USD')}{share}")
    return "; ".join(parts)


def _outcomes(function: FunctionEstimate) -> str:
    if not function.graded:
        return ""
    known = f"known of {count(function.graded)} calls"
    return f"{known}, {count(function.successes)} of them with success" if function.successes else known


def _student(found: BreakEven) -> str:
    made = f"to make {_usd(found, lambda end: end.make_usd)}, training {_range(found, _hours, _about)} h"
    per = "a month" if found.per == "month" else "per 1 000 calls"
    saves = f"saves {_usd(found, lambda end: end.saved_usd)} {per}"
    return f"{made}; {_cheaper(found)}; {saves}; {_paid(found.hopeful, found.careful)}"


def _hours(end: Outlook) -> float:
    return end.training_hours


def _cheaper(found: BreakEven) -> str:
    ends = [end.times_cheaper for end in (found.careful, found.hopeful) if end.times_cheaper is not None]
    if not ends:
        return "a call costs nothing"
    if max(ends) < 1:
        return "a call is dearer than now"
    lowest = _about(ends[0]) if ends[0] >= 1 else "dearer to"
    return f"a call {'–'.join(dict.fromkeys((lowest, _about(ends[-1]))))} times cheaper".replace("to–", "to ")


def _paid(hopeful: Outlook, careful: Outlook) -> str:
    if hopeful.calls is None:
        return "never pays for itself"
    known = [end for end in (hopeful, careful) if end.calls is not None]
    text = f"paid for after {'–'.join(_about(end.calls or 0.0) for end in known)} calls"
    if hopeful.months is not None:
        text += f", {'–'.join(_about(end.months or 0.0) for end in known)} months"
    return text if careful.calls is not None else f"{text} at best, never at worst"


def _usd(found: BreakEven, value: Callable[[Outlook], float]) -> str:
    return _range(found, value, lambda usd: f"{'−' if usd < 0 else ''}${_about(abs(usd))}")


def _range(found: BreakEven, value: Callable[[Outlook], float], words: Callable[[float], str]) -> str:
    low, high = map(words, sorted((value(found.careful), value(found.hopeful))))
    return low if low == high else f"{low} to {high}"


def _about(value: float) -> str:
    """Two digits: a reckoning from assumptions has no more."""
    rounded = float(f"{value:.1e}")
    return count(round(rounded)) if rounded >= 10 else f"{rounded:.2g}"


def _assumptions(assumptions: Assumptions) -> Table:
    title = "What the range for a student rests on (--assume NAME=CAREFUL,HOPEFUL)"
    table = Table(title=title, title_justify="left", title_style="dim", box=None, pad_edge=False, style="dim")
    table.add_column("")
    table.add_column("careful", justify="right")
    table.add_column("hopeful", justify="right")
    table.add_column("")
    for name, field in Assumptions.model_fields.items():
        value = getattr(assumptions, name)
        ends = value if isinstance(value, tuple) else (value, value)
        table.add_row(
            *(Text(text) for text in (name, *map(_plain, ends), (field.description or "").replace("\n", " ")))
        )
    return table


def _plain(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return significant(value)


def _notes(found: Estimate) -> Iterable[str]:
    yield from found.notes
    yield from (_without_price(each) for each in found.models if each.price is None)
    known = [f"{each.model} {_price(each.price)}" for each in found.models if each.price]
    if known:
        more = ", …" if len(known) > _SHOWN_MODELS else ""
        yield f"dollars per million tokens in / out: {', '.join(known[:_SHOWN_MODELS])}{more} ({found.prices})"
    if not any(found.assumptions.one_off_usd):
        yield "people's hours are not in it: add them with --assume one_off_usd=CAREFUL,HOPEFUL"


def _without_price(model: Priced) -> str:
    near = f"; the list knows {', '.join(model.nearest)}" if model.nearest else ""
    return f"no price for {model.model!r} ({_number(model.calls, 'call')}){near}: give --price '{model.model}=IN,OUT'"


def _price(price: Price) -> str:
    return f"{significant(price.input_usd)} / {significant(price.output_usd)}"


def _number(number: int, noun: str) -> str:
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")
