"""The measured claims of the training engine, by `make bench-engine`: prentice against TRL's SFTTrainer.

Rows go to benchmarks/results/engine.json. Parts are measured one after the other and written as they come;
`python benchmarks/engine.py PART …` measures some of them anew. Times need a quiet machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine_ablations import ablation_rows
from engine_gradient import gradient_rows
from engine_peaks import peak_rows
from engine_profile import profile_rows
from engine_race import babyai_rows, history_rows, ner_rows, unshared_rows
from engine_scaling import scaling_rows
from parts import measure

Row = dict[str, Any]
PARTS: dict[str, Callable[[], list[Row]]] = {
    "ner": ner_rows,
    "babyai": babyai_rows,
    "history": history_rows,
    "unshared": unshared_rows,
    "memory": peak_rows,
    "gradient": gradient_rows,
    "scaling": scaling_rows,
    "profile": profile_rows,
    "ablations": ablation_rows,
}

if __name__ == "__main__":
    measure("engine.json", PARTS)
