"""How many actions are left until an object lies in front of the agent: shortest paths on the whole grid.

They come from the environment's state alone and see behind walls; no policy sees them, only metrics do.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Place = tuple[int, int, int]
"""Column, row and direction: 0 right, 1 down, 2 left, 3 up, as minigrid counts."""

STEP = ((1, 0), (0, 1), (-1, 0), (0, -1))


def distances(grid: Any, targets: Iterable[tuple[int, int]]) -> dict[Place, int]:
    """Fewest actions from every place to one that faces a target; places that cannot get there are absent.

    A turn and a step cost one action, a step into a closed door two (it is opened first). Locked doors, walls and
    objects are in the way, and nothing is ever picked up to clear it.

    Args:
        grid: minigrid's Grid.
        targets: column and row of each target.
    """
    costs = {(x, y): cost for x in range(grid.width) for y in range(grid.height) if (cost := _cost(grid.get(x, y)))}
    aims = set(targets)
    best = {(x - dx, y - dy, way): 0 for x, y in aims for way, (dx, dy) in enumerate(STEP) if (x - dx, y - dy) in costs}
    queue = [(0, place) for place in best]
    heapq.heapify(queue)
    while queue:
        cost, place = heapq.heappop(queue)
        if cost > best[place]:
            continue
        for before, action_cost in _before(costs, place):
            if cost + action_cost < best.get(before, 1 << 30):
                best[before] = cost + action_cost
                heapq.heappush(queue, (cost + action_cost, before))
    return best


def _before(costs: Mapping[tuple[int, int], int], place: Place) -> Iterator[tuple[Place, int]]:
    """The places one move before this one, with the move's cost."""
    x, y, way = place
    yield (x, y, (way + 1) % 4), 1
    yield (x, y, (way - 1) % 4), 1
    dx, dy = STEP[way]
    if (x - dx, y - dy) in costs:
        yield (x - dx, y - dy, way), costs[x, y]


def _cost(cell: Any) -> int:
    """Actions that entering a cell takes; 0 where nobody can."""
    if cell is None or cell.can_overlap():
        return 1
    return 2 if cell.type == "door" and not cell.is_locked else 0
