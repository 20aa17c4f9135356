"""Recording in process: an OpenAI client whose chat completions are recorded as the endpoint records them.

What is wrapped is the HTTP client's `send`: every way through the SDK ends there (create, parse, stream helpers, raw
responses, Azure, retries), with request and answer as they cross the wire. The one name of the SDK's inside that is
used is `_client`; all else - `copy(http_client=…)`, `send`, requests, responses, byte streams - is public.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

from prentice.errors import ConfigError
from prentice.records.chats import DISCONNECTED
from prentice.records.episodes import Split
from prentice.serving.asking import Asked, read_asked
from prentice.serving.exchanges import Exchange
from prentice.serving.http_errors import HttpError
from prentice.serving.labels import HEADER, Labels
from prentice.serving.recorder import Recorder
from prentice.serving.witness import Witness

LOG = logging.getLogger("prentice.record")
PATH = "/chat/completions"
C = TypeVar("C")
_AROUND: ContextVar[Labels | None] = ContextVar("prentice_episode", default=None)


@dataclass(frozen=True)
class Listener:
    """How the calls of a client are recorded.

    Args:
        recorder: gives the process's recorder.
        labels: what holds for calls that say nothing else.
        policy: who answers, for records.
        count_tokens: ask for the number of tokens of a stream where the caller did not.
    """

    recorder: Callable[[], Recorder]
    labels: Labels
    policy: str
    count_tokens: bool

    def begin(self, request: Any) -> tuple[Witness | None, Any]:
        """Who records a request - nobody, if it is no chat completion -, and the request that is sent.

        It does not raise: a call goes on whether it can be recorded or not.
        """
        if request.method != "POST" or not request.url.path.endswith(PATH):
            return None, request
        try:
            asked = read_asked(request.read(), count_tokens=self.count_tokens)
            labels = self._labels(request, asked)
            request = _sent(request, asked)
            episode = self.recorder().episode_of(asked.body, labels)
            exchange = Exchange(asked.body, labels, episode, policy=self.policy)
            return Witness(self._record, exchange, hide_counts=asked.hide_counts), request
        except Exception as error:
            _say_once(f"calls go on and are not recorded: {getattr(error, 'message', error)}")
            return None, request

    def _record(self, exchange: Exchange) -> None:
        try:
            self.recorder().record(exchange)  # perhaps not the one that there was when the call began
        except Exception as error:
            _say_once(f"a call is not recorded: {error}")

    def _labels(self, request: Any, asked: Asked) -> Labels:
        around = (_AROUND.get() or Labels()).over(self.labels)
        try:
            return asked.labels(request.headers).over(around)
        except HttpError as error:
            _say_once(f"what is said of a call is left out: {error.message}")
            return around


def recorded(client: C, listener: Listener) -> C:
    """A copy of an OpenAI client - of any kind, sync or async - that records; the client itself is not changed.

    Raises: ConfigError if it is no such client.
    """
    http = getattr(client, "_client", None)
    module = _httpx(http)
    if module is None or not callable(getattr(client, "copy", None)):
        raise ConfigError(
            f"{type(client).__name__} is not a client of the openai package",
            "pass OpenAI(), AsyncOpenAI() or AzureOpenAI(); for anything else use the endpoint: prentice record",
        )
    send = _async_send if isinstance(http, module.AsyncClient) else _sync_send
    copied: C = client.copy(http_client=_face(http, send(http, module, listener)))  # type: ignore[attr-defined]
    return copied


@contextmanager
def episode(
    name: str | None = None,
    *,
    case: str | None = None,
    function: str | None = None,
    split: Split | None = None,
    tags: dict[str, str] | None = None,
) -> Iterator[str]:
    """Say which episode the calls within belong to; it holds across `await`, in tasks and in `asyncio.to_thread`.

    Args:
        name: default: that of the block around it, else a new one.
        case: what the episode is an attempt at; default: its name.
        function: which prompt of the job the calls are.
        split: where the case goes.
        tags: more words to find it by.
    Yields: the episode's name, for `prentice.feedback`.
    Raises: ConfigError naming what is wrong.
    """
    around = _AROUND.get() or Labels()
    said = {"case": case, "function": function, "split": split, "tags": tags or {}}
    try:
        labels = Labels.read({}, {"episode": name or around.episode or uuid4().hex, **said})
    except HttpError as error:
        raise ConfigError(error.message) from error
    token = _AROUND.set(labels.over(around) if labels.episode == around.episode else labels)
    try:
        yield str(labels.episode)
    finally:
        _AROUND.reset(token)


def _face(http: Any, send: Callable[..., Any]) -> Any:
    """A second face of an HTTP client, with a `send` of its own: whichever of the two is closed, both are."""
    # the face holds on to the client, which would close what both use when it is collected; the face must not
    kind = type(type(http).__name__, (type(http),), {"send": send, "__del__": lambda _: None, "_prentice": http})
    face: Any = object.__new__(kind)
    face.__dict__ = http.__dict__
    return face


def _sync_send(http: Any, module: Any, listener: Listener) -> Callable[..., Any]:
    class Heard(_Ear, module.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            try:
                for data in self.plain.iter_bytes():
                    yield from self.hear(data)
            except Exception as error:
                self.broke(error)
                raise
            yield from self.rest()

        def close(self) -> None:
            self.plain.close()
            self.left()

    def send(_: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        witness, request = listener.begin(request)
        try:
            response = http.send(request, stream=stream, **options)
        except BaseException as error:
            _failed(witness, error)
            raise
        return response if witness is None else _answered(witness, response, Heard if stream else None)

    return send


def _async_send(http: Any, module: Any, listener: Listener) -> Callable[..., Any]:
    class Heard(_Ear, module.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for data in self.plain.aiter_bytes():
                    for event in self.hear(data):
                        yield event
            except Exception as error:
                self.broke(error)
                raise
            for event in self.rest():
                yield event

        async def aclose(self) -> None:
            await self.plain.aclose()
            self.left()

    async def send(_: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        witness, request = listener.begin(request)
        try:
            response = await http.send(request, stream=stream, **options)
        except BaseException as error:
            _failed(witness, error)
            raise
        return response if witness is None else _answered(witness, response, Heard if stream else None)

    return send


class _Ear:
    """The bytes of an answer on their way to the caller, decoded."""

    def __init__(self, witness: Witness, response: Any) -> None:
        self.plain = type(response)(response.status_code, headers=response.headers, stream=response.stream)
        self._witness, self._status = witness, response.status_code
        kind = response.headers.get("content-type", "")
        self._streams = self._status < 400 and kind.startswith("text/event-stream")
        self._parts: list[bytes] = []

    def hear(self, data: bytes) -> Iterable[bytes]:
        """What of this goes on to the caller."""
        if self._streams:
            return self._witness.hear(data)
        self._parts.append(data)
        return (data,)

    def rest(self) -> Iterable[bytes]:
        """What goes on at the end; all is on record then."""
        if self._streams:
            return self._witness.rest()
        self._witness.whole(self._status, b"".join(self._parts))
        return ()

    def broke(self, error: Exception) -> None:
        """The connection ended before the answer did."""
        self._witness.failed(f"broke off: {type(error).__name__}")

    def left(self) -> None:
        """The caller wants no more."""
        if self._streams:
            self._witness.ended(early=True)
        else:
            self._witness.failed(DISCONNECTED)


def _answered(witness: Witness, response: Any, heard: Callable[[Witness, Any], Any] | None) -> Any:
    if heard is None:
        witness.whole(response.status_code, response.content)
    else:
        response.stream = heard(witness, response)
        response.headers.pop("content-encoding", None)  # what the caller reads is decoded already
    response.headers.update(witness.headers)
    return response


def _failed(witness: Witness | None, error: BaseException) -> None:
    if witness is not None:
        witness.failed(type(error).__name__)


def _sent(request: Any, asked: Asked) -> Any:
    """The request without what is ours."""
    given = request.headers.raw
    headers = [(name, value) for name, value in given if not name.lower().startswith(HEADER.encode())]
    if asked.passed_on == request.content and len(headers) == len(given):
        return request
    headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return type(request)(
        request.method, request.url, headers=headers, content=asked.passed_on, extensions=request.extensions
    )


def _httpx(http: Any) -> Any:
    """The library that an HTTP client is of: `httpx2` in newer versions of the SDK, `httpx` in older ones; or None."""
    roots = [kind.__module__.partition(".")[0] for kind in type(http).__mro__]
    return next((sys.modules[root] for root in roots if root in ("httpx2", "httpx")), None)


_SAID: set[str] = set()


def _say_once(message: str) -> None:
    if message not in _SAID:
        _SAID.add(message)
        LOG.warning(message)
