"""What is to be learnt: the contract and the built-in tasks."""

from prentice.registry import Table
from prentice.tasks.contract import Audience, Case, Environment, Spender, Step, Task, TaskConfig

TASKS = Table(
    "task",
    {"babyai": "prentice.tasks.babyai:BabyAI", "classify": "prentice.tasks.classify:Classify"},
    group="prentice.tasks",
)

__all__ = ["TASKS", "Audience", "Case", "Environment", "Spender", "Step", "Task", "TaskConfig"]
