"""LoRA by peft, without its noise: put on a model, read back, merged into the weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model


def add_adapter(model: Any, config: LoraConfig) -> PeftModel:
    """The model with a fresh adapter on it."""
    with _quiet():
        return get_peft_model(model, config)


def read_adapter(model: Any, folder: Path, *, trainable: bool = False) -> PeftModel:
    """The model with the adapter of `folder` on it."""
    with _quiet():
        return PeftModel.from_pretrained(model, folder, is_trainable=trainable)


def merge_adapter(model: Any, folder: Path) -> Any:
    """The plain model with the adapter of `folder` added into its weights."""
    return read_adapter(model, folder).merge_and_unload()


@contextmanager
def _quiet() -> Iterator[None]:
    # peft asks every model for an attribute that transformers has since renamed; nobody who trains can act on it
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
