"""Why a call to a provider failed, what that means for the next attempt, and how long to wait for it.

The form of the errors is that of any-llm-sdk 1.40 (`any_llm.utils.exception_handler`).
"""

from __future__ import annotations

import email.utils
import random
import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from any_llm.exceptions import AnyLLMError

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
"""A provider that asks for a longer pause is given up on: the run can be resumed when it is over."""

UNREACHED = frozenset({"ConnectError", "ConnectTimeout", "ConnectionRefusedError"})
"""Errors, of any HTTP library, before a request was sent: nothing can have been billed."""


class Fault(Exception):  # noqa: N818 - not an error of the caller's: the next attempt may make it good
    """One failed attempt.

    Args:
        problem: what happened, in one line.
        hint: the next step for the user.
        is_retryable: whether the same call may work later.
        was_lost: whether a reply may have been made, and billed, that never came whole.
        pause_s: seconds the provider asks to wait.
        is_overload: whether other calls to it had better wait, too.
    """

    def __init__(
        self,
        problem: str,
        hint: str = "",
        *,
        is_retryable: bool = False,
        was_lost: bool = False,
        pause_s: float | None = None,
        is_overload: bool = False,
    ) -> None:
        super().__init__(problem)
        self.problem, self.hint, self.is_retryable, self.was_lost = problem, hint, is_retryable, was_lost
        self.pause_s, self.is_overload = pause_s, is_overload


def read_error(error: AnyLLMError, key_variable: str, keys: Sequence[str]) -> Fault:
    """What an error of any-llm means; `keys` never show in it, `key_variable` names where the right one belongs."""
    status = error.status_code
    text = " ".join(error.message.split())
    for key in keys:
        text = text.replace(key, "[key]")
    text = text[:300]
    if status in (401, 403):
        # what providers say here quotes a part of the key
        return Fault(f"the key was refused (HTTP {status})", f"check {key_variable} in the environment")
    if status is not None and status >= 300:
        # OpenAI says 429 to an empty account too, which no waiting fills
        again = (status in (408, 409, 425, 429) or status >= 500) and error.code != "insufficient_quota"
        pause_s = _retry_after_s(error)
        return Fault(
            f"HTTP {status}: {text}",
            _hint(status, text),
            is_retryable=again,
            pause_s=pause_s,
            is_overload=status == 429 or pause_s is not None,
        )
    return _read_without_status(error, text)


def backoff_s(attempt: int) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): doubling, and up to half of it left to chance."""
    # chance, so that calls that failed together do not come back together
    return min(FIRST_PAUSE_S * 2.0 ** (attempt - 1), LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)


def _read_without_status(error: AnyLLMError, text: str) -> Fault:
    from any_llm.exceptions import ProviderError

    if not isinstance(error, ProviderError):
        return Fault(text)
    names = [type(cause).__name__ for cause in _causes(error)]
    if UNREACHED.intersection(names):
        return Fault("no connection", "is the base URL right, and the server up?", is_retryable=True)
    if any("Protocol" in name or "Connection" in name for name in names):
        return Fault("the connection broke before the reply was whole", is_retryable=True, was_lost=True)
    problem = f"the reply cannot be read: {text}"
    return Fault(problem, "is the base URL that of an API?", is_retryable=True, was_lost=True)


def _hint(status: int, text: str) -> str:
    if "temperature" in text:
        return "this model draws at a temperature of its own: ask for temperature 1"
    if status == 404:
        return "is the model's name right, and the base URL?"
    return "send fewer calls at once" if status == 429 else ""


def _retry_after_s(error: AnyLLMError) -> float | None:
    headers = getattr(getattr(error.original_exception, "response", None), "headers", {})
    if milliseconds := _number(headers.get("retry-after-ms")):
        return milliseconds / 1000
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None:
        return seconds
    until = _timestamp(value)
    # by the server's clock where it tells the time: ours may be wrong, or jump
    now = _timestamp(headers.get("date"))
    return None if until is None else max(0.0, until - (time.time() if now is None else now))


def _number(value: str | None) -> float | None:
    text = (value or "").strip()
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def _timestamp(value: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value or "").timestamp()
    except ValueError:
        return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "original_exception", None) or error.__cause__ or error.__context__
