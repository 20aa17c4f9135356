"""A checkpoint becomes files that others can run: merged safetensors, a GGUF file, an Ollama Modelfile, a model card.

The GGUF file is held against torch: the share of validation prompts that both answer alike is measured and reported.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from prentice.config import StageConfig
from prentice.errors import DataError
from prentice.models.chat import ChatFormat
from prentice.models.fetch import sha256_of
from prentice.models.floats import weights_on_full_disk
from prentice.models.hf import HFModel, load
from prentice.models.local import LocalModel
from prentice.progress import Progress
from prentice.records import Checkpoint, Example, Manifest, Record, Request, Sampling
from prentice.runs import folder_atomic, read_record, write_atomic
from prentice.training.card import model_card, modelfile
from prentice.training.gguf import write_gguf

ENOUGH = 0.98
BESIDE_WEIGHTS = (
    "tokenizer*",
    "*.jinja",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
)


class ExportConfig(StageConfig):
    """A trained model as files for llama.cpp and Ollama."""

    quantization: Literal["q8_0", "f16", "bf16", "f32"] = "q8_0"
    """How the GGUF file keeps its weights; `q8_0` is half of `f16` and answers almost always the same."""
    check_rows: int = Field(100, ge=0)
    """Validation prompts that llama.cpp and torch both answer, to be compared."""
    check_tokens: int = Field(32, ge=1)
    """Longest answer that is compared, in tokens."""


class Exported(Record):
    """What an export made; paths are relative to the folder of this record (`export.json`)."""

    version: Literal[1] = 1
    name: str
    gguf: str
    model: str | None
    """The merged safetensors folder; None for an untrained base, which stays where it is."""
    checkpoint: str | None
    """The checkpoint's id; None for an untrained base."""
    quantization: str
    size: int
    """Bytes of the GGUF file."""
    sha256: str
    """Of the GGUF file."""
    rows_checked: int
    equal_answers: float | None
    """Share of the checked prompts that llama.cpp and torch answer alike; None if nothing was checked."""
    equal_prompts: float | None
    """Share of the checked prompts that both turn into the same tokens."""
    seconds: dict[str, float]
    """Of merging, converting and checking."""


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
        out: the folder to make; its name is the model's.
        rows: validation rows whose prompts are asked.
        progress: where the work reports to.
        manifest: of the dataset, for the model card.
        choices: what the replies are held to when the model is used; the check holds both engines to the same.
    Raises: DataError if the checkpoint holds no weights; PrenticeError if the disk is full or llama.cpp has no such
        architecture.
    """
    record = None if checkpoint is None else read_record(Checkpoint, checkpoint / "checkpoint.json")
    seconds: dict[str, float] = {}
    with folder_atomic(out) as scratch, progress.bar(f"export {out.name}", 3, "step") as bar, weights_on_full_disk(out):
        model, begun = base, time.perf_counter()
        if checkpoint is not None and record is not None:
            model = scratch / "model"
            _write_merged(record, checkpoint, base, model)
        seconds["merge"], begun = time.perf_counter() - begun, time.perf_counter()
        bar.advance(now="convert")
        gguf = scratch / f"{out.name}-{config.quantization}.gguf"
        write_gguf(model, gguf, config.quantization, out.name)
        seconds["convert"], begun = time.perf_counter() - begun, time.perf_counter()
        bar.advance(now="check")
        checked = rows[: config.check_rows]
        answers, prompts = _agreement(gguf, model, _requests(checked, choices), config.check_tokens)
        seconds["check"] = time.perf_counter() - begun
        exported = Exported(
            name=out.name,
            gguf=gguf.name,
            model="model" if record else None,
            checkpoint=record.id if record else None,
            quantization=config.quantization,
            size=gguf.stat().st_size,
            sha256=sha256_of(gguf),
            rows_checked=len(checked),
            equal_answers=answers,
            equal_prompts=prompts,
            seconds={key: round(value, 3) for key, value in seconds.items()},
        )
        _write_beside(scratch, exported, model, record, manifest)
        bar.advance(now="done")
    _tell(exported, progress)
    return exported


def _write_merged(record: Checkpoint, checkpoint: Path, base: Path, target: Path) -> None:
    """The trained weights as one plain transformers folder."""
    marker = "adapter_config.json" if record.kind == "adapter" else "config.json"
    found = sorted([*checkpoint.glob(marker), *checkpoint.glob(f"*/{marker}")])
    if not found:
        raise DataError(f"{checkpoint}: a checkpoint of kind {record.kind!r} without {marker}", "train again")
    weights = found[0].parent
    model = load(base) if record.kind == "adapter" else load(weights)
    if record.kind == "adapter":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, weights).merge_and_unload()
    model.save_pretrained(target)
    # the tokenizer's files are copied, not saved again: what is served must split text exactly as training did
    source = weights if (weights / "tokenizer.json").is_file() else base
    for pattern in BESIDE_WEIGHTS:
        for path in source.glob(pattern):
            shutil.copyfile(path, target / path.name)


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
        answers += mine.message.content == theirs.message.content
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
    if exported.equal_answers is None:
        progress.say(f"{size}; not checked against torch: no validation rows")
        return
    said = f"{exported.equal_answers:.1%} of {exported.rows_checked} validation prompts answered as torch does"
    progress.say(f"{size}; {said}")
    if exported.equal_answers < ENOUGH:
        progress.say(
            f'note: below {ENOUGH:.0%}: figures from torch do not hold for this file; try quantization = "f16"'
        )
    if exported.equal_prompts is not None and exported.equal_prompts < 1:
        progress.say(
            f"warning: llama.cpp reads {1 - exported.equal_prompts:.1%} of the prompts as other tokens than torch"
        )
