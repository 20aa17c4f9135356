"""What the agent sees, cell by cell: minigrid's rules (a test compares the two) at a fraction of its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

Cell = tuple[int, int, int]
"""Type, colour and state, as minigrid numbers them."""
View = list[list[Cell]]
"""Columns from left to right, each from far to near; (7, 7)."""

WIDTH = 7
"""The view is 7 × 7 cells."""
AGENT_X, AGENT_Y = WIDTH // 2, WIDTH - 1
"""The agent stands in the middle of the last row of its view and looks towards row 0."""
UNSEEN, EMPTY, OUTSIDE = (0, 0, 0), (1, 0, 0), (2, 5, 0)
"""What cannot be seen; nothing there; beyond the grid: a grey wall."""
WALL, DOOR = 2, 4
OPEN = 0
_MARGIN = WIDTH - 1
_WHOLE_ROW = (1 << WIDTH) - 1


class Sight:
    """A grid prepared for looking at it; to be made anew when the grid has changed.

    Args:
        grid: minigrid's Grid.
    """

    def __init__(self, grid: Any) -> None:
        cells = [EMPTY if cell is None else cell.encode() for cell in grid.grid]
        self.key = tuple(cells)
        """Equal for equal grids."""
        self._stride = grid.width + 2 * _MARGIN
        beyond = [OUTSIDE] * (_MARGIN * self._stride)
        rows = [cells[start : start + grid.width] for start in range(0, len(cells), grid.width)]
        side = [OUTSIDE] * _MARGIN
        self._cells = [*beyond, *(cell for row in rows for cell in (*side, *row, *side)), *beyond]
        self._clear = "".join("1" if _is_clear(cell) else "0" for cell in self._cells)

    def look(self, x: int, y: int, direction: int, held: Cell | None) -> View:
        """The view from a place.

        Args:
            x, y, direction: the agent's column, row and direction: 0 right, 1 down, 2 left, 3 up.
            held: what the agent carries; it lies on the agent's own cell.
        """
        corner, pick = _window(self._stride, direction)
        start = (y + _MARGIN) * self._stride + x + _MARGIN + corner
        end = start + WIDTH * self._stride
        cells = pick(self._cells[start:end])
        view = [list(cells[column : column + WIDTH]) for column in range(0, WIDTH * WIDTH, WIDTH)]
        clear = "".join(pick(self._clear[start:end]))[::-1]  # the leftmost column is the lowest bit
        for row, seen in _seen_rows([int(clear[AGENT_Y - row :: WIDTH], 2) for row in range(WIDTH)]):
            for column in range(WIDTH):
                if not seen >> column & 1:
                    view[column][row] = UNSEEN
        view[AGENT_X][AGENT_Y] = EMPTY if held is None else held
        return view


@cache
def _window(stride: int, direction: int) -> tuple[int, itemgetter[Any]]:
    """Where a view begins, seen from the agent's cell, and what picks its cells from there on, column by column."""
    dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[direction]
    ahead, right = dx + dy * stride, -dy + dx * stride
    cells = [(AGENT_Y - row) * ahead + (column - AGENT_X) * right for column in range(WIDTH) for row in range(WIDTH)]
    corner = min(cells)
    return corner, itemgetter(*(cell - corner for cell in cells))


def _seen_rows(clear: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The rows that are not seen whole, with the cells that are seen; a cell is bit n of its row, n its column.

    Light spreads from the agent's cell sideways through clear cells, and from each to the three before it.

    Args:
        clear: which cells can be seen through, by row.
    """
    seen = 1 << AGENT_X
    for row in range(AGENT_Y, -1, -1):
        before = 0
        while before != seen:
            before, seen = seen, seen | _spread(seen & clear[row])
        if seen != _WHOLE_ROW:
            yield row, seen
        seen = _spread(seen & clear[row])


def _spread(bits: int) -> int:
    return (bits | bits << 1 | bits >> 1) & _WHOLE_ROW


def _is_clear(cell: Sequence[int]) -> bool:
    return cell[0] != WALL and (cell[0] != DOOR or cell[2] == OPEN)
