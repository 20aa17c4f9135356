"""Errors that are the user's to fix: one line, a hint, exit code 2. Anything else that is raised is a bug."""

from __future__ import annotations


class PrenticeError(Exception):
    """A problem the user can fix.

    Args:
        problem: what is wrong, in one line: where, what, which value.
        hint: the next step, as a sentence or a command; may be empty.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem} ({self.hint})" if self.hint else self.problem


class ConfigError(PrenticeError):
    """A configuration that cannot be used."""


class DataError(PrenticeError):
    """A file or row that cannot be used."""


class StoreError(PrenticeError):
    """A store that cannot be opened, read or written."""


class TrainingError(PrenticeError):
    """A training run that cannot start or go on."""


class UnknownNameError(PrenticeError):
    """A name that no registry or catalogue knows."""


class MissingExtraError(PrenticeError):
    """An optional part of prentice that is not installed."""


class ModelError(PrenticeError):
    """No reply could be had from a model; inside a run this ends the episode as data.

    Args:
        problem: what the model or its provider said.
        hint: the next step.
        retryable: whether the same call may work later (429, 5xx, timeout).
    """

    def __init__(self, problem: str, hint: str = "", *, retryable: bool = False) -> None:
        super().__init__(problem, hint)
        self.retryable = retryable


class MetricError(PrenticeError):
    """A metric that could not be had; inside a run this ends the episode as data, never as a score of 0."""


class JudgeError(PrenticeError):
    """A judge that gave no usable judgement; inside a run this ends the episode as data, never as a score of 0."""
