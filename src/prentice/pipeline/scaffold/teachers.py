"""Who can do the job today, as far as this machine shows."""

from __future__ import annotations

import os
from collections.abc import Mapping

from prentice.pipeline.scaffold.guesses import Guess

KEYS = {
    "ANTHROPIC_API_KEY": "anthropic:claude-haiku-4-5",
    "OPENAI_API_KEY": "openai:gpt-5-mini",
    "GEMINI_API_KEY": "gemini:gemini-2.5-flash",
    "GOOGLE_API_KEY": "gemini:gemini-2.5-flash",
}
"""Variable that holds a key → that provider's small model."""
LOCAL_TEACHER = "local:qwen2.5-coder-1.5b"


def find_teacher(environment: Mapping[str, str] = os.environ) -> Guess:
    """A provider whose key is set, else a local model."""
    for variable, model in KEYS.items():
        if environment.get(variable, "").strip():
            return Guess(model, f"{variable} is set")
    return Guess(LOCAL_TEACHER, "no provider's key is set; runs on this machine")
