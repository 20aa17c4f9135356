"""What is to be learnt: the contract and the built-in tasks."""

from prentice.registry import Table
from prentice.tasks.contract import (
    Audience,
    Case,
    Dividing,
    Environment,
    Measure,
    Measuring,
    Sifting,
    Spender,
    Step,
    Task,
    TaskConfig,
    Teaching,
    begins_with_models,
    functions_of,
)
from prentice.tasks.judge import Judge, transcript
from prentice.tasks.metered import Metered
from prentice.tasks.prompts import Ask
from prentice.tasks.tools import Done

TASKS = Table(
    "task",
    {
        "babyai": "prentice.tasks.babyai:BabyAI",
        "classify": "prentice.tasks.classify:Classify",
        "gymnasium": "prentice.tasks.gym:GymnasiumTask",
        "multihop": "prentice.tasks.multihop:MultiHop",
        "ner": "prentice.tasks.ner:NER",
        "python": "prentice.tasks.python:PythonTask",
        "retail": "prentice.tasks.retail:Retail",
        "text": "prentice.tasks.text:Text",
        "verifiers": "prentice.tasks.verifiers:VerifiersTask",
    },
    group="prentice.tasks",
)

__all__ = [
    "TASKS",
    "Ask",
    "Audience",
    "Case",
    "Dividing",
    "Done",
    "Environment",
    "Judge",
    "Measure",
    "Measuring",
    "Metered",
    "Sifting",
    "Spender",
    "Step",
    "Task",
    "TaskConfig",
    "Teaching",
    "begins_with_models",
    "functions_of",
    "transcript",
]
