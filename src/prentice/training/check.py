"""Before the first step: turn examples into token rows, and refuse those that would teach nothing or something else.

Prompt and reply are tokenised apart, as a server does it: it sees the prompt alone and writes the reply token by token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prentice.errors import PrenticeError, TrainingError
from prentice.models.chat import ChatFormat
from prentice.records import Example, Message
from prentice.training.forest import Row
from prentice.training.items import Item

STOP_WORDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "</s>", "<eos>", "<turn|>")
"""Tokens at which llama.cpp's server ends a reply even where the model's own list forgets them."""

_LOGS = "drop such rows, or record calls and results together"


class RowFaultError(TrainingError):
    """A row that cannot be trained.

    Args:
        row: its id.
        kind: the fault in words that are the same for every row that has it; None: the problem has no others.
    """

    def __init__(self, where: Path, row: str, problem: str, hint: str = "", kind: str | None = None) -> None:
        super().__init__(f"{where}: row {row}: {problem}", hint)
        self.row, self.kind, self.what = row, kind or problem, problem


@dataclass(frozen=True)
class CheckedRow:
    """An example and the tokens it trains."""

    example: Example
    row: Row
    prompt: str
    reply: str
    """The supervised text, stop token included."""

    @property
    def item(self) -> Item:
        """The row as a step takes it."""
        example = self.example
        return Item(example.id, self.row, family=example.episode, turn=example.turn, case=example.case)


@dataclass(frozen=True)
class Checker:
    """What rows are checked against.

    Args:
        tokenizer: the student's, from transformers.
        chat: how the student writes a chat.
        max_tokens: longest row that is trained.
        stops: ids of the tokens that end a reply.
        vocabulary: rows of the student's embedding.
        serving_tokens: text → ids as the server would see them; None: not compared.
        where: the dataset's file, for errors.
    """

    tokenizer: Any
    chat: ChatFormat
    max_tokens: int
    stops: frozenset[int]
    vocabulary: int
    serving_tokens: Callable[[str], list[int]] | None
    where: Path

    def check(self, examples: Sequence[Example]) -> list[CheckedRow]:
        """Turn examples into rows, in the same order.

        Raises: RowFaultError naming the file, the row's id and the fault, for the first row that cannot be trained.
        """
        return [self._row(example) for example in examples]

    def _row(self, example: Example) -> CheckedRow:
        if not example.reply.content.strip() and not example.reply.tool_calls:
            raise self._fault(example, "its reply is empty, so nothing in it is supervised", "drop such rows")
        if example.reply.role != "assistant":
            raise self._fault(example, f"its reply has the role {example.reply.role!r}, so nothing in it is supervised")
        if unpaired := _unpaired(example.messages):
            raise self._fault(example, *unpaired)
        try:
            prompt = self.chat.prompt(example.messages, example.tools)
            reply = self.chat.reply(example.messages, example.reply, example.tools)
        except PrenticeError as error:
            raise self._fault(example, error.problem, error.hint) from error
        # a template may trim what it writes
        if any(m.role == "system" and m.content.strip() not in prompt for m in example.messages):
            raise self._fault(
                example, "the chat template drops the system message", "choose a base that knows the system role"
            )
        row = Row(tuple(self._tokens(prompt)), tuple(self._tokens(reply)), example.weight)
        self._fits(example, row)
        self._is_what_the_server_sees(example, prompt, row.prompt)
        self._is_what_the_server_sees(example, reply, row.reply, begun=True)
        return CheckedRow(example, row, prompt, reply)

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _fits(self, example: Example, row: Row) -> None:
        if not row.prompt or len(row.reply) < 2:
            raise self._fault(example, "nothing in it is supervised but the stop token")
        if row.reply[-1] not in self.stops:
            last = self.tokenizer.decode([row.reply[-1]])
            raise self._fault(
                example,
                f"its reply ends with the token {last!r}, so the student would never learn to stop",
                "use a base whose chat template ends a reply with its end-of-turn token",
                "its reply ends with no stop token",
            )
        if len(row.tokens) > self.max_tokens:
            raise self._fault(
                example,
                f"it has {len(row.tokens)} tokens and max_tokens is {self.max_tokens}, so it would be cut",
                "raise max_tokens, or drop such rows while curating",
                "it is longer than max_tokens",
            )
        if max(row.tokens) >= self.vocabulary:
            raise self._fault(
                example,
                f"token {max(row.tokens)} is outside the model's vocabulary of {self.vocabulary}",
                "the base's tokenizer and its weights are not the same; get the base again",
                "a token is outside the model's vocabulary",
            )

    def _is_what_the_server_sees(
        self, example: Example, text: str, ours: tuple[int, ...], *, begun: bool = False
    ) -> None:
        if self.serving_tokens is None:
            return
        theirs = self.serving_tokens(text)
        begin = self.tokenizer.bos_token_id
        if begun and theirs[:1] == [begin] != list(ours[:1]):
            theirs = theirs[1:]  # asked for a reply alone, a server still puts its begin token in front
        if list(ours) == theirs:
            return
        place = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(ours))
        raise self._fault(
            example,
            f"trained tokens differ from those the server would see, from token {place} on: "
            f"{list(ours[place : place + 4])} against {theirs[place : place + 4]}",
            "the base's tokenizer and the served model's are not the same; get the base again",
            "trained tokens differ from those the server would see",
        )

    def _fault(self, example: Example, problem: str, hint: str = "", kind: str | None = None) -> RowFaultError:
        return RowFaultError(self.where, example.id, problem, hint, kind)


def _unpaired(messages: Sequence[Message]) -> tuple[str, str, str] | None:
    """What is wrong with a history whose tool calls and results do not belong together: problem, hint, kind."""
    asked: list[str] = []
    for message in (*messages, Message(role="assistant")):
        if message.role == "tool":
            # a log without ids has its results in the order of the calls
            answered = asked[0] if asked and not message.tool_call_id else message.tool_call_id
            if answered not in asked:
                return (
                    f"a tool message answers {answered!r}, which no call asked for",
                    _LOGS,
                    "a tool message answers no call",
                )
            asked.remove(answered)
        elif asked:
            return f"its tool call {asked[0]!r} has no result", _LOGS, "a tool call has no result"
        else:
            asked = [call.id for call in message.tool_calls]
    return None


def stop_ids(tokenizer: Any, base: Path) -> frozenset[int]:
    """Ids of every token that ends a reply: the tokenizer's, the base's own, and those that servers know by name."""
    try:
        listed = json.loads((base / "generation_config.json").read_text(encoding="utf-8")).get("eos_token_id")
    except (OSError, ValueError):
        listed = None
    vocabulary = tokenizer.get_vocab()
    ids = {tokenizer.eos_token_id, *(vocabulary.get(word) for word in STOP_WORDS)}
    ids |= set(listed if isinstance(listed, list) else [listed])
    return frozenset(i for i in ids if i is not None)
