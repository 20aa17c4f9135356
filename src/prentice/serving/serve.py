"""The endpoint as a process: bound, answering until it is told to stop."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from prentice.errors import ConfigError

if TYPE_CHECKING:
    import uvicorn

_WAITING = 1024
_LOOK_S = 1
_GRACE_S = 30
"""What is under way when it is told to stop may take so long."""


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises: ConfigError if it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host.strip("[]"), port))
        found.listen(_WAITING)  # from now on clients can connect, and wait for the first answer
    except OSError as error:
        found.close()
        raise ConfigError(f"{host}:{port} cannot be had: {error.strerror or error}", "choose another --port") from error
    return found


def serve(app: ASGIApp, bound: socket.socket, patience_s: float) -> None:
    """Answer until SIGINT or SIGTERM; what is under way is finished then.

    Args:
        patience_s: how long a client may keep us waiting.
    """
    server_of(app, patience_s).run(sockets=[bound])


def server_of(app: ASGIApp, patience_s: float) -> uvicorn.Server:
    """The server, not yet running."""
    import uvicorn

    from prentice.serving.connections import Connection, let_go

    async def look() -> None:
        let_go(server.server_state.connections, patience_s)

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE_S,
            callback_notify=look,
            timeout_notify=_LOOK_S,
        )
    )
    return server
