"""`prentice.record(client)` and `prentice.feedback(…)`: recording and feedback from within a program.

A process has one recorder for each project, made at the first call and closed at exit; a forked child makes its own.
"""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from pydantic import AwareDatetime

from prentice.errors import DataError, StoreError
from prentice.pipeline.recording import Recording, policy_of
from prentice.records.episodes import Split
from prentice.serving.client import Listener, recorded
from prentice.serving.feedback import add_feedback, read_feedback
from prentice.serving.http_errors import HttpError
from prentice.serving.labels import Labels
from prentice.serving.recorder import Recorder

FLUSH_S = 10.0
"""How long feedback waits for the calls before it to be stored."""
C = TypeVar("C")


class Said(TypedDict, total=False):
    """What feedback may say, as the endpoint's `/v1/feedback` takes it."""

    name: str
    value: bool | float
    turn: int
    comment: str
    demonstration: str | dict[str, Any]
    source: Literal["judge", "program", "person"]
    author: str
    id: str
    at: AwareDatetime


def record(client: C, *, project: str | Path = ".", function: str | None = None, split: Split | None = None) -> C:
    """A copy of an OpenAI client whose chat completions are recorded; the client itself is not changed.

    Which episode a call belongs to is said by `prentice.episode(…)` around it, or by the call itself:
    `extra_body={"prentice": {"episode": …}}`; else a call that goes on with a conversation joins its episode.

    Args:
        client: `OpenAI()`, `AsyncOpenAI()`, `AzureOpenAI()`, …
        project: where records go: a project, or any folder.
        function: which prompt of the job its calls are, where they do not say.
        split: where their cases go, where they do not say.
    Raises: ConfigError.
    """
    recording = Recording.of(project)
    listener = Listener(
        recorder=lambda: _recorder_of(recording),
        labels=Labels(function=function, split=split),
        policy=policy_of(str(getattr(client, "base_url", ""))),
        count_tokens=recording.config.count_stream_tokens,
    )
    return recorded(client, listener)


def feedback(episode: str, *, project: str | Path = ".", success: bool | None = None, **said: Unpack[Said]) -> str:
    """Say something of a recorded episode, or of one of its turns, at once or weeks later.

    Exactly one of `success`, `value` (with its `name`), `comment` and `demonstration` is said at a time.

    Args:
        episode: as `prentice.episode` named it, or the answer's header `x-prentice-episode`.
        project: where it was recorded.
        success: short for `name="success", value=…`: accepted or rejected.
        said: see `Said`.
    Returns: the feedback's id; the same again is stored once.
    Raises: DataError naming what is wrong; StoreError.
    """
    body = {"episode": episode, **said}
    if success is not None:
        if said.get("name") is not None or said.get("value") is not None:
            raise DataError("success stands for a name and a value, and another is given", "say one thing at a time")
        body |= {"name": "success", "value": success}
    try:
        checked = read_feedback(body)
        recorder = _recorder_of(Recording.of(project))
        if not recorder.flush(FLUSH_S):
            raise StoreError(f"the calls before it are not stored yet: {recorder.trouble}", "say it again later")
        return add_feedback(recorder.store(), checked)["id"]
    except HttpError as error:
        raise DataError(error.message) from error


def stop_recording() -> None:
    """Store what waits, and end the recorders of this process; a call after that begins anew."""
    with _PROCESS.lock:
        recorders, _PROCESS.recorders = list(_PROCESS.recorders.values()), {}
    for recorder in recorders:
        recorder.close()


@dataclass
class _Process:
    """The recorders of a process, by the folder they write to."""

    recorders: dict[Path, Recorder] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    parent: _Process | None = None
    """Kept in a forked child: what is collected there would let go of the parent's locks."""


_PROCESS = _Process()


def _recorder_of(recording: Recording) -> Recorder:
    home = recording.home.resolve()
    with _PROCESS.lock:
        if home not in _PROCESS.recorders:
            _PROCESS.recorders[home] = recording.recorder()
        return _PROCESS.recorders[home]


def _forked() -> None:
    global _PROCESS  # noqa: PLW0603 (a fork copies the process's state, and this begins it anew)
    _PROCESS = _Process(parent=_PROCESS)


atexit.register(stop_recording)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
