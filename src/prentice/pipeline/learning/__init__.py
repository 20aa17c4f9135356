"""The train stage: the methods that a project names, one after the other, each from what the one before has made."""

from prentice.pipeline.learning.chain import chain_inputs, learn_chain, needs_rows, student_before, train_until
from prentice.pipeline.learning.lesson import Lesson, Link
from prentice.pipeline.learning.success import success

__all__ = ["Lesson", "Link", "chain_inputs", "learn_chain", "needs_rows", "student_before", "success", "train_until"]
