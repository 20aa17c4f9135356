"""How large models are: the few numbers from which weights, products and activations follow. No model is loaded."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prentice.errors import DataError, UnknownNameError

TWO_MATRICES = frozenset({"falcon", "gpt_neox", "nemotron", "phi", "starcoder2"})
"""Kinds of model whose feed-forward layer has two matrices instead of a gate and two."""
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True)
class Shape:
    """A decoder of equal layers.

    Args:
        name: how it is called.
        layers: how many.
        hidden: width of the residual stream.
        intermediate: width inside the feed-forward layer.
        heads, kv_heads, head_dim: queries, keys (and values) of a layer, and the width of each.
        vocabulary: tokens it knows.
        tied: whether the embedding is the output projection too.
        source: where the numbers were read.
        matrices: of a feed-forward layer.
    """

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    source: str
    matrices: int = 3

    @property
    def asked(self) -> int:
        """Width of all queries of a layer."""
        return self.heads * self.head_dim

    @property
    def kept(self) -> int:
        """Width of all keys of a layer; of its values too."""
        return self.kv_heads * self.head_dim

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of each linear layer of one decoder layer."""
        wide, inner = self.hidden, self.intermediate
        attention = ((wide, self.asked), (wide, self.kept), (wide, self.kept), (self.asked, wide))
        return (*attention, *[(wide, inner)] * (self.matrices - 1), (inner, wide))

    @property
    def layer(self) -> int:
        """Weights in the linear layers of one decoder layer."""
        return sum(into * out for into, out in self.linears)

    @property
    def embeddings(self) -> int:
        """Weights of the embedding, and of the output projection where it is another matrix."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def weights(self) -> int:
        """All weights; biases and the norms of single heads, a thousandth at most, are left out."""
        norms = self.hidden * (2 * self.layers + 1)
        return self.layers * self.layer + self.embeddings + norms

    def adapters(self, rank: int) -> int:
        """Weights of low-rank adapters on every linear layer."""
        return self.layers * rank * sum(into + out for into, out in self.linears)


_TABLE = (
    # name, layers, hidden, intermediate, heads, kv heads, width of a head, vocabulary, tied, repository
    ("smollm2-135m", 30, 576, 1536, 9, 3, 64, 49_152, True, "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ("smollm2-360m", 32, 960, 2560, 15, 5, 64, 49_152, True, "HuggingFaceTB/SmolLM2-360M-Instruct"),
    ("smollm2-1.7b", 24, 2048, 8192, 32, 32, 64, 49_152, True, "HuggingFaceTB/SmolLM2-1.7B-Instruct"),
    ("qwen2.5-0.5b", 24, 896, 4864, 14, 2, 64, 151_936, True, "Qwen/Qwen2.5-0.5B-Instruct"),
    ("qwen2.5-1.5b", 28, 1536, 8960, 12, 2, 128, 151_936, True, "Qwen/Qwen2.5-1.5B-Instruct"),
    ("qwen2.5-7b", 28, 3584, 18_944, 28, 4, 128, 152_064, False, "Qwen/Qwen2.5-7B-Instruct"),
    ("qwen3-0.6b", 28, 1024, 3072, 16, 8, 128, 151_936, True, "Qwen/Qwen3-0.6B"),
    ("qwen3-4b", 36, 2560, 9728, 32, 8, 128, 151_936, True, "Qwen/Qwen3-4B"),
    ("qwen3-8b", 36, 4096, 12_288, 32, 8, 128, 151_936, False, "Qwen/Qwen3-8B"),
    ("llama-3.2-1b", 16, 2048, 8192, 32, 8, 64, 128_256, True, "meta-llama/Llama-3.2-1B-Instruct"),
    ("llama-3.2-3b", 28, 3072, 8192, 24, 8, 128, 128_256, True, "meta-llama/Llama-3.2-3B-Instruct"),
    ("llama-3.1-8b", 32, 4096, 14_336, 32, 8, 128, 128_256, False, "meta-llama/Llama-3.1-8B-Instruct"),
    ("llama-3.1-70b", 80, 8192, 28_672, 64, 8, 128, 128_256, False, "meta-llama/Llama-3.1-70B-Instruct"),
    ("mistral-7b", 32, 4096, 14_336, 32, 8, 128, 32_768, False, "mistralai/Mistral-7B-Instruct-v0.3"),
    ("gemma-2-2b", 26, 2304, 9216, 8, 4, 256, 256_000, True, "google/gemma-2-2b-it"),
    ("gemma-2-9b", 42, 3584, 14_336, 16, 8, 256, 256_000, True, "google/gemma-2-9b-it"),
)
SHAPES: Mapping[str, Shape] = {row[0]: Shape(*row) for row in _TABLE}
"""By name; the numbers are those of each repository's `config.json`."""


def shape_of(base: str) -> Shape:
    """The shape of a model in the table, or of a folder with a `config.json`.

    Raises: UnknownNameError with the nearest name, or all of them; DataError if the folder's model is of another kind.
    """
    folder = Path(base)
    if (folder / "config.json").is_file():
        return _read(folder)
    if base in SHAPES:
        return SHAPES[base]
    near = difflib.get_close_matches(base.lower(), SHAPES, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(SHAPES)}; or a folder with config.json"
    raise UnknownNameError(f"no shape of a model named {base!r} is known", hint)


def _read(folder: Path) -> Shape:
    path = folder / "config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}", "get the base again") from error
    settings |= settings.get("text_config") or {}
    if any(settings.get(key) for key in EXPERTS):
        raise DataError(f"{path}: a model of experts, which cannot be reckoned", "estimate with a dense base instead")
    try:
        heads = int(settings["num_attention_heads"])
        return Shape(
            name=folder.name,
            layers=int(settings["num_hidden_layers"]),
            hidden=int(settings["hidden_size"]),
            intermediate=int(settings["intermediate_size"]),
            heads=heads,
            kv_heads=int(settings.get("num_key_value_heads") or heads),
            head_dim=int(settings.get("head_dim") or settings["hidden_size"] // heads),
            vocabulary=int(settings["vocab_size"]),
            # transformers ties unless it is told not to
            tied=bool(settings.get("tie_word_embeddings", True)),
            matrices=2 if settings.get("model_type") in TWO_MATRICES else 3,
            source=str(path),
        )
    except KeyError as error:
        raise DataError(f"{path}: no {error} in it, so its size cannot be reckoned", "take a decoder") from error
