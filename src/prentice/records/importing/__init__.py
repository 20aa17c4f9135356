"""Logs of others as episodes: what runs today, brought in as it was recorded."""

from prentice.records.importing.conversations import LogOptions
from prentice.records.importing.faults import Rejected
from prentice.records.importing.formats import FORMATS
from prentice.records.importing.logs import read_logs

__all__ = ["FORMATS", "LogOptions", "Rejected", "read_logs"]
