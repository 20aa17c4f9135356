"""What a run is about to teach: every row as tokens, looked at before anything is trained.

The rows are made by the checker that training itself uses, so what is shown is what would be learnt; where training
stops at the first row that is wrong, this goes on and names them all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from prentice.progress import Progress, Silent
from prentice.records import Example
from prentice.training.check import CheckedRow, Checker, RowFaultError
from prentice.training.config import SFTConfig
from prentice.training.workload import work_of

HEAD, TAIL = 160, 80
"""Tokens of a long prompt that are shown, from its beginning and before the reply."""
SHOWN = 3
"""Rows that are shown."""
ENDLESS = 10**9
THREADS = 4
"""Rows that are checked at once: tokenizer and server compute beside each other."""
_SILENT = Silent()


@dataclass(frozen=True)
class Fault:
    """Why a row keeps a run from starting; `row` is empty where it is the dataset as a whole."""

    row: str
    kind: str
    problem: str
    hint: str


@dataclass(frozen=True)
class Sample:
    """A row as the student will see it.

    Args:
        title: why this one is shown.
        row, split: its id, and where it belongs.
        head, left_out, tail: the prompt's text; of a long one its ends, and how many tokens lie between them.
        reply, stop: what is supervised: the text, and the token that ends it.
        prompt_tokens, reply_tokens: how many.
    """

    title: str
    row: str
    split: str
    head: str
    left_out: int
    tail: str
    reply: str
    stop: str
    prompt_tokens: int
    reply_tokens: int


@dataclass(frozen=True)
class Alike:
    """Rows that say the same, or contradict each other.

    Args:
        rows: how many.
        first: ids of two of them; empty if there are none.
    """

    rows: int = 0
    first: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lengths:
    """How long rows are.

    Args:
        longest, row: tokens of the longest one, also of one that does not fit, and its id.
        limit: of a row that is trained on.
        too_long: rows above it.
    """

    longest: int
    row: str
    limit: int
    too_long: int


@dataclass(frozen=True)
class Sharing:
    """What one pass over the training rows computes.

    Args:
        computed: tokens, once a shared beginning is computed once.
        plain: tokens without that.
        batch: rows of a step, the most that share.
    """

    computed: int
    plain: int
    batch: int


@dataclass(frozen=True)
class Truth:
    """What was found.

    Args:
        where: the dataset's file.
        rows, splits: all rows, and those of each split.
        tokens, supervised: of the rows that can be trained on; each token of a reply is supervised.
        lengths: how long rows are.
        sharing: what a pass computes; None: nothing is shared, or there is no row to train on.
        stops: the tokens that end replies, with how many rows each ends.
        compared: whether tokens were held against the server's.
        repeated: rows whose tokens another row has too.
        leaked: validation rows whose tokens a training row has too.
        contradicting: rows whose prompt another row answers otherwise.
        samples: rows to look at.
        faults: what keeps the run from starting.
    """

    where: Path
    rows: int
    splits: dict[str, int]
    tokens: int
    supervised: int
    lengths: Lengths
    sharing: Sharing | None
    stops: dict[str, int]
    compared: bool
    repeated: Alike
    leaked: Alike
    contradicting: Alike
    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...]


def look(
    checker: Checker,
    examples: Sequence[Example],
    config: SFTConfig,
    progress: Progress = _SILENT,
    *,
    padded: bool = False,
) -> Truth:
    """Turn every example into tokens, as training does, and say what they teach.

    Args:
        padded: the base's layers forbid that beginnings are shared.
    """
    rows, long, faults = check_all(checker, examples, progress)
    train = [row for row in rows if row.example.split == "train"]
    if not train:
        problem = f"none of its {len(examples)} rows can be trained on in the split `train`"
        faults.append(Fault("", "no row is left to train on", problem, "curate more episodes"))
    taught = {row.row.tokens for row in train}
    return Truth(
        where=checker.where,
        rows=len(examples),
        splits=dict(Counter(example.split for example in examples)),
        tokens=sum(len(row.row.tokens) for row in rows),
        supervised=sum(len(row.row.reply) for row in rows),
        lengths=_lengths(checker, [*rows, *long], len(long)),
        sharing=_sharing(rows, config) if train and not padded else None,
        stops=dict(Counter(_decoded(checker, row.row.reply[-1:]) for row in rows)),
        compared=checker.serving_tokens is not None,
        repeated=_repeated(rows),
        leaked=_some([row for row in rows if row.example.split == "val" and row.row.tokens in taught]),
        contradicting=_contradicting(rows),
        samples=tuple(_sample(checker, title, row) for title, row in _chosen(rows)),
        faults=tuple(faults),
    )


def check_all(
    checker: Checker, examples: Sequence[Example], progress: Progress = _SILENT
) -> tuple[list[CheckedRow], list[CheckedRow], list[Fault]]:
    """Rows that can be trained on, rows that are only too long, and the faults of all that cannot."""
    rows: list[CheckedRow] = []
    long: list[CheckedRow] = []
    faults: list[Fault] = []
    first, others = examples[:1], examples[1:]
    with progress.bar("looking at rows", len(examples), "rows") as bar, ThreadPoolExecutor(THREADS) as pool:
        # a tokenizer settles how it cuts and pads when it is first asked, and must be alone for that
        for row, fault in chain(map(partial(_checked, checker), first), pool.map(partial(_checked, checker), others)):
            if fault is not None:
                faults.append(fault)
            if row is not None:
                (rows if fault is None else long).append(row)
            bar.advance()
    return rows, long, faults


def _checked(checker: Checker, example: Example) -> tuple[CheckedRow | None, Fault | None]:
    """The row, and what is wrong with it; a row that is only too long is both."""
    row = None
    try:
        (row,) = replace(checker, max_tokens=ENDLESS).check([example])
        if len(row.row.tokens) > checker.max_tokens:
            checker.check([example])
    except RowFaultError as error:
        return row, Fault(error.row, error.kind, error.what, error.hint)
    return row, None


def _lengths(checker: Checker, rows: Sequence[CheckedRow], too_long: int) -> Lengths:
    longest = max(rows, key=lambda row: len(row.row.tokens), default=None)
    if longest is None:
        return Lengths(0, "", checker.max_tokens, too_long)
    return Lengths(len(longest.row.tokens), longest.example.id, checker.max_tokens, too_long)


def _sharing(rows: Sequence[CheckedRow], config: SFTConfig) -> Sharing:
    work = work_of(rows, config.on(gpu=torch.cuda.is_available()))
    # the last token of a row predicts nothing, so it is not computed either way
    return Sharing(round(work.epoch.nodes), work.tokens - work.rows, config.batch)


def _repeated(rows: Sequence[CheckedRow]) -> Alike:
    groups: dict[tuple[int, ...], list[CheckedRow]] = defaultdict(list)
    for row in rows:
        groups[row.row.tokens].append(row)
    more = [group for group in groups.values() if len(group) > 1]
    return replace(_some(more[0]), rows=sum(len(group) - 1 for group in more)) if more else Alike()


def _contradicting(rows: Sequence[CheckedRow]) -> Alike:
    groups: dict[tuple[int, ...], dict[tuple[int, ...], CheckedRow]] = defaultdict(dict)
    asked = Counter(row.row.prompt for row in rows)
    for row in rows:
        groups[row.row.prompt].setdefault(row.row.reply, row)
    apart = {prompt: list(replies.values()) for prompt, replies in groups.items() if len(replies) > 1}
    if not apart:
        return Alike()
    return replace(_some(next(iter(apart.values()))), rows=sum(asked[prompt] for prompt in apart))


def _some(rows: Sequence[CheckedRow]) -> Alike:
    return Alike(len(rows), tuple(row.example.id for row in rows[:2]))


def _chosen(rows: Sequence[CheckedRow]) -> list[tuple[str, CheckedRow]]:
    """Three rows, each with why: of many turns, with a tool call, the longest; else the shortest and the median."""
    if not rows:
        return []
    ordered = sorted(rows, key=lambda row: len(row.row.tokens))
    wanted = [
        ("a conversation of many turns", next((row for row in rows if _has_turns(row)), None)),
        ("a row that calls a tool", next((row for row in rows if row.example.reply.tool_calls), None)),
        ("the longest row", max(rows, key=lambda row: len(row.row.tokens))),
        ("the median row", ordered[len(ordered) // 2]),
        ("the shortest row", ordered[0]),
    ]
    found: dict[str, tuple[str, CheckedRow]] = {}
    for title, row in wanted:
        if row is not None and len(found) < SHOWN:
            found.setdefault(row.example.id, (title, row))
    return sorted(found.values(), key=lambda each: len(each[1].row.tokens))


def _has_turns(row: CheckedRow) -> bool:
    return any(message.role == "assistant" for message in row.example.messages)


def _sample(checker: Checker, title: str, row: CheckedRow) -> Sample:
    prompt, reply = row.row.prompt, row.row.reply
    left_out = max(0, len(prompt) - HEAD - TAIL)
    head, tail = (prompt[:HEAD], prompt[-TAIL:]) if left_out else (prompt, ())
    return Sample(
        title=title,
        row=row.example.id,
        split=row.example.split,
        # a cut may go through the bytes of one character
        head=_decoded(checker, head).rstrip("\N{REPLACEMENT CHARACTER}"),
        left_out=left_out,
        tail=_decoded(checker, tail).lstrip("\N{REPLACEMENT CHARACTER}"),
        reply=_decoded(checker, reply[:-1]),
        stop=_decoded(checker, reply[-1:]),
        prompt_tokens=len(prompt),
        reply_tokens=len(reply),
    )


def _decoded(checker: Checker, tokens: Sequence[int]) -> str:
    """The tokens' own text, special ones included: what is shown is made from what is trained."""
    tokenizer: Any = checker.tokenizer
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
