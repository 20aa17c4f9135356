"""The customer: a policy like any other, asked by the environment for each of its messages.

A language model is told what the benchmark tells its own simulated customer. The scripted customer stands in for one
where there is none: it says why it calls, who it is when asked, yes to what it is asked to confirm, and in place of a
wish that depends on what the agent finds it says what the gold solution does. It is easier to serve than a person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from pydantic import JsonValue

from prentice.models.policy import Policy
from prentice.models.scripted import ScriptedModel
from prentice.records import Message, Request
from prentice.tasks.retail.desk import TRANSFER, Action, Domain, Job, guidelines, writes

CUSTOMER, SCRIPTED = "customer", "scripted customer"
STOP, TRANSFERRED, OUT_OF_SCOPE = "###STOP###", "###TRANSFER###", "###OUT-OF-SCOPE###"
ENDS = (STOP, TRANSFERRED, OUT_OF_SCOPE)
"""What a customer writes to end the conversation."""
PATIENCE = 4
"""Messages of the agent, one after the other, without a call: then the scripted customer hangs up."""
_ASKS_WHO = re.compile(r"e-?mail|zip|your (full )?name|user id|identi|verif(y|ication)|who you are", re.IGNORECASE)
_ASKS_YES = re.compile(
    r"confirm|proceed|yes\s*/\s*no|is (that|this) (correct|right|ok)|shall i|should i", re.IGNORECASE
)
_PERSON = (
    (r"\byou are\b", "I am"),
    (r"\byou're\b", "I'm"),
    (r"\byou've\b", "I've"),
    (r"\byou'd\b", "I'd"),
    (r"\byou'll\b", "I'll"),
    (r"\byourself\b", "myself"),
    (r"\byours\b", "mine"),
    (r"\byour\b", "my"),
    (r"\b(to|for|from|with|of|give|tell|offer|contact|refund|charge) you\b", r"\1 me"),
    (r"\byou\b", "I"),
)


def ask(job: Job, chat: Sequence[Mapping[str, JsonValue]], calls: Sequence[tuple[str, str]]) -> Request:
    """What the customer is asked: its next message.

    Args:
        chat: entries of the conversation as the agent sees it; a customer sees the texts alone.
        calls: name and arguments of each call that ran; a model is not shown them.
    """
    roles: dict[str, Literal["user", "assistant"]] = {"assistant": "user", "user": "assistant"}
    texts = [(str(row["role"]), str(row.get("content", ""))) for row in chat if row.get("role") in roles]
    head = Message(role="system", content=f"{guidelines()}\n\n<scenario>\n{job.told}\n</scenario>")
    said = tuple(Message(role=roles[role], content=text) for role, text in texts if text)
    inputs: dict[str, JsonValue] = {
        "job": job.id,
        "chat": [[role, text, bool(row.get("tool_calls"))] for row in chat for role, text in [_said(row)]],
        "calls": [list(call) for call in calls],
    }
    return Request(function=CUSTOMER, inputs=inputs, messages=(head, *said))


def _said(row: Mapping[str, JsonValue]) -> tuple[str, str]:
    return str(row["role"]), str(row.get("content", ""))


def scripted(domain: Domain, jobs: Sequence[Job]) -> Policy:
    """The scripted customer, for all of these jobs."""
    by_id = {job.id: job for job in jobs}
    return ScriptedModel(lambda request: _reply(domain, by_id[str(request.inputs["job"])], request), SCRIPTED, slots=64)


def _reply(domain: Domain, job: Job, request: Request) -> str:
    rows = cast("list[tuple[str, str, bool]]", request.inputs["chat"])
    calls = [
        Action(name, json.loads(text or "{}")) for name, text in cast("list[tuple[str, str]]", request.inputs["calls"])
    ]
    texts = [text for role, text, _ in rows if role == "user"]
    if not texts:
        return in_first_person(
            " ".join(filter(None, (job.scenario["reason_for_call"], job.scenario["task_instructions"].strip(". "))))
        )
    who = in_first_person(" ".join(filter(None, (job.scenario["known_info"], job.scenario["unknown_info"]))))
    said = rows[-1][1]
    if any(call.name == TRANSFER for call in calls):
        return TRANSFERRED
    if _ASKS_WHO.search(said) and who and who not in texts:
        return who
    if _since_the_last_call(rows) > PATIENCE:
        return STOP
    wanted = [action for action in job.actions if action.name in writes(domain) and action not in calls]
    if _ASKS_YES.search(said) and wanted:
        return "Yes."
    return in_words(wanted[0]) if wanted else STOP


def _since_the_last_call(rows: Sequence[tuple[str, str, bool]]) -> int:
    """Messages of the agent since it last called a tool."""
    count = 0
    for role, _, called in reversed(rows):
        if role == "tool" or called:
            break
        count += role == "assistant"
    return count


def in_words(action: Action) -> str:
    """A wish as a sentence: `Please cancel pending order: order id #W1, reason no longer needed.`"""
    parts = [f"{name.replace('_', ' ')} {_plain(value)}" for name, value in action.arguments.items()]
    return f"Please {action.name.replace('_', ' ')}: {', '.join(parts)}."


def _plain(value: object) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)


def in_first_person(text: str) -> str:
    """A scenario, which speaks to its reader, as its reader says it: `You want your tablet` → `I want my tablet`."""
    for pattern, word in _PERSON:
        text = re.sub(pattern, word, text, flags=re.IGNORECASE)
    return text.strip()
