"""How much each kept row counts in training, by an expression over what is known of its episode and turn."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prentice.curation.expression import Expression
from prentice.curation.facts import check_names, turn_facts
from prentice.curation.rows import Row
from prentice.curation.selection import Attempt
from prentice.errors import DataError


def weigh(attempts: Sequence[Attempt], rows: Sequence[Row], weight_by: Expression) -> None:
    """Set the rows' weights.

    Args:
        attempts: the episodes that `rows` are turns of.
    Raises: DataError naming the row whose weight is not a number above 0, or that lacks a metric; ConfigError if no
        turn has a metric of that name.
    """
    facts = {
        (attempt.episode.id, number): names
        for attempt in attempts
        for number, names in enumerate(turn_facts(attempt.episode, attempt.facts))
    }
    check_names(weight_by, facts.values())
    for row in rows:
        names = facts[row.example.episode, row.example.turn]
        where = f"episode {row.example.episode}, turn {row.example.turn}"
        missing = next((name for name in weight_by.names if name not in names), None)
        if missing is not None:
            raise DataError(f"{where}: `{weight_by.text}` has no weight for it: no metric `{missing}`", _HINT)
        try:
            weight = weight_by.number(names)
        except ArithmeticError as error:
            raise DataError(f"{where}: `{weight_by.text}` cannot be calculated: {error}", _HINT) from error
        if not 0 < weight < math.inf:
            raise DataError(f"{where}: `{weight_by.text}` gives it the weight {weight:g}", _HINT)
        row.example = row.example.model_copy(update={"weight": weight})


_HINT = "keep only rows that have one above 0: say so in curate.keep or curate.keep_turns"
