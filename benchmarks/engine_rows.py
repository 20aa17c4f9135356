"""The rows that the engine and its rival train on: real data, made into the examples that prentice would train on.

Real data comes from the folder that PRENTICE_DATA names. This module knows nothing of training.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from transformers import AutoTokenizer

from prentice.curation.curate import curate
from prentice.models.catalogue import get
from prentice.pipeline import Project
from prentice.records import Episode, Example, Message
from prentice.records.parquet import read_dataset
from prentice.rollouts import play
from prentice.tasks import Audience
from prentice.tasks.babyai.task import CLUMSY

BABYAI = Path(__file__).parents[1] / "examples" / "babyai"
BATCH = 32
"""Rows per optimizer step, as prentice's own default."""
NAMES = (
    "Find the names in the text: of persons, locations, corporations, groups, products and creative works. "
    "Answer with one JSON object."
)
SERVICE = "You are an airline's agent: help the customer with bookings, changes and cancellations."
"""In place of the policy that all these conversations begin with, so that only what each has said so far is shared."""
BARE = (
    "{% for message in messages %}"
    "{{ message['content'] + ('<|im_end|>' if message['role'] == 'assistant' else '\n') }}{% endfor %}"
)
"""A chat template that begins with the row's own text."""
BABYAI_CASES = 200
"""Whose turns are drawn from: in a step of a few, turns of one episode would meet more often than they do."""
LONGEST = 900
"""Characters of a passage."""


@dataclass(frozen=True)
class Workload:
    """Rows to be trained on, and how many make a step.

    Args:
        name: of the part.
        base: transformers folder of the model.
        examples: what prentice is given.
        what: in words, what they are.
        batch: rows per optimizer step.
    """

    name: str
    base: Path
    examples: tuple[Example, ...]
    what: str
    batch: int = BATCH


def base_model() -> Path:
    """SmolLM2-135M-Instruct, as transformers reads it."""
    folder = get("smollm2-135m", offline=True).safetensors
    if folder is None:
        sys.exit("smollm2-135m has no folder for transformers: `make models`")
    return folder


