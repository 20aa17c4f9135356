"""The configurations of this folder, apart from the code that they configure: reading them must not load torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from prentice.config import StageConfig


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
