"""The endpoint as a process: bound, answering until it is told to stop."""

from __future__ import annotations

import socket

from starlette.types import ASGIApp

from prentice.errors import ConfigError

_WAITING = 1024
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


def serve(app: ASGIApp, bound: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM; what is under way is finished then."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_S,
    )
    uvicorn.Server(config).run(sockets=[bound])
