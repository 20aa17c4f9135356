"""The measured claims about the study's tasks, by `make bench-tasks`: entities, agentic retrieval, customer service.

Rows go to benchmarks/results/tasks.json. Parts are measured one after the other and written as they come;
`python benchmarks/tasks.py PART …` measures some of them anew. Times need a quiet machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tasks_babyai
import tasks_multihop
import tasks_ner
import tasks_retail
from parts import measure

Row = dict[str, Any]
PARTS: dict[str, Callable[[], list[Row]]] = {
    "ner_wnut": tasks_ner.example_rows,
    "ner": tasks_ner.student_rows,
    "ner_live": tasks_ner.live_rows,
    "ner_arms": tasks_ner.arm_rows,
    "ner_human": tasks_ner.human_rows,
    "multihop": tasks_multihop.student_rows,
    "multihop_each": tasks_multihop.each_rows,
    "multihop_live": tasks_multihop.live_rows,
    "multihop_arms": tasks_multihop.arm_rows,
    "retail_gold": tasks_retail.gold_rows,
    "retail_prompts": tasks_retail.prompt_rows,
    "retail": tasks_retail.call_rows,
    "retail_conversations": tasks_retail.conversation_rows,
    "retail_airline": tasks_retail.airline_rows,
    "babyai": tasks_babyai.student_rows,
    "babyai_tries": tasks_babyai.try_rows,
}

if __name__ == "__main__":
    measure("tasks.json", PARTS)
