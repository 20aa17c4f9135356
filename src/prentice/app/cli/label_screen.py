"""How an episode looks while a person judges it: the chat up to the turn at hand, cut to the height of the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from prentice.app.cli.episode_views import harmless, message_view
from prentice.records import Message
from prentice.records.history import Said
from prentice.records.labelling.session import Session, Tally
from prentice.records.labelling.words import Words

KEYS = (
    ("a", "accept"),
    ("r", "reject"),
    ("e", "edit"),
    ("c", "comment"),
    ("s", "skip"),
    ("u", "undo"),
    ("n/p", "other turn"),
    ("t", "turn or episode"),
    ("v", "see all"),
    ("?", "help"),
    ("q", "quit"),
)
HELP = """Each key counts at once; nothing has to be saved, and u takes back as many steps as you like,
those of an earlier session too.

a, r   accept or reject what "about" names: the whole episode, or the turn that is shown (t changes it)
e      write what the answer should have been: in the editor that $EDITOR names, or here.
       Your answer is learnt from first of all; the old one counts as rejected.
c      remark on it, in one line
s      go on without a word; the next session shows it again
n, p   show the next, or the previous turn (arrow keys do so too)
v      see all of a long chat, or the cut one again
q      leave; the same command goes on from here

Any key goes back."""
_LEAST = 4
"""Lines of the chat that are shown however small the terminal is."""
Line = list[Segment]


def print_screen(session: Session, words: Words, console: Console, *, everything: bool, note: str) -> None:
    """Clear the terminal and show the episode at hand.

    Args:
        everything: do not cut long chats.
        note: what came of the last key.
    """
    head = _lines(Group(*_head(session, words)), console)
    foot = _lines(Group(*_foot(session, words, note)), console)
    before, answer = _chat(words, session.turn, console)
    if not everything:
        room = max(console.height - len(head) - len(foot) - 1, _LEAST)
        before, answer = _cut(before, answer, room, console)
    console.clear()
    for line in (*head, *before, *answer, *foot):
        console.print(_as_text(line), soft_wrap=True)


def print_help(console: Console) -> None:
    """Clear the terminal and say what each key does."""
    console.clear()
    console.print(Text(HELP))


def progress(tally: Tally) -> str:
    """How far it is: `17 of 200, 12 accepted, 3 rejected, 2 corrected`."""
    states = [f"{tally.states[name]:,} {name}" for name in ("accepted", "rejected", "corrected") if tally.states[name]]
    return ", ".join([f"{tally.judged:,} of {tally.total:,}", *states])


def _head(session: Session, words: Words) -> list[RenderableType]:
    episode = words.episode
    first = Table.grid(expand=True)
    first.add_column(no_wrap=True)
    first.add_column(justify="right", no_wrap=True)
    first.add_row(Text(progress(session.tally), style="bold"), Text(harmless(session.author), style="dim"))
    facts = [f"episode {episode.id[:8]}", f"case {episode.case}", episode.policy]
    if episode.failure:
        facts.append(f"failed at the {episode.failure.where}")
    turns = len(episode.turns)
    title = f"turn {session.turn} (of 0 to {turns - 1})" if turns > 1 else "the answer"
    about = Text(harmless("  ".join(facts)), style="dim", no_wrap=True, overflow="ellipsis")
    return [first, about, Rule(title, align="left", style="dim")]


def _chat(words: Words, turn: int, console: Console) -> tuple[list[Line], list[Line]]:
    """The lines of all that was said before the answer, and those of the answer."""
    said = Said[Message](lambda message: message.model_dump_json())
    messages = [
        m for each in words.episode.turns[: turn + 1] for m in said.add(each.request.messages, each.reply.message)[0]
    ]
    if not messages:
        return [], _lines(Text("It ended before the first turn.", style="dim"), console)
    before = _lines(Group(*(message_view(message) for message in messages[:-1])), console) if messages[1:] else []
    parts = [message_view(messages[-1], "assistant: the answer" if words.single else f"assistant: turn {turn}")]
    shown = words.shown(turn)
    if shown is not None:
        parts.append(message_view(shown, "your answer"))
    return before, _lines(Group(*parts), console)


def _foot(session: Session, words: Words, note: str) -> list[RenderableType]:
    whole = session.whole or words.single
    verdict = words.verdict(None if whole else session.turn)
    about = "the whole episode" if whole and not words.single else "this answer" if words.single else "this turn"
    state = Text.assemble(("about ", "dim"), (about, "bold"))
    if verdict is not None:
        state.append(f": {'accepted' if verdict else 'rejected'}", style="green" if verdict else "red")
    comments = words.comments(None if whole else session.turn)
    if comments:
        state.append(f"  “{harmless(comments[-1])}”", style="magenta")
    state.no_wrap, state.overflow = True, "ellipsis"
    return [Rule(style="dim"), state, *([Text(harmless(note), style="yellow")] if note else []), key_line(_keys(words))]


def key_line(keys: Sequence[tuple[str, str]]) -> Columns:
    """Keys and what they do, none of them broken in two."""
    return Columns([Text.assemble((key, "bold cyan"), f" {name}", no_wrap=True) for key, name in keys], padding=(0, 2))


def _keys(words: Words) -> list[tuple[str, str]]:
    return [(key, name) for key, name in KEYS if not words.single or key not in ("n/p", "t")]


def _cut(before: list[Line], answer: list[Line], room: int, console: Console) -> tuple[list[Line], list[Line]]:
    """What fits: the end of what was said before, and the beginning of the answer, which comes first."""
    if len(before) + len(answer) <= room:
        return before, answer
    for_answer = max(room // 2, room - len(before))
    if len(answer) > for_answer:
        answer = [*answer[: for_answer - 1], _more(len(answer) - for_answer + 1, "below", console)]
    left = room - len(answer)
    if len(before) > left:
        tail = before[len(before) - left + 1 :] if left > 1 else []
        before = [_more(len(before) - len(tail), "above", console), *tail] if left else []
    return before, answer


def _more(lines: int, where: str, console: Console) -> Line:
    return _lines(Text(f"… {lines:,} more lines {where}; v shows all", style="dim italic"), console)[0]


def _lines(part: RenderableType, console: Console) -> list[Line]:
    return console.render_lines(part, pad=False)


def _as_text(line: Sequence[Segment]) -> Text:
    return Text.assemble(*((segment.text, segment.style or "") for segment in line), no_wrap=True, end="\n")
