"""Policies that the desk brings: the gold solution as a teacher, and trivial ones to beat."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

from pydantic import JsonValue

from prentice.models.policy import Policy
from prentice.models.scripted import ScriptedModel
from prentice.records import Message, Request
from prentice.tasks.retail.customer import in_words
from prentice.tasks.retail.desk import TRANSFER, Domain, Job, writes

GOLD, NOTHING, FREQUENT = "gold actions", "do nothing", "most frequent call"
ASK_WHO = "I can help with that. Please tell me your email, or your full name and zip code."
HOLD = "YOU ARE BEING TRANSFERRED TO A HUMAN AGENT. PLEASE HOLD ON."
CONFIRM = "To confirm: "


def gold(domain: Domain, jobs: Sequence[Job]) -> Policy:
    """The gold solution, call by call, with what a polite agent says between: it asks who calls, and for a yes before
    each change."""
    by_id = {job.id: job for job in jobs}
    return ScriptedModel(lambda r: _next(domain, by_id[str(r.inputs["job"])], r), name=GOLD, slots=64)


def nothing() -> Policy:
    """Says goodbye to whatever is asked."""
    return ScriptedModel(lambda _: "I am afraid that I cannot help. Goodbye.", name=NOTHING, slots=64)


def most_frequent(jobs: Sequence[Job]) -> Policy:
    """The call that the gold solutions of the training jobs make most often, over and over."""
    names = Counter(action.name for job in jobs for action in job.actions)
    name = max(names, key=lambda each: (names[each], each))
    texts = Counter(json.dumps(a.arguments) for job in jobs for a in job.actions if a.name == name)
    arguments = json.loads(max(texts, key=lambda each: (texts[each], each)))
    call = next(a for job in jobs for a in job.actions if (a.name, a.arguments) == (name, arguments)).call(0)
    return ScriptedModel(lambda _: Message(role="assistant", tool_calls=(call,)), name=FREQUENT, slots=64)


def _next(domain: Domain, job: Job, request: Request) -> Message:
    rows = cast("list[Mapping[str, JsonValue]]", request.inputs["chat"])
    done = sum(row["role"] == "tool" for row in rows)
    spoken = [str(row.get("content", "")) for row in rows if row["role"] == "assistant"]
    if done == 0 and ASK_WHO not in spoken:
        return _say(ASK_WHO)
    if done < len(job.actions):
        action = job.actions[done]
        asked = f"{CONFIRM}{in_words(action).removeprefix('Please ').rstrip('.')}. Shall I proceed (yes/no)?"
        was_asked = rows[-1]["role"] == "user" and len(rows) > 1 and rows[-2].get("content") == asked
        if action.name in writes(domain) and not was_asked:
            return _say(asked)
        return Message(role="assistant", tool_calls=(action.call(done),))
    told = f" {'; '.join(job.to_say)}." if job.to_say else ""
    if any(action.name == TRANSFER for action in job.actions):
        return _say(f"{HOLD}{told}")
    return _say(f"It is all done.{told}")


def _say(text: str) -> Message:
    return Message(role="assistant", content=text)
