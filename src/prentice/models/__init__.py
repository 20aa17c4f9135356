"""Anything that continues a chat. `policy.py` is the contract; `specs.py` makes a policy of one line."""

from prentice.models.chat import ChatFormat
from prentice.models.policy import Policy
from prentice.models.recorded import RecordedModel
from prentice.models.scripted import ScriptedModel

__all__ = ["ChatFormat", "Policy", "RecordedModel", "ScriptedModel"]
