"""Who may come in: keys where there are any, this machine's own clients where there are none."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path

from starlette.datastructures import Headers

from prentice.errors import ConfigError, PrenticeError
from prentice.serving.http_errors import HttpError
from prentice.serving.keys import Keys, Scope, read_keys

REREAD_S = 1.0


class Access:
    """Decides on requests.

    Args:
        home: a project's `.prentice`, where the keys are.
        host: what the endpoint is bound to.
    Raises: ConfigError if it is bound beyond this machine and there is no key.
    """

    def __init__(self, home: Path, host: str) -> None:
        self._home, self._local = home, is_loopback(host)
        self._keys, self._read_at = read_keys(home), time.monotonic()
        if not self._local and not self._keys.keys:
            raise ConfigError(
                f"{host} can be reached from other machines, and there is no key",
                "make one: prentice keys add NAME, or bind to 127.0.0.1",
            )

    @property
    def by_key(self) -> bool:
        """Whether clients have to show a key of ours."""
        return bool(self._current().keys) or not self._local

    def check(self, headers: Headers, scope: Scope) -> None:
        """Let a request in.

        Raises: HttpError 401, 403, or 503 where the keys cannot be read.
        """
        if self._local and not is_loopback(_host(headers)):
            # a page that a browser shows can reach this machine under a name of its own
            raise HttpError(403, "this endpoint answers to localhost only", code="wrong_host")
        try:
            by_key, keys = self.by_key, self._current()
        except PrenticeError as error:
            raise HttpError(503, "the keys of this endpoint cannot be read", code="keys_unreadable") from error
        if not by_key:
            return
        kind, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip() if kind.lower() == "bearer" else headers.get("api-key", "")
        allowed = keys.allow(token, scope) if token else None
        if allowed is None:
            raise HttpError(
                401, "no valid key of this endpoint: send it as Authorization: Bearer …", code="invalid_api_key"
            )
        if not allowed:
            raise HttpError(403, f"this key is not allowed {scope!r}", code="wrong_scope")

    def _current(self) -> Keys:
        if time.monotonic() - self._read_at > REREAD_S:
            self._keys, self._read_at = read_keys(self._home), time.monotonic()
        return self._keys


def is_loopback(host: str) -> bool:
    """Whether this name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host(headers: Headers) -> str:
    host = headers.get("host", "")
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
