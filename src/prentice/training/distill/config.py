"""The settings of [train.distill], apart from the code: reading them must not load torch."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from prentice.training.config import EngineConfig


class DistillConfig(EngineConfig):
    """Learning from what a larger model of the same vocabulary thinks."""

    section: ClassVar[str] = "train.distill"

    teacher: str = ""
    """Who is learnt from: a name of `prentice models list`, or a folder with a transformers model, seen from the
    project's folder. Default: the student as the methods before have left it, whose cut then imitates the whole."""
    layers: int = Field(0, ge=0)
    """Layers of the student, cut out of the model that it starts from; 0: all."""
    keep: tuple[int, ...] = ()
    """Which of them, counted from 0. Default: spread evenly, first and last included."""
    alpha: float = Field(1.0, ge=0, le=1)
    """Share of the teacher's probabilities in the loss; the rest is that of the rows' own tokens. 0: text alone."""
    divergence: Literal["forward_kl", "reverse_kl", "jensen_shannon"] = "forward_kl"
    """How the student's probabilities are held against the teacher's."""
    beta: float = Field(0.5, gt=0, lt=1)
    """The teacher's weight in the mixture of `jensen_shannon`."""
    top_k: int = Field(32, ge=1)
    """Tokens whose probability is kept at each place; all others are one."""
    context: bool = False
    """Learn what the teacher thinks of the prompts too, from where they no longer begin alike. Replies are a few
    tokens of a row; a student that has lost layers has to learn to read again."""
    on_policy: float = Field(0.0, ge=0, le=1)
    """Share of the rows whose reply the student writes itself, as it is at that step, for the teacher to score."""
    temperature: float = Field(1.0, gt=0)
    """Of these replies."""
    reply_tokens: int = Field(64, ge=1)
    """Longest of these replies."""
    hidden: float = Field(0.0, ge=0)
    """Weight of the distance between the hidden states of student and teacher at the supervised tokens; 0: not
    compared. Needs the teacher in memory while training."""
    epochs: float = Field(4, gt=0)
    """Passes over the training rows; the last may be a part of one."""
    learning_rate: float = Field(2e-4, gt=0)
    """At its highest; it rises over `warmup` and falls as `schedule` says."""
    method: Literal["lora", "qlora", "full"] = "full"
    """What is trained: all weights, or adapters, which are too few to heal a model that has lost half of its layers."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.on_policy and self.alpha < 1:
            raise ValueError(
                f"on_policy = {self.on_policy:g} needs alpha = 1, and it is {self.alpha:g}: the rest would teach the "
                "student its own words"
            )
        if self.context and (self.alpha < 1 or self.on_policy):
            raise ValueError(
                f"context needs alpha = 1 and on_policy = 0, and they are {self.alpha:g} and {self.on_policy:g}: the "
                "prompts are not the student's to write"
            )
        if self.layers and self.method != "full":
            raise ValueError(
                f'layers = {self.layers} needs method = "full", and it is "{self.method}": an adapter lies on its '
                "base, and nobody else has the cut one"
            )
        if self.keep and len(set(self.keep)) != self.layers:
            raise ValueError(f"keep names {len(set(self.keep))} layers, and layers = {self.layers}")
        return self
