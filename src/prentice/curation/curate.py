"""Episodes → dataset, in one fixed order; every row that came in is kept or counted under the reason it was dropped.

Failed → keep → rejected → best of case → keep turns → exact duplicates → near duplicates → conflicts → cap per reply →
most rows → split. What was demonstrated passes all that chooses among the policies' own replies, and comes first where
rows exclude each other.
Curation sees episodes and the student's prompts. It never sees an answer key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from prentice.config import StageConfig
from prentice.curation.duplicates import drop_conflicts, drop_exact, drop_near
from prentice.curation.expression import Expression
from prentice.curation.limits import drop_over_reply_cap, drop_over_total, split_rows, val_cases
from prentice.curation.rows import Render, Row, demonstrated, make_row, still_in
from prentice.curation.selection import (
    AGAIN,
    Attempt,
    attempts_of,
    drop_failed,
    drop_rejected,
    drop_rejected_turns,
    drop_second_best,
    drop_unwanted,
    drop_unwanted_turns,
)
from prentice.curation.weights import weigh
from prentice.errors import ConfigError, DataError
from prentice.progress import Progress, Silent
from prentice.records import Episode, Ledger, Manifest
from prentice.records.parquet import KEPT, LedgerRow, rows_hash, write_dataset

_SILENT = Silent()


class CurateConfig(StageConfig):
    """Which of the recorded work the student learns from."""

    keep: str = "success"
    """What an episode must satisfy, over its metrics and the facts tries, agreement, turns, attempt, output_tokens,
    failed, judged; e.g. `success and output_tokens < 50`, or without any label `agreement == 1 and tries >= 3`. A turn
    whose right reply was demonstrated is learnt from in any case, with that reply."""
    keep_turns: str = ""
    """What a turn of a kept episode must satisfy besides, over the metrics of that turn, its `function` and all that
    `keep` may name; e.g. `path_after < path_before`. Empty: all turns of a kept episode stay."""
    rejected: Literal["drop", "keep"] = "drop"
    """Episodes and turns that a person rejected: drop them, or leave them to `keep` and `keep_turns` (keep)."""
    best_per_case: int | None = Field(1, ge=0)
    """Attempts kept of each case; 0 keeps all."""
    rank_by: str | None = None
    """What makes an attempt better, highest first: a metric or an expression; without it, and in ties, the earliest."""
    weight_by: str | None = None
    """How much a row counts in training (`train.sft.weights` says in which way): a number above 0, a metric or an
    expression over what `keep_turns` may name; without it all count alike."""
    dedupe: Literal["exact", "near", "off"] = "exact"
    """Drop rows with the same prompt and reply (exact), also those whose last user message nearly repeats (near)."""
    conflicts: Literal["majority", "off"] = "majority"
    """Where the same prompt got different ones of given choices: keep the majority's, or all (off)."""
    near_threshold: float = Field(0.8, gt=0, le=1)
    """For near: the share of common 5-character pieces from which on two messages are the same."""
    max_per_reply: int | None = Field(None, ge=0)
    """Most rows with the same reply, so that frequent answers do not drown the rare; 0 is no limit."""
    max_rows: int | None = Field(None, ge=0)
    """Most rows in all; 0 is no limit."""
    val_share: float = Field(0.1, ge=0, lt=1)
    """Share of the cases set aside to choose the checkpoint; unused where the task has validation cases of its own."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides every random choice."""

    @field_validator("keep", "keep_turns", "rank_by", "weight_by")
    @classmethod
    def _can_be_parsed(cls, text: str | None, info: ValidationInfo) -> str | None:
        unset = "" if info.field_name == "keep_turns" else None
        try:
            _ = None if text in (None, unset) else Expression(text or "", "expression")
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return text


