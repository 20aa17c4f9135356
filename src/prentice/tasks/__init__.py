"""What is to be learnt: the contract and the built-in tasks."""

from prentice.registry import Table
from prentice.tasks.contract import Audience, Case, Environment, Step, Task

TASKS = Table("task", {"classify": "prentice.tasks.classify:Classify"}, group="prentice.tasks")
CONFIGS = Table("task configuration", {"classify": "prentice.tasks.classify:ClassifyConfig"})

__all__ = ["CONFIGS", "TASKS", "Audience", "Case", "Environment", "Step", "Task"]
