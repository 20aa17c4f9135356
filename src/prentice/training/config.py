"""The configurations of this folder, apart from the code that they configure: reading them must not load torch."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from prentice.config import StageConfig

AT_ONCE, AT_ONCE_GPU = 1024, 8192
"""Tokens computed at once. On two cores 8 192 take a third longer than 1 024, since a quarter of their time goes into
pages of memory that are fetched and given back (docs/log.md, 2026-11-28). A GPU has to be kept busy."""
CHANGES_NOTHING = frozenset({"save_seconds", "micro_tokens"})
"""Settings that change time and memory, but nothing that is learnt."""


class ExportConfig(StageConfig):
    """A trained model as files for llama.cpp and Ollama."""

    quantization: Literal["q8_0", "f16", "bf16", "f32"] = "q8_0"
    """How the GGUF file keeps its weights; `q8_0` is half of `f16` and answers almost always the same."""
    check_rows: int = Field(100, ge=0)
    """Validation prompts that llama.cpp and torch both answer, to be compared."""
    check_tokens: int = Field(32, ge=1)
    """Longest answer that is compared, in tokens."""
    name: str = ""
    """How the exported model is called; default: the base's name with `-student` behind it."""


class SelectConfig(StageConfig):
    """Which of the weights that a run passes through are kept, and when it has learnt enough."""

    by: Literal["loss", "success"] = "loss"
    """What is best on the validation rows: the least loss, or the most `success` when the student plays their cases."""
    cases: int = Field(50, ge=1)
    """For `success`: most validation cases that are played each time."""
    patience: int = Field(0, ge=0)
    """Validations in a row without a better one after which the run stops; 0: it goes to its end."""


class LaunchConfig(StageConfig):
    """How many processes train together."""

    processes: int = Field(1, ge=1)
    """Processes on this machine, one a GPU where there are GPUs; the result is that of one process."""
    accelerate: str = ""
    """A configuration file of `accelerate`, seen from the project's folder, as `accelerate config` writes it: FSDP,
    several machines. It then says how many processes there are."""


class EngineConfig(StageConfig):
    """What every training method has to be told."""

    section: ClassVar[str] = "train"
    """Where it stands in `prentice.toml`."""

    epochs: float = Field(3, gt=0)
    """Passes over the training rows; the last may be a part of one."""
    learning_rate: float = Field(1e-3, gt=0)
    """At its highest; it rises over `warmup` and falls as `schedule` says. Full fine-tuning wants about a tenth."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate goes on after `warmup`: down to 0 along a cosine or a line, or not down at all."""
    method: Literal["lora", "qlora", "full"] = "lora"
    """Train low-rank adapters on every linear layer, the same over weights held in 4 bits (qlora), or all weights."""
    lora_rank: int = Field(16, ge=1)
    lora_alpha: float = Field(32, gt=0)
    """Adapters are scaled by `lora_alpha / lora_rank`."""
    max_tokens: int = Field(2048, ge=8)
    """Longest row, in tokens after the chat template; a longer one stops the run before it starts, none is cut."""
    batch: int = Field(32, ge=1)
    """Rows per optimizer step."""
    micro_tokens: int = Field(0, ge=0)
    """Tokens computed at once, beside those with which all of them begin; a step with more is accumulated, which
    changes memory and time but no result. 0: 1024 on a processor, whose caches and pages slow down larger ones, and
    8192 on a GPU. The longest row is computed whole whatever is set."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    select: SelectConfig = SelectConfig()
    """Which weights are kept."""
    seed: int = Field(0, ge=0)
    """Start of the adapters and order of the rows."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products; bfloat16 is about twice as fast where the processor has it, and rounds."""
    save_seconds: float = Field(30.0, ge=0)
    """Least time between two saved states, from which a killed run goes on."""

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what is learnt, for records and ids."""
        return self.model_dump(mode="json", exclude=set(CHANGES_NOTHING))

    def on(self, *, gpu: bool) -> Self:
        """The same with what it leaves to the machine filled in."""
        return self.model_copy(update={"micro_tokens": self.micro_tokens or (AT_ONCE_GPU if gpu else AT_ONCE)})


class SFTConfig(EngineConfig):
    """Supervised fine-tuning of a student on curated examples."""

    section: ClassVar[str] = "train.sft"

    weights: Literal["rows", "quality", "importance"] = "rows"
    """What a row's weight does: multiplies its loss (rows), or how often it is drawn (quality). `importance` multiplies
    its loss besides by how much likelier the student has made it than its base did (arXiv:2507.12856)."""
