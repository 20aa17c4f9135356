"""Calls that were recorded or imported, as a table of examples: what was asked, and what people let stand or showed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prentice.errors import DataError
from prentice.pipeline.scaffold.tables import Row, Table
from prentice.pipeline.stores import open_store
from prentice.records import Episode, Message

TEXT, ANSWER = "text", "answer"
LATER_TURN, TOOLS, REJECTED, FAILED = "a later turn", "calls a tool", "rejected", "failed or empty"


def is_recorded(place: Path) -> bool:
    """Whether this is where episodes lie, not a file of examples."""
    return place.is_dir() or place.suffix == ".db"


def recorded_table(place: Path) -> Table:
    """The examples in a store: of every call that answers one message, that message and the answer.

    The answer is the demonstration where there is one, else the reply, unless it was rejected or failed. The system
    prompt that most of these calls have becomes the table's instructions.

    Raises: StoreError if there is no store; DataError if no call fits.
    """
    rows, prompts, left_out = list[Row](), Counter[str](), Counter[str]()
    with open_store(str(place)) as store:
        for episode in store.episodes():
            for told in _examples(episode):
                if isinstance(told, str):
                    left_out[told] += 1
                    continue
                system, text, answer = told
                prompts[system] += 1
                rows.append(Row(len(rows) + 1, {TEXT: text, ANSWER: answer}))
    why = ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common())
    if not rows:
        hint = "such calls need an environment: docs/environments.md" if left_out else f"prentice record {place}"
        raise DataError(f"{place}: no call answers one message with a text ({why or 'no episodes'})", hint)
    instructions = prompts.most_common(1)[0][0]
    return Table(place, (TEXT, ANSWER), tuple(rows), instructions, f"left out: {why}" if why else "")


def _examples(episode: Episode) -> Iterator[tuple[str, str, str] | str]:
    """System prompt, text and answer of each turn, or why it is none."""
    shown = {each.turn: each.message for each in episode.demonstrations}
    for number, turn in enumerate(episode.turns):
        system = "\n\n".join(m.content for m in turn.request.messages if m.role == "system")
        rest = [m for m in turn.request.messages if m.role != "system"]
        if [m.role for m in rest] != ["user"]:
            yield LATER_TURN
            continue
        answer = shown.get(number, turn.reply.message)
        yield _why_not(episode, number, answer, demonstrated=number in shown) or (
            system,
            rest[0].content,
            answer.content,
        )


def _why_not(episode: Episode, turn: int, answer: Message, *, demonstrated: bool) -> str:
    if answer.tool_calls:
        return TOOLS
    if demonstrated:
        return ""
    said = [m.value for m in episode.metrics if m.name == "success" and m.turn in (None, turn)]
    if said and said[-1] is False:
        return REJECTED
    return "" if episode.failure is None and answer.content.strip() else FAILED
