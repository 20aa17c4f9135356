"""What the agent sees, in the wording of BALROG's BabyAI (arXiv:2411.13543; BabyAI-Text, arXiv:2302.02662)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import takewhile

from prentice.tasks.babyai.sight import AGENT_X, AGENT_Y, DOOR, WALL, WIDTH, View

ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
"""What a policy may reply; the position is minigrid's number of the action."""

TYPES = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
DOORS = ("open", "closed", "locked")
UNSEEN_OR_EMPTY = WALL
"""Types below it hide nothing from a look along a line."""

BLOCKED, WAYS = "blocked", ("forward", "left", "right")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
_FILLERS = re.compile(r"\b(a|and|steps?) ")


def describe(cells: View, carrying: tuple[str, str] | None = None) -> str:
    """The view as text, one thing a line.

    Args:
        cells: what the agent sees.
        carrying: colour and type of what the agent holds.
    """
    held = [f"You carry a {' '.join(carrying)}"] if carrying else []
    return "\n".join([*held, *_walls(cells), *_objects(cells)])


def shorten(text: str) -> str:
    """The same facts in about half the tokens.

    `a red key 2 steps left and 1 step forward` becomes `red key two left one forward`. Numbers become words, which
    tokenizers do not split from the space before them.
    """
    return re.sub(r"\d", lambda digit: NUMBERS[int(digit[0])], _FILLERS.sub("", text))


def focus(text: str, mission: str) -> str:
    """What a walker needs of a shortened view: walls, what it carries, its goal, and last which ways are blocked.

    Other things are left out.
    """
    lines = text.splitlines()
    goal = [line for line in lines if is_about(line, mission)]
    around = [line for line in lines if line not in goal and _is_wall_or_carried(line) and not _ways_to(line)]
    blocked = blocked_ways(text, mission)
    return "\n".join([*around, *goal, *([" ".join([BLOCKED, *blocked])] if blocked else [])])


def blocked_ways(text: str, mission: str) -> list[str]:
    """Where something that is no goal stands right beside the walker, by a shortened view: forward, left, right."""
    ways = {way for line in text.splitlines() if not is_about(line, mission) for way in _ways_to(line)}
    return [way for way in WAYS if way in ways]


def is_about(line: str, mission: str) -> bool:
    """Whether a shortened line is about what the instruction names: `red key two left` for `go to the red key`."""
    thing = list(takewhile(lambda word: word not in NUMBERS, line.split()))
    if len(thing) < 2:
        return False
    colour, kind = thing[-2:]
    return any(f"{word} {kind}" in mission for word in (colour, "a", "the"))


def _is_wall_or_carried(line: str) -> bool:
    return line.startswith("wall") or not any(word in NUMBERS for word in line.split())


def _ways_to(line: str) -> list[str]:
    """The way to a thing that is one step away: `[left]` for `red key one left`, none for `wall two left`."""
    words = line.split()
    numbers = [word for word in words if word in NUMBERS]
    return words[-1:] if numbers == ["one"] else []


def _walls(cells: View) -> Iterator[str]:
    ahead = [(AGENT_X, y) for y in range(AGENT_Y - 1, -1, -1)]
    left = [(x, AGENT_Y) for x in range(AGENT_X - 1, -1, -1)]
    right = [(x, AGENT_Y) for x in range(AGENT_X + 1, WIDTH)]
    for name, line in (("forward", ahead), ("left", left), ("right", right)):
        far = _first_in_the_way(cells, line)
        if far:
            yield f"a wall {_steps(far)} {name}"


def _first_in_the_way(cells: View, line: Iterable[tuple[int, int]]) -> int:
    """How far the first thing on this line is, if it is a wall; else 0."""
    for far, (x, y) in enumerate(line, 1):
        kind = cells[x][y][0]
        if kind >= UNSEEN_OR_EMPTY:
            return far if kind == WALL else 0
    return 0


def _objects(cells: View) -> Iterator[str]:
    for x, column in enumerate(cells):
        for y, (kind, colour, state) in enumerate(column):
            if kind > WALL and (x, y) != (AGENT_X, AGENT_Y):
                what = f"{DOORS[state]} {COLOURS[colour]} door" if kind == DOOR else f"{COLOURS[colour]} {TYPES[kind]}"
                yield f"a {what} {_PLACES[x][y]}"


def _place(right: int, ahead: int) -> str:
    side = f"{_steps(abs(right))} {'right' if right > 0 else 'left'}"
    if right == 0:
        return f"{_steps(ahead)} forward"
    return side if ahead == 0 else f"{side} and {_steps(ahead)} forward"


def _steps(number: int) -> str:
    return f"{number} step{'s' if number > 1 else ''}"


_PLACES = [[_place(x - AGENT_X, AGENT_Y - y) for y in range(WIDTH)] for x in range(WIDTH)]
"""How the place of each cell of the view is told; the agent's own is never asked for."""