def ner(count: int) -> Workload:
    """Names in social media posts (WNUT-17); rows share an instruction of 35 tokens."""
    with (_data() / "ner_wnut17.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["input"], _named(row["output"])) for row in csv.DictReader(file) if row["raw_split"] == "train"]
    # a post without names teaches "{}", two tokens that say little about training
    chosen = _drawn([(text, reply) for text, reply in rows if reply != "{}"], count)
    examples = (_example(i, [("system", NAMES), ("user", text)], reply) for i, (text, reply) in enumerate(chosen))
    return Workload("ner", base_model(), tuple(examples), "WNUT-17 posts behind one instruction")


def babyai(count: int, audience: Audience = "teacher") -> Workload:
    """Turns of BabyAI's clumsy expert that brought it nearer to its goal, as the example commits them."""
    # the rules stand in the teacher's prompt alone; without past steps a turn has about 40 tokens of its own
    settings = ["task.level=GoToObj", "task.history=0"] if audience == "teacher" else []
    project = Project(BABYAI, settings)
    task, policy = project.task, project.task.baselines()[CLUMSY]

    async def episodes() -> list[Episode]:
        cases = task.cases("train")[:BABYAI_CASES]
        return [await play(policy, task.environment("student"), case, run="bench", task=task.name) for case in cases]

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dataset"
        render = partial(task.render, audience=audience)
        curate(project.config.curate, asyncio.run(episodes()), render=render, out=out)
        _, rows = read_dataset(out)
    chosen = _drawn([row.model_copy(update={"split": "train"}) for row in rows], count)
    what = f"BabyAI turns ({' '.join(settings) or 'as the example has them'}), the {audience}'s prompt"
    return Workload("babyai" if audience == "teacher" else "babyai_student", base_model(), tuple(chosen), what)


def history(count: int, most_characters: int) -> Workload:
    """Customer-service conversations with tool calls, one example per assistant turn with all that was said before it.

    Args:
        count: conversations.
        most_characters: of a conversation; what comes later is cut off, at the end of an assistant's turn.
    """
    with (_data() / "llm_logs_openai.jsonl").open(encoding="utf-8") as file:
        logged = {line["metadata"]["task_id"]: line["messages"] for line in map(json.loads, file)}
    conversations = [_cut(messages, most_characters) for messages in logged.values()]
    chosen = _drawn([c for c in conversations if sum(role == "assistant" for role, _ in c) > 2], count)
    examples = tuple(example for number, said in enumerate(chosen) for example in _turns(number, said))
    what = "airline conversations with tool calls, one row per turn"
    # all in one step: TRL's `batch_rebalance` fills a step that is not full with rows it has had
    return Workload("history", base_model(), examples, what, len(examples))


def unshared(count: int, folder: Path) -> Workload:
    """Passages of different lengths, their titles as replies; nothing is shared.

    Args:
        folder: gets the base with a template that has no head.
    """
    with (_data() / "multihop_corpus.jsonl").open(encoding="utf-8") as file:
        rows = [(row["text"], row["title"]) for row in map(json.loads, file)]
    chosen = _drawn([(text, title) for text, title in rows if len(text) <= LONGEST], count)
    examples = (_example(i, [("user", text)], title) for i, (text, title) in enumerate(chosen))
    return Workload("unshared", _bare(folder), tuple(examples), "encyclopedia passages, nothing before them")


def of_length(count: int, tokens: int, folder: Path, batch: int = BATCH) -> Workload:
    """Pieces of official texts of about one length, the last 8 tokens supervised; nothing is shared.

    Args:
        folder: gets the base with a template that has no head.
    """
    base = _bare(folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    with (_data() / "gov_corpus.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    stream = tokenizer("\n".join(texts), add_special_tokens=False).input_ids
    own = tokens - 10 - tokens // 64  # the text's end becomes a few tokens more when it is read again
    pieces = [stream[i : i + own + 8] for i in range(0, len(stream) - own - 8, own + 8)]
    chosen = ((tokenizer.decode(piece[:own]), tokenizer.decode(piece[own:])) for piece in _drawn(pieces, count))
    examples = (_example(i, [("user", text)], f"{reply.strip()} .") for i, (text, reply) in enumerate(chosen))
    return Workload(f"{tokens} tokens", base, tuple(examples), "pieces of official texts", batch)


def _data() -> Path:
    folder = os.environ.get("PRENTICE_DATA")
    if not folder:
        sys.exit("PRENTICE_DATA names no folder of real data, so there are no rows to train on")
    return Path(folder)


def _drawn(rows: Sequence[Any], count: int) -> list[Any]:
    if len(rows) < count:
        sys.exit(f"{count} rows are wanted, and there are {len(rows)}")
    return random.Random(0).sample(rows, count)


def _named(output: str) -> str:
    return json.dumps({kind: names for kind, names in json.loads(output).items() if names}, ensure_ascii=False)


def _example(number: int, said: Iterable[tuple[str, str]], reply: str, *, episode: str = "", turn: int = 0) -> Example:
    messages = tuple(Message(role=cast("Any", role), content=text) for role, text in said)
    answer = Message(role="assistant", content=reply)
    name = episode or f"e{number}"
    return Example(id=f"{name}-{turn}", episode=name, case=name, turn=turn, messages=messages, reply=answer)


def _cut(messages: Sequence[Mapping[str, Any]], most: int) -> list[tuple[str, str]]:
    """Roles and texts from the first user message on, tool calls and results written out, up to an assistant's turn."""
    said: list[tuple[str, str]] = []
    room = most
    for message in messages[1:]:
        calls = [json.dumps(call["function"]) for call in message.get("tool_calls") or ()]
        text = "\n".join([*filter(None, [message.get("content")]), *calls])
        room -= len(text)
        if room < 0:
            break
        said.append(("user" if message["role"] == "tool" else message["role"], text))
    while said and said[-1][0] != "assistant":
        said.pop()
    return said


def _turns(number: int, said: Sequence[tuple[str, str]]) -> list[Example]:
    places = [i for i, (role, text) in enumerate(said) if role == "assistant" and text.strip()]
    return [
        _example(number, [("system", SERVICE), *said[:place]], said[place][1], episode=f"c{number}", turn=turn)
        for turn, place in enumerate(places)
    ]


def _bare(folder: Path) -> Path:
    """The base with another chat template: its files linked, the template written."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in base_model().iterdir():
        if path.name not in ("chat_template.jinja", "tokenizer_config.json"):
            (folder / path.name).symlink_to(path)
    settings = json.loads((base_model() / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["chat_template"] = BARE
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
