"""How episodes look in a terminal: many as a table, one as a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prentice.records import Episode, Message, Metric, Value
from prentice.records.history import Said
from prentice.records.summaries import Summary

_SHOWN_METRICS = 4
_PICTURES = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)
_COLOURS = {"system": "dim", "user": "cyan", "assistant": "green", "tool": "yellow"}


def episodes_table(found: Sequence[Summary]) -> Table:
    """One row an episode."""
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    for name, width in (("id", 8), ("run", 8), ("case", 22), ("policy", 16)):
        table.add_column(name, no_wrap=True, max_width=width)
    table.add_column("turns", justify="right", no_wrap=True, min_width=5)
    table.add_column("outcome", no_wrap=True, ratio=1)
    paid = any(each.cost_usd is not None for each in found)
    if paid:
        table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("begun", no_wrap=True, min_width=10)
    for each in found:
        case = f"{each.split}/{each.case}" + (f" #{each.attempt}" if each.attempt else "")
        cost = "" if each.cost_usd is None else f"${each.cost_usd:.4f}"
        table.add_row(
            Text(each.id[:8]),
            Text(each.run[:8]),
            Text(case),
            Text(each.policy),
            f"{each.turns:,}",
            Text(f"failed: {each.failure}", style="red") if each.failure else Text(_metrics(each.metrics)),
            *([cost] if paid else []),
            f"{each.started_at.astimezone():%Y-%m-%d}",
        )
    return table


def print_episode(episode: Episode, console: Console) -> None:
    """The whole episode; each message once, where it was first shown."""
    facts = {
        "episode": episode.id,
        "run": episode.run,
        "task": f"{episode.task}, {episode.split}, case {episode.case}, attempt {episode.attempt}",
        "policy": episode.policy,
        "begun": f"{episode.started_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "tags": ", ".join(f"{name}={value}" for name, value in episode.tags.items()),
        "failure": f"{episode.failure.where}: {episode.failure.message}" if episode.failure else "",
        "metrics": _metrics({m.name: m.value for m in episode.metrics if m.turn is None}, all_of_them=True),
        "cost": _cost(episode),
    }
    for name, value in facts.items():
        if value:
            console.print(Text.assemble((f"{name:8}", "bold"), value))
    said = Said[Message](lambda message: message.model_dump_json())
    for position, turn in enumerate(episode.turns):
        console.rule(f"turn {position}: {turn.request.function}", align="left", style="dim")
        new, _ = said.add(turn.request.messages, turn.reply.message)
        for message in new:
            console.print(message_view(message))
        _print_turn_facts(turn.reply.latency_s, [m for m in episode.metrics if m.turn == position], console)


def message_view(message: Message, title: str = "") -> Group:
    """One message of a chat: who speaks, what is said, which tools are called.

    Args:
        title: stands in place of the role.
    """
    parts: list[RenderableType] = [Text(title or message.role, style=f"bold {_COLOURS[message.role]}")]
    if message.content:
        parts.append(Padding(Text(harmless(message.content)), (0, 0, 0, 2)))
    for call in message.tool_calls:
        parts.append(Padding(Text(harmless(f"→ {call.name}({call.arguments})")), (0, 0, 0, 2)))
    return Group(*parts)


def harmless(text: str) -> str:
    """The text with a picture for each control character: what a model wrote must not steer the terminal."""
    return text.translate(_PICTURES)


def _print_turn_facts(latency_s: float | None, metrics: Sequence[Metric], console: Console) -> None:
    known = [] if latency_s is None else [f"{latency_s:.3g} s"]
    known += [f"{metric.name} {_word(metric.value)}" for metric in metrics]
    if known:
        console.print(Text(", ".join(known), style="dim"))


def _cost(episode: Episode) -> str:
    seconds, dollars, cpu = (episode.total(name) for name in ("latency_s", "cost_usd", "processing_s"))
    known = [f"{len(episode.turns):,} turns"]
    known += [] if seconds is None else [f"{seconds:.3g} s"]
    known += [] if cpu is None else [f"{cpu:.3g} CPU-s"]
    known += [] if dollars is None else [f"${dollars:.6f}"]
    return ", ".join(known)


def _metrics(metrics: Mapping[str, Value], *, all_of_them: bool = False) -> str:
    names = sorted(metrics, key=lambda name: name != "success")  # what is asked first stands first
    shown = names if all_of_them else names[:_SHOWN_METRICS]
    return ", ".join(f"{name} {_word(metrics[name])}" for name in shown)


def _word(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else value
