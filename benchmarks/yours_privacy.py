"""How much planted personal data the redaction finds in real conversations, and how often it is wrong on clean text.

The planted items are made here, with right checksums, in the spellings that people use; each goes to a random place of
a random message, half of them after words that say what they are. The rules were tuned on the first half of the
conversations with seed 1; what is reported is the other half with seed 2. An item is found if nothing of its two
halves is left in the redacted message.
"""

from __future__ import annotations

import csv
import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prentice.privacy import PrivacyConfig, Redactor
from prentice.records import Episode, Message, Reply, Request, ToolCall, Turn
from yours_privacy_items import LEADS, Item, items

PLANTED = 2000
REPORTED_SEED = 2

Row = dict[str, Any]


def privacy_rows() -> list[Row]:
    """The shares of planted items found and of clean messages touched, and the speed."""
    data = Path(os.environ["PRENTICE_DATA"])
    chats = conversations(data / "llm_logs_openai.jsonl")
    clean = banking(data / "banking77.csv")
    return [_found_row(chats[len(chats) // 2 :]), _false_row(clean, chats), *_speed_rows(chats, clean)]


def conversations(path: Path) -> list[list[Message]]:
    """The messages of every conversation of a file of OpenAI chats."""
    with path.open(encoding="utf-8") as lines:
        return [[_message(each) for each in json.loads(line)["messages"]] for line in lines]


def banking(path: Path) -> list[str]:
    """All messages of Banking77."""
    with path.open(encoding="utf-8", newline="") as rows:
        return [row["text"] for row in csv.DictReader(rows)]


def missed(chats: Sequence[list[Message]], seed: int, planted: int = PLANTED) -> Iterator[tuple[Item, str]]:
    """Plant items, redact, and give every item with what is left of its message, or with nothing if it was found."""
    chance = random.Random(seed)
    by_place: defaultdict[tuple[int, int], list[Item]] = defaultdict(list)
    for item in items(chance, planted):
        chat = chance.randrange(len(chats))
        by_place[chat, chance.randrange(len(chats[chat]))].append(item)
    redactor = Redactor(PrivacyConfig(mode="redact"))
    for number, chat_messages in enumerate(chats):
        changed = [_plant(each, by_place[number, place], chance) for place, each in enumerate(chat_messages)]
        redacted = redactor.episode(episode(f"chat-{number}", changed)).turns[0].request.messages
        for place, message in enumerate(redacted):
            left = message.model_dump_json()
            for item in by_place[number, place]:
                yield item, left if _left(item.value, left) else ""


def episode(name: str, messages: Sequence[Message]) -> Episode:
    """A conversation as one turn, whose reply says nothing."""
    request = Request(function="agent", messages=tuple(messages))
    reply = Reply(message=Message(role="assistant"), model="recorded")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    turns = (Turn(request=request, reply=reply),)
    return Episode(
        id=name, run="imported", task="agent", case=name, split="train", policy="recorded", turns=turns, started_at=at
    )


def _message(raw: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
        for call in raw.get("tool_calls") or ()
    )
    return Message(
        role=raw["role"], content=raw.get("content") or "", tool_calls=calls, tool_call_id=raw.get("tool_call_id")
    )


def _plant(message: Message, planted: Sequence[Item], chance: random.Random) -> Message:
    if message.tool_calls and not message.content:
        first, *others = message.tool_calls
        first = first.model_copy(update={"arguments": _into_json(json.loads(first.arguments), planted, chance)})
        return message.model_copy(update={"tool_calls": (first, *others)})
    return message.model_copy(update={"content": _into_text(message.content, planted, chance)})


def _into_text(text: str, planted: Sequence[Item], chance: random.Random) -> str:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if isinstance(data, dict):
        return _into_json(data, planted, chance)
    words = text.split(" ")
    places = sorted((chance.randrange(len(words) + 1) for _ in planted), reverse=True)
    for place, item in zip(places, planted, strict=True):
        words.insert(place, _said(item, chance) + chance.choice([".", ",", "", "", " -", "?"]))
    return " ".join(words)


def _said(item: Item, chance: random.Random) -> str:
    lead = f"{chance.choice(LEADS[item.kind])} " if chance.random() < 0.5 else ""
    return f"{item.lead or lead}{item.text}"


def _into_json(data: dict[str, Any], planted: Sequence[Item], chance: random.Random) -> str:
    for number, item in enumerate(planted, 1):
        noted = chance.random() < 0.5
        data[f"note_{number}" if noted else f"{item.key}_{number}"] = _said(item, chance) if noted else item.text
    return json.dumps(data)


def _left(value: str, text: str) -> bool:
    half = len(value) // 2
    written = json.dumps(value)[1:-1]
    return value in text or written in text or value[:half] in text or value[half:] in text


def _found_row(chats: Sequence[list[Message]]) -> Row:
    found, planted = Counter[str](), Counter[str]()
    forms = defaultdict[str, Counter[bool]](Counter)
    for item, left in missed(chats, REPORTED_SEED):
        planted[item.kind] += 1
        found[item.kind] += not left
        forms[f"{item.kind}: {item.form}"][not left] += 1
    return {
        "name": "redaction_found",
        "ours": found.total() / planted.total(),
        "rival": None,
        "ratio": None,
        "unit": "of planted items",
        "n": planted.total(),
        "note": f"{len(chats)} conversations that no rule was tuned on, seed {REPORTED_SEED}",
        "by_kind": {kind: {"found": found[kind], "planted": planted[kind]} for kind in sorted(planted)},
        "missed_forms": {form: f"{count[False]} of {count.total()}" for form, count in forms.items() if count[False]},
    }


def _false_row(clean: Sequence[str], chats: Sequence[list[Message]]) -> Row:
    redactor = Redactor(PrivacyConfig(mode="report"))
    touched, kinds = 0, Counter[str]()
    for text in clean:
        found = redactor.find(text)
        touched += bool(found)
        kinds.update(each.kind for each in found)
    for number, messages in enumerate(chats):
        redactor.episode(episode(f"chat-{number}", messages))
    return {
        "name": "redaction_false",
        "ours": touched / len(clean),
        "rival": None,
        "ratio": None,
        "unit": "of clean messages",
        "n": len(clean),
        "note": "Banking77, all splits",
        "by_kind": dict(kinds),
        "in_the_conversations": dict(redactor.found),
    }


def _speed_rows(chats: Sequence[list[Message]], clean: Sequence[str]) -> list[Row]:
    episodes = [episode(f"chat-{number}", messages) for number, messages in enumerate(chats)]
    size = sum(len(each.model_dump_json()) for each in episodes)
    redactor = Redactor(PrivacyConfig(mode="redact"))
    redactor.find("AKIA" + "2" * 16)  # reads the rules, once in a process
    rows = []
    for name, run, characters in (
        ("redaction_mb_per_s", lambda: [redactor.episode(each) for each in episodes], size),
        ("redaction_clean_mb_per_s", lambda: [redactor.text(each) for each in clean], sum(map(len, clean))),
    ):
        began = time.process_time()
        run()
        speed = characters / 1e6 / (time.process_time() - began)
        rows.append({"name": name, "ours": speed, "rival": None, "ratio": None, "unit": "MB per CPU-s", "n": 1})
    return rows


if __name__ == "__main__":
    print(json.dumps(privacy_rows(), indent=1))
