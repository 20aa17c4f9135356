"""A new project from a person's own examples: what the columns are, which rows are held out, and the files."""

from prentice.pipeline.scaffold.draft import Answers, Draft, draft, write
from prentice.pipeline.scaffold.guesses import Guess, guess_grader, guess_inputs, guess_output
from prentice.pipeline.scaffold.recorded import is_recorded, recorded_table
from prentice.pipeline.scaffold.samples import sample
from prentice.pipeline.scaffold.tables import Table, read_table
from prentice.pipeline.scaffold.teachers import find_teacher
from prentice.pipeline.scaffold.wording import instructions

__all__ = [
    "Answers",
    "Draft",
    "Guess",
    "Table",
    "draft",
    "find_teacher",
    "guess_grader",
    "guess_inputs",
    "guess_output",
    "instructions",
    "is_recorded",
    "read_table",
    "recorded_table",
    "sample",
    "write",
]
