"""Made episodes of many turns, as an environment's are: every request shows the whole history and one system prompt.

About 300 bytes of new text a turn, three metrics a turn, four an episode, two tags. The same number gives the same
episode on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prentice.records import Episode, Message, Metric, Reply, Request, Turn, Usage, episode_id

TURNS = 8
CASES_PER_RUN = 10_000
_SEEN = (
    "a red ball lies two steps ahead and one to the left; behind it stands a grey door that is locked",
    "you carry nothing; the key was last seen near the wall; two steps to the right there is a box",
    "the door to the north is open; a green key lies in the corner; nothing else can be seen from here",
    "you stand before a wall; the way you came is behind you; a blue ball lies three steps to the left",
)
_THOUGHT = (
    "the way is free as far as I can see, and what I look for must lie there, so I",
    "what I look for must lie behind me or behind the door that I have not opened, so I",
    "it is near, and nothing stands between us as far as this view tells me, so I",
)
_SYSTEM = Message(role="system", content="You act in a small world. " + "One rule of this world is as follows. " * 20)
_ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def made_episodes(number: int, start: int = 0) -> Iterator[Episode]:
    """Make episodes `start`, `start + 1`, ..."""
    return (made_episode(n) for n in range(start, start + number))


def made_episode(number: int) -> Episode:
    """Episode `number`: eight turns; every third one succeeds; tagged with its shard and level."""
    draw = random.Random(number)
    run, case = f"run-{number // CASES_PER_RUN}", f"level-{number % CASES_PER_RUN:06d}"
    history = [_SYSTEM]
    turns, metrics = [], []
    for position in range(TURNS):
        seen = f"{number}.{position}: {draw.choice(_SEEN)}; {draw.choice(_SEEN)}"
        history.append(Message(role="user", content=seen))
        request = Request(function="act", inputs={"step": position}, messages=tuple(history), choices=_ACTIONS)
        thought = f"{number}.{position}: {draw.choice(_THOUGHT)} {draw.choice(_ACTIONS)}"
        answer = Message(role="assistant", content=thought)
        usage = Usage(input_tokens=250 + 90 * position, cached_tokens=240, output_tokens=20)
        latency = round(draw.uniform(0.05, 0.5), 6)
        reply = Reply(message=answer, model="made", usage=usage, latency_s=latency, cost_usd=latency / 1e4)
        turns.append(Turn(request=request, reply=reply))
        history.append(answer)
        metrics += [
            Metric(name="path_left", value=float(draw.randrange(20)), turn=position),
            Metric(name="nothing_changed", value=draw.random() < 0.2, turn=position),
            Metric(name="seen_before", value=draw.random() < 0.1, turn=position),
        ]
    metrics += [
        Metric(name="success", value=number % 3 == 0),
        Metric(name="steps", value=float(draw.randrange(1, 65))),
        Metric(name="return", value=draw.random()),
        Metric(name="ending", value=draw.choice(("solved", "out of steps"))),
    ]
    return Episode(
        id=episode_id(run, case, 0),
        run=run,
        task="made",
        case=case,
        split="train",
        policy="made",
        turns=tuple(turns),
        metrics=tuple(metrics),
        started_at=_BEGIN + timedelta(seconds=number),
        tags={"shard": str(number % 100), "level": "GoToObj" if number % 2 else "GoToLocal"},
    )
