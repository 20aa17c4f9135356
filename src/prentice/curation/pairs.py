"""Episodes → pairs: which of two replies to one prompt is better; or → thumbs: what a reply is worth by itself.

Edits → episodes of one case → critic, in this order: of pairs that say the contrary, a person's stays and others both
go. Then the same pair again → most of a case → split. Every reply that came in stands in a pair or is counted under
the reason why not. As all of curation this sees episodes and the student's prompts, never an answer key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, JsonValue, field_validator

from prentice.config import StageConfig
from prentice.curation.critic import CriticConfig
from prentice.curation.expression import Expression
from prentice.curation.limits import val_cases
from prentice.curation.material import Material, dropped, place_of
from prentice.curation.parting import ALIKE, Candidate
from prentice.errors import ConfigError, DataError
from prentice.records import Ledger, Manifest, Pair, PairSource, digest
from prentice.records.parquet import PAIRS, rows_hash, write_rows

CONTRADICTED = "another pair says the contrary"
AGAIN = "the same pair again"
MORE = "over per_case"
ELSEWHERE, UNEDITED = "not where attempts part ways", "nobody wrote another one"


class PairsConfig(StageConfig):
    """What preference learning learns from: pairs of replies, or thumbs."""

    sources: tuple[PairSource, ...] = ("episodes", "edits")
    """Who says which reply is better: what came of the attempts at one case (episodes), people who wrote a better reply
    (edits), a model (critic)."""
    better: str = "success"
    """What makes one attempt better than another, over an episode's metrics and facts as in `curate.keep`; more is
    better, and yes is more than no."""
    where: tuple[str, ...] = ()
    """Stored episodes that take part besides the teacher's rollout, as `prentice episodes list --where` names them,
    such as `["run=…"]`; none of the split test."""
    student_tries: int = Field(0, ge=0)
    """Attempts of the student, as it is before this step, at each training case: what it gets wrong itself teaches it
    most. 0: none."""
    student_cases: int = Field(0, ge=0)
    """How many training cases it attempts, from the first on; 0: all."""
    student_temperature: float = Field(1.0, ge=0)
    """Of these attempts."""
    per_case: int = Field(4, ge=1)
    """Most pairs of one case, those that came up most often first."""
    val_share: float = Field(0.1, ge=0, lt=1)
    """Share of the cases set aside to choose the checkpoint; with the `seed` of `curate` the same cases as there."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides every random choice."""
    critic: CriticConfig = CriticConfig()
    """The model that judges, for `sources = ["critic"]`."""

    @field_validator("better")
    @classmethod
    def _can_be_parsed(cls, text: str) -> str:
        try:
            Expression(text, "expression")
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return text

    def content(self) -> dict[str, JsonValue]:
        """The settings that decide which pairs come out."""
        return self.model_dump(mode="json", exclude={"critic": {"concurrency", "budget_usd"}})


@dataclass(frozen=True)
class Chosen:
    """The candidates that stay, of each case."""

    candidates: Sequence[Candidate]
    cases: Counter[str]


def curate_pairs(
    config: PairsConfig, material: Material, candidates: Sequence[Candidate], out: Path, notes: Sequence[str] = ()
) -> Manifest:
    """Write the pairs that are worth learning from to the folder `out`, whole or not at all.

    Args:
        candidates: of every source.
        notes: what else is to be known of them.
    Raises: DataError if none is left, saying what to do.
    """
    chosen = _choose(material, candidates, config.per_case)
    val = val_cases(chosen.cases, chosen.cases.keys() & material.val, config.val_share, config.seed)
    pairs = [_pair(candidate, val) for candidate in chosen.candidates]
    for candidate in chosen.candidates:
        material.used |= {place_of(candidate.better), place_of(candidate.worse)}
    ledger = material.ledger(UNEDITED if config.sources == ("edits",) else ELSEWHERE)
    if not any(pair.split == "train" for pair in pairs):
        raise _no_pairs(dropped(ledger), len(ledger))
    splits = Counter(pair.split for pair in pairs)
    manifest = Manifest(
        hash=rows_hash(pairs),
        ledger=Ledger(rows_in=len(ledger), kept=len(ledger) - sum(dropped(ledger).values()), dropped=dropped(ledger)),
        splits={name: splits[name] for name in ("train", "val") if splits[name]},
        config=config.model_dump(mode="json"),
        runs=material.runs,
        demonstrations=sum(pair.source == "edits" for pair in pairs),
        notes=tuple(notes),
    )
    write_rows(out, PAIRS, pairs, ledger, manifest)
    return manifest


def _choose(material: Material, candidates: Sequence[Candidate], per_case: int) -> Chosen:
    """Drop contradictions and repetitions, then leave the most frequent of each case."""
    left = _agreeing(material, candidates)
    often = Counter(candidate.key for candidate in left)
    seen: set[tuple[object, ...]] = set()
    cases: Counter[str] = Counter()
    kept: list[Candidate] = []
    # sorting is stable: edits stay before others, and earlier attempts before later ones
    for candidate in sorted(left, key=lambda c: (c.source != "edits", -often[c.key])):
        case = candidate.better.example.case
        reason = AGAIN if candidate.key in seen else MORE if cases[case] == per_case else ""
        seen.add(candidate.key)
        if reason:
            _lose(material, candidate, reason)
        else:
            cases[case] += 1
            kept.append(candidate)
    return Chosen(sorted(kept, key=lambda c: (c.better.example.case, c.better.example.turn)), cases)


def _agreeing(material: Material, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other contradicts; an edit stays against all but another edit."""
    edits = {candidate.key for candidate in candidates if candidate.source == "edits"}
    every = {candidate.key for candidate in candidates}
    left: list[Candidate] = []
    for candidate in candidates:
        if candidate.opposite in (edits if candidate.source == "edits" else every):
            _lose(material, candidate, CONTRADICTED)
        else:
            left.append(candidate)
    return left


def _lose(material: Material, candidate: Candidate, reason: str) -> None:
    material.lose(candidate.better, reason)
    material.lose(candidate.worse, reason)


def _pair(candidate: Candidate, val: set[str]) -> Pair:
    better, worse = candidate.better.example, candidate.worse.example
    return Pair(
        id=digest([better.id, worse.id, candidate.source])[:16],
        episodes=tuple(dict.fromkeys((better.episode, worse.episode))),
        case=better.case,
        turn=better.turn,
        split="val" if better.case in val else "train",
        messages=better.messages,
        tools=better.tools,
        chosen=better.reply,
        rejected=worse.reply,
        source=candidate.source,
        reason=candidate.reason,
    )


def _no_pairs(reasons: dict[str, int], replies: int) -> DataError:
    if not replies:
        return DataError("no pairs: no episodes came in", "play some first with `prentice rollout`")
    counts = ", ".join(f"{count:,}: {reason}" for reason, count in reasons.items())
    hint = "let cases be tried more often: rollout.tries = 4, or pairs.student_tries = 4 for the student's own mistakes"
    if set(reasons) <= {ALIKE, "its case has successes only"}:
        hint += "; successes alone are what `prentice train sft` is for"
    return DataError(f"no pairs to learn from in {replies:,} replies ({counts})", hint)
