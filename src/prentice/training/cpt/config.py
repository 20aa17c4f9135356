"""The settings of [train.cpt], apart from the code: reading them must not load torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from prentice.training.config import EngineConfig, SelectConfig


class CPTConfig(EngineConfig):
    """Continued pretraining on documents."""

    section: ClassVar[str] = "train.cpt"

    documents: tuple[str, ...] = ()
    """What is read: files, folders and patterns such as `handbook/**/*.md`, seen from the project's folder; text,
    Markdown, HTML, or JSON lines with `text` in each (`id` and `title` where they are)."""
    general: tuple[str, ...] = ()
    """Text of another kind, named alike: a part is mixed in against forgetting, another shows what was forgotten."""
    general_share: float = Field(0.1, ge=0, lt=1)
    """Share of the general text among the tokens that are trained on."""
    held_out: float = Field(0.1, ge=0, le=0.5)
    """Share of the documents, and of the general text, that is never trained on, chosen by a hash of what they say: on
    one half the validation loss is computed, on the other the perplexity before and after."""
    faulty: Literal["stop", "skip"] = "stop"
    """What a file or line that is no document does (empty, binary, without `text`): stop the run, or be counted."""

    epochs: float = Field(1, gt=0)
    """Passes over the documents; the last may be a part of one."""
    learning_rate: float = Field(1e-3, gt=0)
    """At its highest; it rises over `warmup` and falls as `schedule` says. Full fine-tuning wants about a tenth."""
    max_tokens: int = Field(1024, ge=8)
    """Length of a packed row, in tokens: documents follow each other in it, a long one goes on in the next."""
    batch: int = Field(4, ge=1)
    """Packed rows per optimizer step."""

    @field_validator("select")
    @classmethod
    def _has_no_cases(cls, select: SelectConfig) -> SelectConfig:
        if select.by == "success":
            raise ValueError('documents have no cases to play: "loss" is all that can choose')
        return select
