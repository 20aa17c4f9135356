"""E-mail and IP addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from prentice.privacy.found import Found, Text

_LATIN = r"A-Za-z0-9_\u00c0-\u024f"
_LOCAL = re.compile(rf"[{_LATIN}+](?:[{_LATIN}.%+'-]*[{_LATIN}%+-])?$")
_LONGEST_LOCAL = 64
_DOMAIN = re.compile(rf"(?:[{_LATIN}](?:[{_LATIN}-]{{0,61}}[{_LATIN}])?\.)+[A-Za-z\u00c0-\u024f]{{2,24}}(?![{_LATIN}])")
_SPELT = re.compile(
    rf"[{_LATIN}+][{_LATIN}.%+-]{{0,63}} ?[\[(] ?at ?[\])] ?"
    rf"(?:[{_LATIN}-]{{1,63}}(?:\.| ?[\[(] ?dot ?[\])] ?))+[A-Za-z]{{2,24}}\b",
    re.IGNORECASE,
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])")
_VERSION = re.compile(r"(?:\bv|version|release)\W*$")


def emails(text: Text) -> Iterator[Found]:
    """E-mail addresses, those written with (at) and [dot] too."""
    said = text.text
    place = said.find("@")
    while place >= 0:
        domain = _DOMAIN.match(said, place + 1)
        local = _LOCAL.search(said[max(0, place - _LONGEST_LOCAL) : place]) if domain else None
        if domain and local:
            start = place - len(local[0])
            if said[start] in "nrt" and said[start - 1 : start] == "\\":
                start += 1  # the n of an escaped line end is not part of the name
            yield Found("email", start, domain.end())
        place = said.find("@", place + 1)
    if re.search(r"[\[(] ?at ?[\])]", said, re.IGNORECASE):
        yield from (Found("email", *match.span()) for match in _SPELT.finditer(said))


def ips(text: Text) -> Iterator[Found]:
    """IP addresses of other machines; `version 1.2.3.4` is none."""
    for match in (*_IPV4.finditer(text.text), *_IPV6.finditer(text.text)):
        if _names_a_machine(match[0]) and not _VERSION.search(text.before(match.start())):
            yield Found("ip", *match.span())


def _names_a_machine(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    # 6.1.2.1 is the number of a section
    return not (address.is_loopback or address.is_unspecified) and len(text) > 7
