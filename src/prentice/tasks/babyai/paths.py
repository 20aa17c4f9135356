"""How many actions are left until an object lies in front of the agent: shortest paths on the whole grid.

They come from the environment's state alone and see behind walls; no policy sees them, only metrics do.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
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
    aims = set(targets)
    best = {(x - dx, y - dy, way): 0 for x, y in aims for way, (dx, dy) in enumerate(STEP)}
    best = {place: 0 for place in best if _cost_to_enter(grid, place[0], place[1]) is not None}
    queue = [(0, place) for place in best]
    heapq.heapify(queue)
    while queue:
        cost, place = heapq.heappop(queue)
        if cost > best[place]:
            continue
        for before, action_cost in _before(grid, place):
            if cost + action_cost < best.get(before, 1 << 30):
                best[before] = cost + action_cost
                heapq.heappush(queue, (cost + action_cost, before))
    return best


def _before(grid: Any, place: Place) -> Iterator[tuple[Place, int]]:
    """The places one move before this one, with the move's cost."""
    x, y, way = place
    yield (x, y, (way + 1) % 4), 1
    yield (x, y, (way - 1) % 4), 1
    dx, dy = STEP[way]
    cost = _cost_to_enter(grid, x, y)
    if cost is not None and _cost_to_enter(grid, x - dx, y - dy) is not None:
        yield (x - dx, y - dy, way), cost


def _cost_to_enter(grid: Any, x: int, y: int) -> int | None:
    if not (0 <= x < grid.width and 0 <= y < grid.height):
        return None
    cell = grid.get(x, y)
    if cell is None or cell.can_overlap():
        return 1
    return 2 if cell.type == "door" and not cell.is_locked else None
