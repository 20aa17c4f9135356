"""What clients send, read within limits."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from prentice.serving.config import RecordConfig
from prentice.serving.http_errors import HttpError


async def read_body(request: Request, config: RecordConfig) -> bytes:
    """The whole body.

    Raises: HttpError if it is too long (413), no plain JSON by its own word (415), or does not come in time (408).
    """
    most = int(config.max_body_mb * 1_000_000)
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":  # a form, which a page in a browser may send without asking
        raise HttpError(415, f"content-type is {kind[:100]!r}, not application/json")
    if (packed := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        raise HttpError(415, f"content-encoding is {packed[:100]!r}: send the request as it is")
    parts, size = [], 0
    try:
        async with asyncio.timeout(config.client_timeout_s):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise HttpError(413, f"the request is longer than {most:,} bytes", code="request_too_large")
                parts.append(part)
    except TimeoutError as error:
        raise HttpError(408, f"the request did not come within {config.client_timeout_s:g} s") from error
    except ClientDisconnect as error:
        raise HttpError(400, "the client left before its request was whole") from error
    return b"".join(parts)
