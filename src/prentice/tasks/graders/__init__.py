"""How a reply to one text is graded: the contract, and the built-in graders."""

from prentice.registry import Table
from prentice.tasks.graders.contract import Answer, Grader, GraderConfig

GRADERS = Table(
    "grader",
    {
        "command": "prentice.tasks.graders.code:Command",
        "entities": "prentice.tasks.graders.entities:EntityGrader",
        "exact": "prentice.tasks.graders.texts:Exact",
        "json": "prentice.tasks.graders.fields:JsonFields",
        "judge": "prentice.tasks.graders.judged:Judged",
        "label": "prentice.tasks.graders.label:Label",
        "number": "prentice.tasks.graders.number:Number",
        "python": "prentice.tasks.graders.code:Python",
        "regex": "prentice.tasks.graders.texts:Regex",
    },
    group="prentice.graders",
)

__all__ = ["GRADERS", "Answer", "Grader", "GraderConfig"]
