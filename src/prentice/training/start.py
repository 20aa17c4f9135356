"""Before a run: the base read, every row checked, the model loaded with what is to be trained switched on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer

from prentice.errors import MissingExtraError, TrainingError
from prentice.models.chat import ChatFormat
from prentice.models.floats import quiet
from prentice.records import Example
from prentice.training.attention import obstacle
from prentice.training.check import Checker, stop_ids
from prentice.training.config import EngineConfig
from prentice.training.engine import ForestModel
from prentice.training.faults import many_weights, memory_named
from prentice.training.items import Item
from prentice.training.lora import add_adapter, fuse_adapters
from prentice.training.norms import fuse_norms

SomeTokens = Callable[[str], list[int]]
"""Text → ids, as the inference server tokenises it."""


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Args:
        model: what is trained; weights that need no gradient stay as they are.
        train, val: what to train and to validate on; `val` may be empty.
        where: the rows' file, for errors.
    """

    model: ForestModel
    train: Sequence[Item]
    val: Sequence[Item]
    where: Path


def open_start(
    config: EngineConfig,
    examples: Sequence[Example],
    where: Path,
    base: Path,
    serving_tokens: SomeTokens | None,
    device: torch.device | None = None,
) -> Start:
    """Check every row, then load the model onto `device` (see `open_model`).

    Raises: TrainingError naming the row that cannot be trained, or what keeps the base from being trained.
    """
    rows = open_checker(config.max_tokens, where, base, serving_tokens).check(examples)
    train, val = ([r.item for r in rows if r.example.split == split] for split in ("train", "val"))
    if not train:
        raise TrainingError(f"{where}: none of its {len(rows)} rows is in the split `train`", "curate more episodes")
    return Start(open_model(config, base, device), train, val, where)


def open_checker(max_tokens: int, where: Path, base: Path, serving_tokens: SomeTokens | None = None) -> Checker:
    """What turns examples into rows for this base."""
    tokenizer, settings = _read(base)
    text = settings.get_text_config()
    return Checker(
        tokenizer=tokenizer,
        chat=ChatFormat.from_folder(base),
        max_tokens=min(max_tokens, getattr(text, "max_position_embeddings", max_tokens)),
        stops=stop_ids(tokenizer, base),
        vocabulary=text.vocab_size,
        serving_tokens=serving_tokens,
        where=where,
    )


def is_padded(base: Path) -> bool:
    """Whether layers of this base forbid that rows share prefixes; no weights are read."""
    _, settings = _read(base)
    with torch.device("meta"), quiet():
        return bool(obstacle(AutoModelForCausalLM.from_config(settings)))


def open_model(config: EngineConfig, base: Path, device: torch.device | None = None) -> ForestModel:
    """The base with what is to be trained switched on.

    Args:
        device: where to; None: a GPU, where there is one.
    """
    on_gpu, narrow = torch.cuda.is_available(), config.precision == "bfloat16"
    # trained weights stay float32, or small updates would be rounded away; frozen ones need no more than they use
    dtype = torch.bfloat16 if narrow and config.method != "full" else torch.float32
    with memory_named("when the base was loaded", many_weights(config.section)):
        with quiet():
            lm = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **_in_four_bits(config, dtype))
        model = ForestModel(_prepare(config, lm), narrow=narrow)
        fuse_adapters(model)
        fuse_norms(model)
        return model.to(device or ("cuda" if on_gpu else "cpu"))


def _read(base: Path) -> tuple[Any, Any]:
    """Tokenizer and settings of a transformers folder."""
    try:
        settings = AutoConfig.from_pretrained(base)
        tokenizer = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{base}: {str(error).splitlines()[0]}", "get the base again") from error
    if type(settings) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise TrainingError(
            f"{settings.model_type}: it is no decoder that continues text, so it cannot be trained here"
        )
    return tokenizer, settings


def _in_four_bits(config: EngineConfig, dtype: torch.dtype) -> dict[str, Any]:
    """How transformers is told to hold frozen weights in 4 bits (QLoRA, arXiv:2305.14314: NF4, constants in 8 bits)."""
    if config.method != "qlora":
        return {}
    if not torch.cuda.is_available():
        raise TrainingError(f'{config.section}.method = "qlora" needs a GPU, and none was found', 'set it to "lora"')
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("qlora needs bitsandbytes", 'pip install "prentice[qlora]"') from error
    from transformers import BitsAndBytesConfig

    four = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=dtype,
    )
    return {"quantization_config": four}


def _prepare(config: EngineConfig, lm: Any) -> Any:
    """The model with what is to be trained switched on."""
    torch.manual_seed(config.seed)
    if config.method == "full":
        return lm
    recipe = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return add_adapter(lm, recipe)
