"""Personal data: found and replaced by placeholders on its way into the store. It knows texts and records, no stage."""

from prentice.privacy.config import KINDS, Kind, PrivacyConfig
from prentice.privacy.found import Found
from prentice.privacy.redactor import Redactor

__all__ = ["KINDS", "Found", "Kind", "PrivacyConfig", "Redactor"]
