"""The columns of a sheet for experts, and the rows of an episode: one, or one a turn and one for the whole."""

from __future__ import annotations

from collections.abc import Iterator

from prentice.records.chats import Message
from prentice.records.episodes import Episode
from prentice.records.history import Said
from prentice.records.labelling.answers import as_text

EPISODE, TURN, VERDICT, BETTER, REMARK, AUTHOR = "episode", "turn", "verdict", "better_answer", "comment", "author"
COLUMNS = (EPISODE, TURN, "case", "asked", "answer", VERDICT, BETTER, REMARK, AUTHOR)
TO_FILL = (VERDICT, BETTER, REMARK, AUTHOR)
NEEDED = (EPISODE, TURN, VERDICT, BETTER, REMARK)
"""Without one of these, what an expert wrote could be missed."""
WHOLE = "all"
"""The turn of the row that is about a whole episode of several turns."""
ACCEPT, REJECT = "accept", "reject"
LONGEST_CELL = 32_000
"""Characters; a spreadsheet's own limit is 32,767."""
HOW = (
    "How to fill this in",
    "verdict: accept or reject. Leave it empty where you cannot say.",
    "better_answer: what the answer should have been, if you know; the old answer then counts as rejected.",
    "comment: anything else that is worth knowing.",
    "author: your name; it may be left empty where one person fills in the whole sheet.",
    f"An episode of several turns has one row a turn, and a last row, turn '{WHOLE}', about all of it.",
    "Rows may be sorted, left empty or deleted. The columns episode and turn lead the words back: leave them alone.",
)


def rows_of(episode: Episode) -> Iterator[dict[str, str]]:
    """Column → text; columns to be filled in are missing."""
    said = Said[Message](lambda message: message.model_dump_json())
    for number, turn in enumerate(episode.turns):
        new, _ = said.add(turn.request.messages, turn.reply.message)
        yield {
            EPISODE: episode.id,
            TURN: str(number),
            "case": episode.case,
            "asked": cell_text(_asked(new[:-1])),
            "answer": cell_text(as_text(turn.reply.message)),
        }
    if len(episode.turns) != 1:
        about = f"(all {len(episode.turns)} turns together)" if episode.turns else "(it ended before the first turn)"
        yield {EPISODE: episode.id, TURN: WHOLE, "case": episode.case, "asked": about, "answer": ""}


def _asked(messages: list[Message]) -> str:
    """What a person has to read: no instructions, which are the same in every row."""
    shown = [m for m in messages if m.role != "system"] or messages
    if len(shown) == 1 and shown[0].role == "user":
        return shown[0].content
    return "\n".join(f"{message.role}: {as_text(message)}" for message in shown)


def cell_text(text: str) -> str:
    """The text as a cell can hold it: cut, and with a picture for each character that no sheet can hold."""
    if len(text) > LONGEST_CELL:
        text = f"{text[:LONGEST_CELL]}\n… ({len(text) - LONGEST_CELL:,} more characters)"
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_PICTURES)


_PICTURES = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
    | {0x7F: 0x2421, 0xFFFE: 0xFFFD, 0xFFFF: 0xFFFD}
    | dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)
)
