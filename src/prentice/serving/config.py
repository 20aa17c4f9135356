"""How an endpoint records."""

from __future__ import annotations

from pydantic import Field

from prentice.config import StageConfig
from prentice.records.episodes import Split


class RecordConfig(StageConfig):
    """The recording endpoint: who answers behind it, and its limits."""

    upstream: str = "https://api.openai.com/v1"
    """Who answers: the URL of any server of OpenAI's form, or a policy as `[teacher] model` names it."""
    run: str = "record"
    """The run that recorded episodes belong to."""
    split: Split = "train"
    """Where a recorded case goes that does not say it itself."""
    max_body_mb: float = Field(20.0, gt=0)
    """Largest request."""
    max_spool_mb: float = Field(1000.0, gt=0)
    """The most that waits on disk while the store is down; beyond it calls go on and are not recorded."""
    timeout_s: float = Field(600.0, gt=0)
    """For a whole answer of the upstream."""
    client_timeout_s: float = Field(60.0, gt=0)
    """For a client to send its request, and to take the next part of an answer."""
    count_stream_tokens: bool = True
    """Ask the upstream to count the tokens of a stream where the client did not ask (`stream_options`)."""
