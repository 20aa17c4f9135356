"""A checkpoint becomes files that others can run: merged safetensors, a GGUF file, an Ollama Modelfile, a model card.

The GGUF file is held against torch: the share of validation prompts that both answer alike is measured and reported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prentice.errors import DataError
from prentice.models.chat import ChatFormat
from prentice.models.fetch import sha256_of
from prentice.models.floats import copy_beside, quiet, weights_on_full_disk
from prentice.models.hf import HFModel, load
from prentice.models.local import LocalModel
from prentice.progress import Bar, Progress
from prentice.records import Checkpoint, Example, Exported, Manifest, Request, Sampling
from prentice.runs import folder_atomic, read_record, write_atomic
from prentice.training.card import model_card, modelfile
from prentice.training.config import ExportConfig
from prentice.training.gguf import write_gguf
from prentice.training.lora import low_rank, merge_adapter

ENOUGH = 0.98
ADAPTER, FULL = "adapter_config.json", "config.json"
"""The files that show where a checkpoint's weights lie."""


def export(
    config: ExportConfig,
    *,
    checkpoint: Path | None,
    base: Path,
    out: Path,
    rows: Sequence[Example],
    progress: Progress,
    manifest: Manifest | None = None,
    choices: tuple[str, ...] = (),
) -> Exported:
    """Write a checkpoint, or the base itself, to `out`: there whole or not at all.

    Args:
        config: quantisation and how much is checked.
        checkpoint: folder with `checkpoint.json`; None exports the base.
        base: the base's transformers folder.
        out: the folder to make; an untrained base is called after it.
        rows: validation rows whose prompts are asked.
        progress: where the work reports to.
        manifest: of the dataset, for the model card.
        choices: what the replies are held to when the model is used; the check holds both engines to the same.
    Raises: DataError if the checkpoint holds no weights; PrenticeError if the disk is full or llama.cpp has no such
        architecture.
    """
    record = None if checkpoint is None else read_record(Checkpoint, checkpoint / "checkpoint.json")
    name = config.name or (f"{record.base.name}-student" if record else out.name)
    with folder_atomic(out) as scratch, progress.bar(f"export {name}", 3, "step") as bar, weights_on_full_disk(out):
        steps = _Steps(bar)
        model = base
        if checkpoint is not None and record is not None:
            model = write_merged(checkpoint, base, scratch / "model")
        steps.done("merge")
        gguf = scratch / f"{name}-{config.quantization}.gguf"
        write_gguf(model, gguf, config.quantization, name)
        steps.done("convert")
        agreement = _agreement(gguf, model, _requests(rows[: config.check_rows], choices), config.check_tokens)
        steps.done("check")
        exported = Exported(
            name=name,
            gguf=gguf.name,
            model="model" if record else None,
            checkpoint=record.id if record else None,
            quantization=config.quantization,
            size=gguf.stat().st_size,
            sha256=sha256_of(gguf),
            rows_checked=min(len(rows), config.check_rows),
            agreement=agreement[0],
            equal_prompts=agreement[1],
            seconds=steps.seconds,
        )
        _write_beside(scratch, exported, model, record, manifest)
    _tell(exported, progress)
    return exported


class _Steps:
    """Seconds of each step, told to the bar as they end."""

    def __init__(self, bar: Bar) -> None:
        self.seconds: dict[str, float] = {}
        self._bar, self._begun = bar, time.perf_counter()

    def done(self, step: str) -> None:
        """The step that began when the last one ended has ended."""
        now = time.perf_counter()
        self.seconds[step] = round(now - self._begun, 3)
        self._begun = now
        self._bar.advance(done=step)


def write_merged(checkpoint: Path, base: Path, target: Path) -> Path:
    """The trained weights of a checkpoint's folder as one plain transformers folder; returns `target`.

    Raises: DataError if the folder holds no weights, or an adapter for another base.
    """
    weights, is_adapter = _weights(checkpoint)
    model = merge_adapter(load(base), weights) if is_adapter else load(weights)
    with quiet():
        model.save_pretrained(target)
    copy_beside(weights if (weights / "tokenizer.json").is_file() else base, target)
    return target


def write_player(checkpoint: Path, base: Path, gguf: Path, quantization: str) -> Path:
    """The weights of a run that is underway as a file for llama.cpp, in a folder of its own; returns `gguf`.

    What `write_merged` and `write_gguf` give one after the other; a plain adapter needs no merged model on disk.

    Raises: as they do.
    """
    weights, is_adapter = _weights(checkpoint)
    added = low_rank(weights, base) if is_adapter else None
    model = write_merged(checkpoint, base, gguf.parent / "model") if added is None else base
    write_gguf(model, gguf, quantization, "student", added)
    return gguf


def _weights(checkpoint: Path) -> tuple[Path, bool]:
    """The folder with a checkpoint's weights, and whether they are an adapter."""
    adapter, full = (sorted([*checkpoint.glob(marker), *checkpoint.glob(f"*/{marker}")]) for marker in (ADAPTER, FULL))
    if not (adapter or full):
        raise DataError(f"{checkpoint}: no weights: neither {ADAPTER} nor {FULL}", "train again")
    return (adapter or full)[0].parent, bool(adapter)


def _requests(rows: Sequence[Example], choices: tuple[str, ...]) -> list[Request]:
    return [Request(function="check", messages=row.messages, tools=row.tools, choices=choices) for row in rows]


def _agreement(gguf: Path, model: Path, requests: Sequence[Request], tokens: int) -> tuple[float | None, float | None]:
    """Shares of the prompts with equal greedy answers, and with equal tokens, in llama.cpp and torch."""
    if not requests:
        return None, None
    return asyncio.run(_compare(LocalModel(gguf), HFModel(model), requests, Sampling(max_tokens=tokens)))


async def _compare(
    served: LocalModel, trained: HFModel, requests: Sequence[Request], sampling: Sampling
) -> tuple[float, float]:
    answers = prompts = 0
    for request in requests:
        text = trained.chat.prompt(request.messages, request.tools)
        prompts += served.tokens(text) == trained.tokens(text)
        mine, theirs = await served.generate(request, sampling), await trained.generate(request, sampling)
        answers += mine.message == theirs.message
    await served.close()
    await trained.close()
    return answers / len(requests), prompts / len(requests)


def _write_beside(
    folder: Path, exported: Exported, model: Path, record: Checkpoint | None, manifest: Manifest | None
) -> None:
    facts: dict[str, Any] = exported.model_dump(mode="json")
    write_atomic(folder / "Modelfile", modelfile(exported.gguf, ChatFormat.from_folder(model)))
    write_atomic(folder / "README.md", model_card(facts, record, manifest))
    write_atomic(folder / "export.json", exported.model_dump_json(indent=2))


def _tell(exported: Exported, progress: Progress) -> None:
    size = f"{exported.gguf}: {exported.size / 1e6:.0f} MB"
    if exported.checkpoint is None:
        progress.say(size)
        return
    if exported.agreement is None:
        progress.say(f"{size}; not checked against torch: no validation rows")
        return
    said = f"{exported.agreement:.1%} of {exported.rows_checked} validation prompts answered as torch does"
    progress.say(f"{size}; {said}")
    if exported.agreement < ENOUGH:
        finer = "" if exported.quantization == "f16" else '; try quantization = "f16"'
        progress.say(f"note: below {ENOUGH:.0%}: figures from torch do not hold for this file{finer}")
    if exported.equal_prompts is not None and exported.equal_prompts < 1:
        progress.say(
            f"warning: llama.cpp reads {1 - exported.equal_prompts:.1%} of the prompts as other tokens than torch"
        )
