"""Terminals and pipes that cannot hold every character, as on Windows: the nearest plain one stands in for it."""

from __future__ import annotations

import codecs
import io
import sys

NEAREST = {
    "✓": "+", "✗": "x", "–": "-", "−": "-", "—": "-", "…": ".", "→": ">", "←": "<", "·": "-", "×": "x", "±": "~",
    "≥": ">", "≤": "<", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
"""What we print beyond ASCII; whatever else a terminal cannot show becomes a question mark."""


def write_what_can_be_shown() -> None:
    """From now on no character makes printing fail."""
    codecs.register_error("nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nearest")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(NEAREST.get(character, "?") for character in error.object[error.start : error.end]), error.end
