"""What a client says of a call beside the call itself: the episode it belongs to, its case, function, split and tags.

It says so in headers (`X-Prentice-Episode: …`) or in a field of the body (`"prentice": {"episode": "…"}`), which goes
no further. A client that says nothing gets an episode made for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from prentice.records.base import Record, digest, first_fault
from prentice.records.episodes import Split
from prentice.serving.http_errors import HttpError

FIELD = "prentice"
HEADER = "x-prentice-"
_TAG = f"{HEADER}tag-"
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Labels(Record):
    """What is said of a call; None where nothing is."""

    episode: Name | None = None
    case: Name | None = None
    function: Name | None = None
    split: Split | None = None
    tags: dict[Name, Name] = Field(default_factory=dict, max_length=20)

    @classmethod
    def read(cls, headers: Mapping[str, str], field: Any = None) -> Labels:
        """Read headers and the body's field; where both say something, the field counts.

        Raises: HttpError naming what is wrong.
        """
        said: dict[str, Any] = {"tags": {}}
        for key, value in headers.items():
            name = key.lower()
            if name.startswith(_TAG):
                said["tags"][name.removeprefix(_TAG)] = value
            elif name.startswith(HEADER) and name.removeprefix(HEADER) in cls.model_fields:
                said[name.removeprefix(HEADER)] = value
        if field is not None and not isinstance(field, dict):
            raise HttpError(400, f"{FIELD!r} is not an object", param=FIELD)
        try:
            return cls.model_validate(said | (field or {}))
        except ValidationError as error:
            key, words = first_fault(error)
            raise HttpError(400, f"{FIELD}.{key}: {words}", param=f"{FIELD}.{key}") from error

    def over(self, other: Labels) -> Labels:
        """These labels, and what only the other ones say."""
        said = {name: value for name, value in self if value is not None and name != "tags"}
        return other.model_copy(update={**said, "tags": {**other.tags, **self.tags}})


def stored_id(episode: str) -> str:
    """The id under which a client's own name of an episode is stored: it cannot meet that of a rollout's."""
    return digest(["recorded episode", episode])