def curate(
    config: CurateConfig, episodes: Iterable[Episode], *, render: Render, out: Path, progress: Progress = _SILENT
) -> Manifest:
    """Make a dataset of the episodes worth learning from, and write it to the folder `out`, whole or not at all.

    The same episodes in any order give the same bytes.

    Args:
        render: gives the student's prompt for a prompt's name and inputs.
    Raises: DataError if an episode is of the test split or nothing is kept; ConfigError if `keep` or `rank_by` name
        what no episode has; PrenticeError if the disk is full.
    """
    attempts = attempts_of(episodes)
    good = drop_unwanted(drop_failed(attempts), Expression(config.keep, "keep"))
    chosen = drop_rejected(good) if config.rejected == "drop" else good
    if config.best_per_case:
        rank_by = None if config.rank_by is None else Expression(config.rank_by, "rank_by")
        chosen = drop_second_best(chosen, config.best_per_case, rank_by)
    rows = _render(attempts, render, progress)
    wanted = drop_rejected_turns(attempts, rows) if config.rejected == "drop" else still_in(rows)
    if config.keep_turns:
        wanted = drop_unwanted_turns(chosen, rows, Expression(config.keep_turns, "keep_turns"))
    kept = _thin_out(wanted, config)
    given = {a.episode.case for a in attempts if a.episode.split == "val"}
    in_given = {row.example.case for row in kept} & given
    split_rows(kept, val_cases(Counter(row.example.case for row in kept), in_given, config.val_share, config.seed))
    if config.weight_by is not None:
        weigh(attempts, kept, Expression(config.weight_by, "weight_by"))
    ledger = _ledger(attempts, rows)
    if not kept:
        raise _nothing_kept(config.keep, len(good), len(attempts), ledger)
    if all(row.example.split == "val" for row in kept):
        raise DataError(f"nothing kept to train on: all {len(kept)} kept rows are of the task's own split 'val'")
    manifest = _manifest(config, attempts, kept, ledger)
    write_dataset(out, [row.example for row in kept], ledger, manifest)
    return manifest


def _render(attempts: Sequence[Attempt], render: Render, progress: Progress) -> list[Row]:
    """Every turn of the attempts that are still in, and of the others what was demonstrated."""
    rows: list[Row] = []
    with progress.bar("curate", len(attempts), "episodes") as bar:
        for attempt in attempts:
            episode = attempt.episode
            shown = {} if attempt.fate == AGAIN else demonstrated(episode)
            turns = sorted(shown) if attempt.fate else range(len(episode.turns))
            rows += [make_row(episode, number, shown.get(number), render) for number in turns]
            bar.advance()
    return rows


def _thin_out(rows: list[Row], config: CurateConfig) -> list[Row]:
    left = rows
    if config.dedupe != "off":
        left = drop_exact(left)
    if config.dedupe == "near":
        left = drop_near(left, config.near_threshold, config.seed)
    if config.conflicts == "majority":
        left = drop_conflicts(left, votes=rows)
    if config.max_per_reply:
        left = drop_over_reply_cap(left, config.max_per_reply, config.seed)
    if config.max_rows:
        left = drop_over_total(left, config.max_rows, config.seed)
    return left


def _ledger(attempts: Sequence[Attempt], rows: Sequence[Row]) -> list[LedgerRow]:
    fates: dict[tuple[str, int | None], str] = {
        (row.example.episode, row.example.turn): row.fate or KEPT for row in rows
    }
    lines: list[LedgerRow] = []
    for attempt in attempts:
        e = attempt.episode
        for turn in range(len(e.turns)) if e.turns else [None]:
            fate = attempt.fate if attempt.fate == AGAIN else fates.get((e.id, turn), attempt.fate)
            lines.append(LedgerRow(episode=e.id, turn=turn, case=e.case, fate=fate))
    return lines


def _manifest(
    config: CurateConfig, attempts: Sequence[Attempt], kept: Sequence[Row], ledger: Sequence[LedgerRow]
) -> Manifest:
    dropped = _dropped(ledger)
    splits = Counter(row.example.split for row in kept)
    choice_lists = dict.fromkeys(turn.request.choices for a in attempts for turn in a.episode.turns)
    choices = dict.fromkeys(choice for choices in choice_lists for choice in choices)
    shown = {row.example.reply.content.strip() for row in kept}
    return Manifest(
        hash=rows_hash([row.example for row in kept]),
        ledger=Ledger(rows_in=len(ledger), kept=len(kept), dropped=dropped),
        splits={name: splits[name] for name in ("train", "val") if splits[name]},
        config=config.model_dump(mode="json"),
        runs=tuple(sorted({a.episode.run for a in attempts})),
        demonstrations=sum(row.shown for row in kept),
        replies_without_rows=tuple(choice for choice in choices if choice.strip() not in shown),
    )


def _dropped(ledger: Sequence[LedgerRow]) -> dict[str, int]:
    return dict(Counter(line.fate for line in ledger if line.fate != KEPT).most_common())


def _nothing_kept(keep: str, good: int, came_in: int, ledger: Sequence[LedgerRow]) -> DataError:
    if not came_in:
        return DataError("nothing kept: no episodes came in", "play some first with `prentice rollout`")
    counts = ", ".join(f"{count} rows: {reason}" for reason, count in _dropped(ledger).items())
    hint = "play more cases, or loosen `curate.keep`" if not good else "loosen the other settings of `curate`"
    return DataError(f"nothing kept: {good} of {came_in} episodes satisfied `{keep}`; {counts}", hint)
