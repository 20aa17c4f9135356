"""The nouns on disk, frozen and versioned. The store that keeps episodes is `prentice.records.store`."""

from prentice.records.base import Record, digest
from prentice.records.calls import Call
from prentice.records.chats import (
    Message,
    Reply,
    Request,
    Role,
    Sampling,
    TokenLogprob,
    Tool,
    ToolCall,
    Usage,
)
from prentice.records.checkpoints import Checkpoint, Exported, ModelSource
from prentice.records.datasets import Example, Ledger, Manifest, Pair, PairSource, Thumb
from prentice.records.episodes import (
    Demonstration,
    Episode,
    Failure,
    Metric,
    Split,
    Turn,
    Value,
    episode_id,
    imported_id,
    utc_now,
)
from prentice.records.feedback import Feedback
from prentice.records.reports import Interval, PolicyResult, Report, Verdict

__all__ = [
    "Call",
    "Checkpoint",
    "Demonstration",
    "Episode",
    "Example",
    "Exported",
    "Failure",
    "Feedback",
    "Interval",
    "Ledger",
    "Manifest",
    "Message",
    "Metric",
    "ModelSource",
    "Pair",
    "PairSource",
    "PolicyResult",
    "Record",
    "Reply",
    "Report",
    "Request",
    "Role",
    "Sampling",
    "Split",
    "Thumb",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "Turn",
    "Usage",
    "Value",
    "Verdict",
    "digest",
    "episode_id",
    "imported_id",
    "utc_now",
]
