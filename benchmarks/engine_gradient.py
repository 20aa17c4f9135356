"""How far the gradient over forests is from the plain padded batch's: small models of each family, and SmolLM2."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM

import engine_rows
from engine_tokens import checked
from prentice.records import Example
from prentice.training.config import SFTConfig
from prentice.training.engine import ForestModel
from prentice.training.forest import Row as Tokens
from prentice.training.lora import add_adapter, fuse_adapters
from prentice.training.proof import LIMIT, gradient_difference
from prentice.training.start import open_checker, open_model

ROWS, CHARACTERS = 8, 1000
"""Few and short: the padded batch holds every layer's attention and all logits."""
Row = dict[str, Any]


def gradient_rows() -> list[Row]:
    """The worst of all, with the others beside it."""
    return [worst_row(_families() | _smollm2(), f"limit of every run's proof {LIMIT:g}; float32")]


def worst_row(found: Mapping[str, float], about: str) -> Row:
    """The worst of some differences, with the others beside it."""
    worst = max(found, key=lambda name: found[name])
    note = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
    return {
        "name": "gradient_rel_diff",
        "ours": found[worst],
        "rival": None,
        "ratio": None,
        "unit": "of the padded gradient's norm",
        "n": len(found),
        "note": f"worst: {worst}; {about}; {note}",
    }


def _families() -> dict[str, float]:
    """Two-layer random models, their adapters and all of their weights."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from training_models import FAMILIES, examples, write_family  # noqa: PLC0415

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FAMILIES:
            base = write_family(name, Path(folder) / name)
            rows = _tokens(base, examples(ROWS))
            found[f"{name} lora"] = gradient_difference(_small(base, adapters=True), rows)
            found[f"{name} full"] = gradient_difference(_small(base, adapters=False), rows)
    return found


def _small(base: Path, *, adapters: bool) -> ForestModel:
    """A model whose adapters are not zero, so that every weight of theirs has a gradient."""
    torch.manual_seed(3)
    lm = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    # peft rewrites mixtral's experts
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"] if lm.config.model_type == "mixtral" else "all-linear"
    recipe = LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    model = ForestModel(add_adapter(lm, recipe) if adapters else lm)
    fuse_adapters(model)
    return model


def _smollm2() -> dict[str, float]:
    """The real model on the rows that are raced with."""
    base = engine_rows.base_model()
    workloads = [engine_rows.ner(ROWS), engine_rows.babyai(ROWS), engine_rows.history(2, CHARACTERS)]
    rows = {w.name: [r.row for r in checked(w)][:ROWS] for w in workloads}
    found: dict[str, float] = {}
    for method in ("lora", "full"):
        model = open_model(SFTConfig.model_validate({"method": method}), base)
        stir(model)
        found |= {f"smollm2-135m {method} {name}": gradient_difference(model, some) for name, some in rows.items()}
    return found


def stir(model: ForestModel) -> None:
    """Adapters begin at zero, where half of their gradient is zero too."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)


def _tokens(base: Path, examples: Sequence[Example]) -> list[Tokens]:
    return [checked.row for checked in open_checker(512, Path("rows"), base).check(examples)]
