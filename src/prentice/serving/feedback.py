"""`/v1/feedback`: what people, judges and programs say of recorded episodes, at once or weeks later."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from prentice.records import Feedback, Message, digest, utc_now
from prentice.records.base import first_fault
from prentice.records.episodes import Value
from prentice.records.feedback import COMMENT, DEMONSTRATION, FeedbackOutcome
from prentice.records.importing.chats import read_chat
from prentice.records.importing.faults import RowError
from prentice.records.store import Store
from prentice.serving.http_errors import HttpError
from prentice.serving.labels import stored_id

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_STATUS = {"unknown episode": 404, "unknown turn": 404, "other content": 409}


class FeedbackBody(BaseModel):
    """One thing said of an episode or a turn: a value with its name, a comment, or a demonstration."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    episode: Text
    """The episode, as the client named it or as the answer's header `x-prentice-episode` does."""
    turn: int | None = Field(None, ge=0, lt=2**31)
    """Which of its calls, counted from 0; without it the whole episode."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    """What the value is, such as `success` (accepted or not) or `rating`."""
    value: bool | float | None = None
    """A flag or a number."""
    comment: Annotated[str, StringConstraints(min_length=1, max_length=100_000)] | None = None
    """A remark."""
    demonstration: str | dict[str, JsonValue] | None = None
    """What the reply should have been: its text, or a message with tool calls."""
    source: Literal["judge", "program", "person"] = "person"
    """Who says it."""
    author: Annotated[str, StringConstraints(max_length=200)] = ""
    """Who exactly."""
    id: Text | None = None
    """The same feedback sent again under its id is stored once; default: a hash of what it says."""
    at: AwareDatetime | None = None
    """When it was said; default: now."""


def read_feedback(body: dict[str, Any]) -> FeedbackBody:
    """Validate what a client sent.

    Raises: HttpError naming the field.
    """
    try:
        said = FeedbackBody.model_validate(body)
    except ValidationError as error:
        key, words = first_fault(error)
        raise HttpError(400, f"{key}: {words}" if key else words, param=key or None) from error
    given = [name for name in ("value", "comment", "demonstration") if getattr(said, name) is not None]
    if len(given) != 1:
        raise HttpError(
            400, f"exactly one of value, comment and demonstration is needed; given: {', '.join(given) or 'none'}"
        )
    if said.value is not None and said.name is None:
        raise HttpError(400, "a value needs a name, such as success", param="name")
    return said


def add_feedback(store: Store, said: FeedbackBody) -> dict[str, str]:
    """Store feedback; return its id and whether it is new.

    Raises: HttpError if its episode or turn is unknown, or other feedback has its id; StoreError.
    """
    outcome, record = FeedbackOutcome(), None
    for episode in (stored_id(said.episode), said.episode):
        record = _record(said, episode)
        outcome = store.add_feedback([record])
        if not outcome.refused or outcome.refused[0].reason != "unknown episode":
            break
    if outcome.refused:
        refusal = outcome.refused[0]
        message = f"no episode {said.episode!r} is known" if refusal.reason == "unknown episode" else refusal.message
        raise HttpError(_STATUS[refusal.reason], message, code=refusal.reason.replace(" ", "_"))
    assert record is not None
    return {"id": record.id, "status": "stored" if outcome.new else "known"}


def _record(said: FeedbackBody, episode: str) -> Feedback:
    default = COMMENT if said.comment is not None else DEMONSTRATION
    value: Value | None = said.comment if said.comment is not None else said.value
    content = said.model_dump(mode="json", exclude={"id", "at"})
    try:
        return Feedback(
            id=said.id or digest(content),
            episode=episode,
            turn=said.turn,
            name=said.name or default,
            value=value,
            demonstration=_message(said.demonstration),
            source=said.source,
            author=said.author,
            at=said.at or utc_now(),
        )
    except ValidationError as error:
        key, words = first_fault(error)
        raise HttpError(400, words, param=key or None) from error


def _message(shown: str | dict[str, Any] | None) -> Message | None:
    if shown is None:
        return None
    raw = {"role": "assistant", "content": shown} if isinstance(shown, str) else {"role": "assistant", **shown}
    try:
        return read_chat([raw]).messages[0]
    except RowError as error:
        raise HttpError(400, str(error), param="demonstration") from error
