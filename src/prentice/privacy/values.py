"""Texts and JSON, redacted: JSON stays JSON, and its keys stay."""

from __future__ import annotations

import json
import re
from typing import cast

from pydantic import JsonValue

from prentice.privacy.finder import Finder, harmless
from prentice.privacy.found import Text
from prentice.privacy.names import Names

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?', re.DOTALL)
_SMALLEST, _LARGEST = 10**6, 10**19
"""Whole numbers that can be a phone, a card or an account; they are looked at like a text."""


class Redaction:
    """Redacts what belongs to one episode."""

    def __init__(self, finder: Finder, names: Names) -> None:
        self._finder = finder
        self._names = names

    def text(self, text: str, key: str = "") -> str:
        """The text with placeholders; once more over the result finds nothing."""
        while (redacted := self._once(text, key)) != text:
            text = redacted
        return text

    def value(self, value: JsonValue, key: str = "") -> JsonValue:
        """Plain JSON data with placeholders, the same object where nothing was found.

        Args:
            key: the key it stands under, which may say what a number is.
        """
        if isinstance(value, str):
            return self.text(value, key)
        if isinstance(value, dict):
            changed = {name: self.value(inner, name) for name, inner in value.items()}
            return changed if any(changed[name] is not value[name] for name in value) else value
        if isinstance(value, list):
            items = [self.value(inner, key) for inner in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        return value if isinstance(value, bool) or value is None else self._number(value, key)

    def _number(self, value: float, key: str) -> JsonValue:
        if isinstance(value, float) or not _SMALLEST <= abs(value) < _LARGEST:
            return value
        text = str(value)
        redacted = self._plain(text, key or "number")
        return value if redacted == text else redacted

    def _once(self, text: str, key: str) -> str:
        ends = text.lstrip()[:1] + text.rstrip()[-1:]
        if ends in ("{}", "[]", '""'):
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                return self._plain(text, key)
            return self._json(text, key)
        return self._plain(text, key)

    def _json(self, text: str, key: str) -> str:
        """Valid JSON token by token, so that its spacing stays and an escape is never cut in two."""
        parts, last = list[str](), 0
        for token in _TOKEN.finditer(text):
            written, colon = token.groups()
            if colon:
                key = _read(written)
            elif (changed := self._token(token[0], written, key)) is not None:
                parts += [text[last : token.start()], _dump(changed)]
                last = token.end()
        return "".join([*parts, text[last:]])

    def _token(self, token: str, written: str | None, key: str) -> JsonValue:
        """What takes the place of a token of JSON; None: it stays.

        Args:
            written: what stands between its quotes, if it is a string.
        """
        if harmless(token if written is None else written, key):
            return None
        old: JsonValue = json.loads(token) if written is None else _read(written)
        new = self.value(old, key)
        return None if new == old else new

    def _plain(self, text: str, key: str) -> str:
        parts, last = list[str](), 0
        for found in self._finder.find(Text(text, key)):
            parts += [text[last : found.start], self._names.placeholder(found.kind, text[found.start : found.end])]
            last = found.end
        return "".join([*parts, text[last:]]) if parts else text


def _read(written: str) -> str:
    return cast(str, json.loads(f'"{written}"')) if "\\" in written else written


def _dump(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
