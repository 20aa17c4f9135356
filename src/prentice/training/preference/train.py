"""Preference learning: a student, and pairs of replies or thumbs, in; a checkpoint out.

The reference is the student as it comes: its log-probabilities are found before the first step, and again after a kill.
So its weights have to be those of then, which the hashes of their files show.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from prentice.errors import TrainingError
from prentice.models.fetch import sha256_of
from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, ModelSource, Pair, Thumb, digest
from prentice.records.parquet import PAIRS, ROWS, THUMBS, read_rows, rows_hash
from prentice.runs import write_atomic
from prentice.training.items import Item
from prentice.training.preference.config import PreferenceConfig
from prentice.training.preference.items import UNIT, method_of, pair_items, thumb_items
from prentice.training.run import ALONE, Links, Origin, Run, finished_checkpoint
from prentice.training.start import SomeTokens, Start, open_checker, open_model

SEEN = "reference.json"
"""What the reference of an unfinished run was."""
_SILENT = Silent()
Rows = Sequence[Pair] | Sequence[Thumb]


def train_preference(
    config: PreferenceConfig,
    *,
    dataset: Path,
    base: Path,
    out: Path,
    source: ModelSource,
    links: Links = ALONE,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """Train `base` on the pairs or thumbs in folder `dataset`; the same call after a kill goes on where it stood.

    Args:
        config: how to train; its `loss` says which of the two the folder holds.
        dataset: folder that `prentice curate pairs` has made.
        base: transformers folder of the student so far; it is the reference.
        out: gets `checkpoint.json`, `adapter/` or `model/`, and `curve.jsonl`.
        source: where the base came from.
        links: what the run may ask of the world around it.
        progress: where to report.
    Raises: TrainingError if a row or the architecture cannot be trained, the reference is gone, a loss is not a number,
        or memory is short; DataError if the dataset is damaged, or of the other kind.
    """
    rows, where = _read(config, dataset), dataset / ROWS
    return train_preferences(config, rows, where, base=base, out=out, source=source, links=links, progress=progress)


def train_preferences(
    config: PreferenceConfig,
    rows: Rows,
    where: Path,
    *,
    base: Path,
    out: Path,
    source: ModelSource,
    links: Links = ALONE,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """As `train_preference`, with the pairs or thumbs at hand; `where` names them in errors."""
    data = rows_hash(rows)
    name = digest([source.sha256, data, "preference", config.recipe()])
    if (finished := finished_checkpoint(out, name)) is not None:
        return finished
    _see_that_the_reference_is_there(base, out, name, links)
    train, val = _items(config, rows, where, base, links.serving_tokens)
    start = Start(open_model(config, base, links.place), train, val, where)
    run = Run(name, config, method_of(config), start, Origin(base, source, data), out, links, unit=UNIT)
    checkpoint = run.carry_out(progress)
    (out / SEEN).unlink(missing_ok=True)
    return checkpoint


def check_preferences(config: PreferenceConfig, dataset: Path, base: Path, serving_tokens: SomeTokens | None) -> int:
    """See that every pair or thumb can be trained; returns how many rows of the engine there are to train on.

    Raises: TrainingError naming the first that cannot.
    """
    train, _ = _items(config, _read(config, dataset), dataset / ROWS, base, serving_tokens)
    return len(train)


def _read(config: PreferenceConfig, dataset: Path) -> Rows:
    return read_rows(dataset, THUMBS)[1] if config.loss == "kto" else read_rows(dataset, PAIRS)[1]


def _items(
    config: PreferenceConfig, rows: Rows, where: Path, base: Path, serving_tokens: SomeTokens | None
) -> tuple[list[Item], list[Item]]:
    """To train and to validate on."""
    checker = open_checker(config.max_tokens, where, base, serving_tokens)
    thumbs = [row for row in rows if isinstance(row, Thumb)]
    pairs = [row for row in rows if isinstance(row, Pair)]
    if bool(thumbs) == bool(pairs) or bool(thumbs) != (config.loss == "kto"):
        wanted = "thumbs" if config.loss == "kto" else "pairs"
        raise TrainingError(
            f'{where}: {config.section}.loss = "{config.loss}" learns from {wanted}, and it holds {len(pairs)} pairs '
            f"and {len(thumbs)} thumbs",
            "make them with `prentice curate pairs`",
        )

    def items(split: str) -> list[Item]:
        if config.loss == "kto":
            return thumb_items(checker, [thumb for thumb in thumbs if thumb.split == split])
        return pair_items(checker, [pair for pair in pairs if pair.split == split])

    train, val = items("train"), items("val")
    if not train:
        raise TrainingError(f"{where}: none of its {len(rows)} rows is in the split `train`", "curate more episodes")
    return train, val


def _see_that_the_reference_is_there(base: Path, out: Path, name: str, links: Links) -> None:
    """Note what the reference is when a run begins; when it goes on, see that it still is.

    Raises: TrainingError if its folder is gone, or its weights are not those with which the run began.
    """
    weights = sorted(base.glob("*.safetensors"))
    if not (base / "config.json").is_file() or not weights:
        raise TrainingError(
            f"{base}: the reference model is gone: no weights are there", "put it back, or train again what made it"
        )
    now = {"run": name, "files": {file.name: sha256_of(file) for file in weights}}
    note = out / SEEN
    before = json.loads(note.read_text(encoding="utf-8")) if note.exists() else now
    if before["run"] == name and before["files"] != now["files"]:
        raise TrainingError(
            f"{base}: its weights are not those with which this run began, so it is another reference",
            f"put them back, or begin anew: remove {out}",
        )
    if links.accelerator is None or links.accelerator.is_main_process:
        write_atomic(note, json.dumps(now))
