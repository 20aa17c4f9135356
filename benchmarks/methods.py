"""The measured claims of the training methods, by `make bench-methods`: continued pretraining, preference,
reinforcement, distillation.

Rows go to benchmarks/results/methods.json. Parts are measured one after the other and written as they come;
`python benchmarks/methods.py PART …` measures some of them anew. Times need a quiet machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import methods_distill
import methods_grpo
import methods_preference
from methods_cpt import cpt_rows
from methods_gradient import gradient_rows
from parts import measure

Row = dict[str, Any]
PARTS: dict[str, Callable[[], list[Row]]] = {
    "gradient": gradient_rows,
    "cpt": cpt_rows,
    "preference_speed": methods_preference.speed_rows,
    "preference_success": methods_preference.success_rows,
    "grpo_update": methods_grpo.update_rows,
    "grpo_update_babyai": methods_grpo.babyai_rows,
    "grpo_step": methods_grpo.step_rows,
    "grpo_success": methods_grpo.success_rows,
    "distill_speed": methods_distill.speed_rows,
    "distill_success": methods_distill.success_rows,
    "distill_hidden": methods_distill.hidden_rows,
    "distill_context": methods_distill.context_rows,
}

if __name__ == "__main__":
    measure("methods.json", PARTS)
