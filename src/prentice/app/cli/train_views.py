"""A training run before it begins, in the terminal: what it would teach, and what it would need; fits 100 columns."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from prentice.evaluation.wording import count, percent, significant

if TYPE_CHECKING:
    from prentice.pipeline.training_views import Outlook
    from prentice.training.estimate import Setup
    from prentice.training.hardware import Machine
    from prentice.training.truth import Alike, Fault, Sample, Truth

SHOWN_FAULTS = 10
"""Rows shown of each kind of fault."""
PROMPT, REPLY, STOP, LEFT_OUT = "dim", "bold green", "black on yellow", "dim italic cyan"
GOOD, DOUBTFUL, BAD = Text("✓", "green"), Text("?", "yellow"), Text("✗", "red")
GB, TERA = 1e9, 1e12


def print_truth(truth: Truth, console: Console, command: str) -> None:
    """Rows to look at, then what all of them teach, then what is wrong with them; last what to do.

    Args:
        command: that trains.
    """
    for sample in truth.samples:
        console.print(Rule(_title(sample), align="left", style="dim"))
        console.print(Padding(_chat(sample, console), (0, 0, 1, 2)))
    if truth.samples:
        console.print(_legend(console), end="\n\n")
    console.print(_facts(truth))
    for kind, faults in _by_kind(truth.faults).items():
        console.print(Text(f"\n{count(len(faults))} × {kind}", "bold red"))
        console.print(_rows_of(faults, truth))
    console.print()
    console.print(_last_word(truth, command), soft_wrap=True)


def _title(sample: Sample) -> Text:
    tokens = f"{count(sample.prompt_tokens)} + {count(sample.reply_tokens)} tokens"
    return Text.assemble((sample.title, "bold"), f" · {sample.split} · {tokens} · {sample.row}", overflow="ellipsis")


def _chat(sample: Sample, console: Console) -> Text:
    """Prompt, reply and stop token, each in its colour; where there is no colour, brackets say what is learnt."""
    text = _visible(sample.head, PROMPT)
    if sample.left_out:
        text.append(f" … {count(sample.left_out)} tokens left out … ", LEFT_OUT)
        text.append_text(_visible(sample.tail, PROMPT))
    plain = console.color_system is None
    learnt = Text.assemble(_visible(sample.reply, REPLY, ends=True), _visible(sample.stop, STOP))
    return Text.assemble(text, "⟦" if plain else "", learnt, "⟧" if plain else "")


def _visible(text: str, style: str, *, ends: bool = False) -> Text:
    """The text with what cannot be seen made visible: line ends, tabs, control characters; at its ends spaces too."""
    inner = text.strip(" ") if ends else text
    before = len(text) - len(text.lstrip(" ")) if ends and inner else 0
    after = len(text) - len(inner) - before if ends else 0
    return Text("·" * before + "".join(map(_seen, inner)) + "·" * after, style)


def _seen(character: str) -> str:
    if character == "\n":
        return "↵\n"
    if character == "\t":
        return "⇥\t"
    if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") or character == "\N{NO-BREAK SPACE}":
        return f"⟨U+{ord(character):04X}⟩"
    return character


def _legend(console: Console) -> Text:
    if console.color_system is None:
        return Text("⟦…⟧ is learnt, its stop token included; what stands before it is the prompt")
    return Text.assemble(
        ("the prompt, not learnt", PROMPT), "   ", ("the reply, learnt", REPLY), "   ", ("the stop token, learnt", STOP)
    )


def _facts(truth: Truth) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for mark, topic, text in (*_what_there_is(truth), *_what_is_doubtful(truth)):
        grid.add_row(mark, Text(topic, "dim"), Text(text))
    return grid


def _what_there_is(truth: Truth) -> Iterator[tuple[Text, str, str]]:
    lengths, sharing = truth.lengths, truth.sharing
    splits = ", ".join(f"{count(number)} {split}" for split, number in sorted(truth.splits.items()))
    yield GOOD if truth.rows else BAD, "rows", f"{count(truth.rows)}: {splits or 'none'}"
    if truth.tokens:
        learnt = f"{count(truth.supervised)} supervised, {percent(truth.supervised / truth.tokens)}"
        yield GOOD, "tokens", f"{count(truth.tokens)}, of which {learnt}"
        stops = ", ".join(f"{stop!r} ends {count(number)} rows" for stop, number in truth.stops.items())
        yield GOOD, "stop token", f"learnt: {stops}"
    fitting = (
        "all rows fit, none is cut" if not truth.lengths.too_long else f"{count(lengths.too_long)} rows do not fit"
    )
    longest = f"the longest row has {count(lengths.longest)} of {count(lengths.limit)} tokens ({lengths.row})"
    yield BAD if lengths.too_long else GOOD, "length", f"{longest}; {fitting}"
    if sharing is not None:
        saved = percent(1 - sharing.computed / sharing.plain) if sharing.plain else percent(0)
        computed = f"{count(sharing.computed)} tokens computed a pass instead of {count(sharing.plain)}"
        yield GOOD, "shared beginnings", f"{computed}: {saved} saved, with {count(sharing.batch)} rows a step"
    if truth.compared and not any("server would see" in fault.kind for fault in truth.faults):
        yield GOOD, "server", "every row's tokens are those that the server sees"


def _what_is_doubtful(truth: Truth) -> Iterator[tuple[Text, str, str]]:
    found = [
        ("repeated", truth.repeated, "say the same as an earlier one"),
        ("leaked", truth.leaked, "of the split `val` are in `train` too, so the validation loss flatters"),
        ("contradicting", truth.contradicting, "have the prompt of another and a different reply"),
    ]
    for topic, alike, words in found:
        if alike.rows:
            yield DOUBTFUL, topic, f"{count(alike.rows)} rows {words} ({_both(alike)})"
    if not any(alike.rows for _, alike, _ in found):
        yield GOOD, "duplicates", "no row repeats or contradicts another"
    if not truth.splits.get("val"):
        yield DOUBTFUL, "validation", "no rows are set aside, so the last weights are kept, not the best"


def _both(alike: Alike) -> str:
    return f"such as {' and '.join(alike.first)}"


def _by_kind(faults: Sequence[Fault]) -> dict[str, list[Fault]]:
    kinds = Counter(fault.kind for fault in faults)
    return {kind: [fault for fault in faults if fault.kind == kind] for kind, _ in kinds.most_common()}


def _rows_of(faults: Sequence[Fault], truth: Truth) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for fault in faults[:SHOWN_FAULTS]:
        grid.add_row(Text(f"  {fault.row}" if fault.row else ""), Text(fault.problem))
    if more := len(faults) - SHOWN_FAULTS:
        grid.add_row("", Text(f"… and {count(more)} more" if more > 0 else "", "dim"))
    grid.add_row("", Text(f"in {truth.where}", "dim"))
    if faults[0].hint:
        grid.add_row("", Text(f"→ {faults[0].hint}", "dim"))
    return grid


def _last_word(truth: Truth, command: str) -> Text:
    if not truth.faults:
        return Text.assemble(("ready", "bold green"), f": {command}")
    first = next(iter(_by_kind(truth.faults).values()))
    todo = first[0].hint or "mend or drop these rows, and curate again"
    return Text.assemble(("a run would not start", "bold red"), f": {todo}")


def print_outlook(outlook: Outlook, console: Console) -> None:
    """What a run takes, part by part, what the figures rest on, and whether it fits."""
    console.print(_what_is_run(outlook.setup), end="\n\n")
    console.print(_needs(outlook))
    console.print(Text(_assumptions(outlook), "dim"), end="\n\n")
    for line in _verdict(outlook):
        console.print(line, soft_wrap=True)


def _what_is_run(setup: Setup) -> Text:
    config, work, machine = setup.config, setup.work, setup.machine
    text = Text.assemble((setup.shape.name, "bold"), f": {_short(setup.shape.weights)} weights, ")
    text.append(f"{_short(setup.trained)} trained ({config.method}, {config.precision})\non ")
    text.append(f"{_times(machine)}{machine.name}", "bold")
    text.append(f"{' with FSDP' if machine.sharded else ''}\n")
    plain = work.tokens - work.rows
    saved = f", {percent(1 - work.epoch.nodes / plain)} saved by sharing" if work.epoch.nodes < 0.995 * plain else ""
    rows = f"{count(work.rows)} rows of {count(round(work.tokens / work.rows))} tokens"
    computed = f"{count(round(work.epoch.nodes))} tokens computed a pass{saved}"
    return text.append(f"{rows}; {computed}; {config.epochs:g} passes")


def _needs(outlook: Outlook) -> Table:
    from prentice.training.estimate import disk, hours, moments, run_operations

    setup, table = outlook.setup, Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    machine, (highest, *others) = setup.machine, moments(setup)
    _add(table, f"memory of one {'GPU' if machine.gpu else 'process'}", "GB", style="bold")
    for piece in highest.pieces:
        if piece.size:
            _add(table, f"  {piece.name}", _gb(piece.size))
    _add(table, f"  at the highest moment, {highest.name}", _gb(highest.size), style="bold")
    for moment in others:
        _add(table, f"  at {moment.name}", _gb(moment.size), style="dim")
    _add(table, "  there is", _gb(machine.memory))
    _add(table, "time", "", style="bold")
    pace = f"{_share(machine.reached)} of {_times(machine)}{_rate(setup.rate)}"
    _add(table, f"  {significant(run_operations(setup) / 1e15)} · 10¹⁵ operations at {pace}", _duration(hours(setup)))
    _add(table, "disk", "GB", style="bold")
    pieces = disk(setup, outlook.quantization)
    for piece in pieces:
        _add(table, f"  {piece.name}", _gb(piece.size))
    _add(table, "  together", _gb(sum(piece.size for piece in pieces)), style="bold")
    if outlook.free is not None:
        _add(table, "  free here", _gb(outlook.free))
    return table


def _add(table: Table, name: str, value: str, style: str = "") -> None:
    table.add_row(Text(name, style), Text(value, style))


def _verdict(outlook: Outlook) -> Iterator[Text]:
    from prentice.training.advice import advice, faster, fits
    from prentice.training.estimate import disk, hours, moments

    setup = outlook.setup
    needed, there = _gb(moments(setup)[0].size), _gb(setup.machine.memory)
    where = "a GPU" if setup.machine.gpu else "here"
    if fits(setup):
        text = f": {needed} of {there} GB {where}, about {_duration(hours(setup))}"
        yield Text.assemble(("it fits", "bold green"), text)
    elif not setup.startable:
        yield Text.assemble(("it would not start", "bold red"), ': train.sft.method = "qlora" needs a GPU')
    else:
        yield Text.assemble(("it does not fit", "bold red"), f": {needed} GB, where there are {there} {where}")
    for each in advice(setup) if not fits(setup) else faster(setup):
        yield Text(f"  → {each.words}: {_gb(each.size)} GB, about {_duration(each.hours)}")
    if not fits(setup) and not advice(setup):
        elsewhere = "more GPUs, as --on 8xh100" if setup.machine.gpu else "a GPU, as --on l40s"
        yield Text(
            f"  → nothing that can be set makes it fit: take a smaller base, or see what it needs on {elsewhere}"
        )
    total = sum(piece.size for piece in disk(setup, outlook.quantization))
    if outlook.free is not None and total > outlook.free:
        yield Text.assemble(("the disk is too small", "bold red"), f": {_gb(total)} GB, {_gb(outlook.free)} are free")


def _assumptions(outlook: Outlook) -> str:
    machine = outlook.setup.machine
    found = [outlook.counted, f"shape: {outlook.setup.shape.source}"]
    if machine.gpu:
        found.append(f"rate {machine.rated}, {_share(machine.reached)} of it assumed")
        found.append("memory by formulas that were held against runs on a CPU")
    else:
        found.append(f"rate {machine.rated}, {_share(machine.reached)} of it as with SmolLM2")
        found.append("memory within a third")
    if outlook.faulty:
        found.append(f"{count(outlook.faulty)} faulty rows left out: see --check")
    if machine.processes > 1:
        found.append("exchange between processes left out")
    return "; ".join(found)


def _gb(size: float) -> str:
    if size >= 10 * GB:
        return f"{size / GB:,.1f}"
    return f"{size / GB:.2f}" if size >= 0.005 * GB else "< 0.01"


def _share(share: float) -> str:
    return f"{share * 100:.0f} %"


def _times(machine: Machine) -> str:
    return f"{machine.processes} × " if machine.processes > 1 else ""


def _short(number: float) -> str:
    if number >= 1e9:
        return f"{number / 1e9:.1f} billion"
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number / 1e3:.0f} thousand"


def _rate(per_second: float) -> str:
    return f"{per_second / TERA:,.0f} TFLOP/s" if per_second >= 10 * TERA else f"{per_second / TERA:.2g} TFLOP/s"


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s" if hours * 3600 >= 1 else "less than a second"
    return f"{hours * 60:.0f} min" if hours < 1.5 else f"{hours:,.1f} h"
