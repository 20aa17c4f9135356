"""What is done about personal data: the `[privacy]` section."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints

from prentice.config import StageConfig

Kind = Literal["email", "phone", "card", "account", "key", "ip", "id"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class PrivacyConfig(StageConfig):
    """Personal data and secrets in what is stored."""

    mode: Literal["off", "report", "redact"] = "off"
    """off: store all as it is; report: store it as it is and count what was found; redact: store placeholders."""
    kinds: tuple[Kind, ...] = Field(KINDS, min_length=1)
    """What is looked for: e-mail addresses, phone numbers, payment cards, bank accounts, keys and passwords,
    IP addresses, national ids."""
    allow: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Texts that are never touched, such as your own support address; spelling and case do not matter."""
    regions: tuple[Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")], ...] = (
        "US",
        "GB",
        "DE",
        "FR",
        "ES",
        "IT",
        "IN",
        "AU",
        "BR",
    )
    """Countries, by two letters, whose phone numbers are known without a country code."""
