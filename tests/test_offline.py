"""Offline: every socket but loopback is refused, whoever opens it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import socket, sys, urllib.request
from prentice.errors import PrenticeError
from prentice.offline import refuse_network
refuse_network()
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
server.close()
for attempt in (
    lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
    lambda: urllib.request.urlopen("http://example.invalid/", timeout=1),
    lambda: socket.getaddrinfo("example.invalid", 80),
    lambda: socket.create_connection(("2001:db8::1", 80), timeout=1),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
    lambda: socket.gethostbyname("example.invalid"),
):
    try:
        attempt()
    except PrenticeError as error:
        print(error.problem)
    else:
        sys.exit("a socket was opened")
"""


def test_only_loopback_is_reached() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 6
    assert "'192.0.2.1' was refused" in lines[0]
    assert "'example.invalid' was refused" in lines[1]
