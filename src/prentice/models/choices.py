"""Choosing one of a list of texts with a language model, at the least computation.

The choices become a trie of tokens. Where only one branch is left no token is computed: a choice that is decided by its
first token costs one forward pass. The walk is the same for every engine, which only has to pick one of some tokens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from prentice.errors import ModelError

Pick = Callable[[Sequence[int], Sequence[int]], Awaitable[int]]
"""(tokens after the prompt so far, allowed next tokens) → the token picked."""


@dataclass
class Trie:
    """Token trie of the choices; a leaf names the choice it stands for."""

    branches: dict[int, Trie] = field(default_factory=dict)
    choice: str | None = None

    @classmethod
    def build(cls, choices: Sequence[tuple[str, Sequence[int]]], end: int) -> Trie:
        """A trie over (text, tokens), each closed by the token `end` so that no choice hides inside another.

        Raises: ModelError if two choices have the same tokens.
        """
        root = cls()
        for text, tokens in choices:
            node = root
            for token in (*tokens, end):
                node = node.branches.setdefault(token, cls())
            if node.choice is not None:
                raise ModelError(f"choices {node.choice!r} and {text!r} have the same tokens")
            node.choice = text
        return root


async def walk(root: Trie, pick: Pick) -> tuple[str, int]:
    """Follow the trie to a choice; return it with the number of tokens that had to be computed."""
    node = root
    path: list[int] = []
    computed = 0
    while node.choice is None:
        if len(node.branches) == 1:
            token = next(iter(node.branches))
        else:
            token = await pick(tuple(path), tuple(node.branches))
            computed += 1
        path.append(token)
        node = node.branches[token]
    return node.choice, computed
