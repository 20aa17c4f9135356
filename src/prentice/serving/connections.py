"""One client's connection: what it may send before a request is whole, how long it may take, and how many there may be.

uvicorn bounds none of that: a client that says nothing, or reads nothing, would be held for ever.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from functools import cache

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from prentice.serving.http_errors import error_body

MOST_CONNECTIONS = 4096
FILES_A_CONNECTION = 3
"""One of them for all else: the store, the spool, libraries."""
LONGEST_HEAD = 64_000
"""Bytes of a request's line and headers."""


class Connection(HttpToolsProtocol):
    """A connection that is let go of when its client keeps us waiting; see `let_go`."""

    _head = 0
    """Bytes of a head that is not whole yet."""
    _in_head, _paused = True, False
    _since: float | None = None
    """When we were first seen waiting for what we wait for now."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._refuse(503, "too many connections")

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head:
            self._head += len(data)
            if self._head > LONGEST_HEAD and not self.transport.is_closing():
                self._refuse(431, f"the headers are longer than {LONGEST_HEAD:,} bytes")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head, self._since = True, 0, None

    def on_headers_complete(self) -> None:
        """Its headers are whole."""
        self._in_head, self._since = False, None
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """The client takes nothing more for now."""
        super().pause_writing()
        self._paused = True

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        self._paused, self._since = False, None

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(400, msg)

    def check(self, now: float, patience_s: float) -> None:
        """End the connection if its client keeps us waiting for longer than that, in seconds."""
        if not (self._in_head or self._paused or self.transport.is_closing()):
            return
        if self._since is None:
            self._since = now
        elif now - self._since > patience_s:
            self.transport.abort()

    def _refuse(self, status: int, message: str) -> None:
        body = error_body(status, message)
        head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()


@cache
def most_connections() -> int:
    """How many clients may be connected: each takes a file, and what is asked upstream for it another.

    As many files as that takes are asked of the system, which may allow fewer.
    """
    if os.name == "posix":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES_A_CONNECTION * MOST_CONNECTIONS
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return MOST_CONNECTIONS
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed // FILES_A_CONNECTION
    return MOST_CONNECTIONS  # there is no such limit on Windows


def let_go(connections: Iterable[object], patience_s: float) -> None:
    """End the connections whose clients keep us waiting."""
    now = asyncio.get_running_loop().time()
    for connection in list(connections):
        if isinstance(connection, Connection):
            connection.check(now, patience_s)
