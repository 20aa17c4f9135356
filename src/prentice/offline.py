"""No network: once switched on, every socket of this process but loopback is refused, whoever opens it."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

from prentice.errors import PrenticeError

_refusing = False


def refuse_network() -> None:
    """Refuse every connection and name look-up that leaves this machine, until the process ends.

    An audit hook sees them whichever library makes them; what a child process does, it does not see, so the variables
    that keep the model hub's client offline are set for those.
    """
    global _refusing  # noqa: PLW0603 - an audit hook cannot be taken off again, so it is put on once
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["PIP_NO_INDEX"] = "1"
    if not _refusing:
        _refusing = True
        sys.addaudithook(_check)


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if host is not None and not _is_loopback(host):
        name = host.decode() if isinstance(host, bytes) else host
        raise PrenticeError(
            f"offline: a connection to {name!r} was refused", "set offline = false to allow the network"
        )


def _is_loopback(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in ("localhost", "")
