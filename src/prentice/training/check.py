"""Before the first step: turn examples into token rows, and refuse those that would teach nothing or something else.

Prompt and reply are tokenised apart, as a server does it: it sees the prompt alone and writes the reply token by token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prentice.errors import PrenticeError, TrainingError
from prentice.models.chat import ChatFormat
from prentice.records import Example
from prentice.training.forest import Row

STOP_WORDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "</s>", "<eos>", "<turn|>")
"""Tokens at which llama.cpp's server ends a reply even where the model's own list forgets them."""


@dataclass(frozen=True)
class CheckedRow:
    """An example and the tokens it trains."""

    example: Example
    row: Row
    prompt: str
    reply: str
    """The supervised text, stop token included."""

    def of_weight_one(self) -> CheckedRow:
        """The same row, its weight forgotten."""
        return replace(self, row=replace(self.row, weight=1.0))


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

        Raises: TrainingError naming the file, the row's id and the fault, for the first row that cannot be trained.
        """
        return [self._row(example) for example in examples]

    def _row(self, example: Example) -> CheckedRow:
        if not example.reply.content.strip() and not example.reply.tool_calls:
            raise self._fault(example, "its reply is empty, so nothing in it is supervised", "drop such rows")
        if example.reply.role != "assistant":
            raise self._fault(example, f"its reply has the role {example.reply.role!r}, so nothing in it is supervised")
        try:
            prompt = self.chat.prompt(example.messages, example.tools)
            reply = self.chat.reply(example.messages, example.reply, example.tools)
        except PrenticeError as error:
            raise self._fault(example, error.problem, error.hint) from error
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
            )
        if len(row.tokens) > self.max_tokens:
            raise self._fault(
                example,
                f"it has {len(row.tokens)} tokens and max_tokens is {self.max_tokens}, so it would be cut",
                "raise max_tokens, or drop such rows while curating",
            )
        if max(row.tokens) >= self.vocabulary:
            raise self._fault(
                example, f"token {max(row.tokens)} is outside the model's vocabulary of {self.vocabulary}"
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
        )

    def _fault(self, example: Example, problem: str, hint: str = "") -> TrainingError:
        return TrainingError(f"{self.where}: row {example.id}: {problem}", hint)


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
