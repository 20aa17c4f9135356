"""`prentice.record(client)`: every way through the SDK is on record, and the caller's own client is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

import prentice
from openai_server import OpenAIServer, serving
from prentice.records import Episode
from prentice.records.store import Store


@dataclass
class Desk:
    """A server, and a folder that records."""

    url: str
    behind: OpenAIServer
    folder: Path

    def episodes(self) -> list[Episode]:
        """What is stored once recording has ended, in the order it began."""
        prentice.stop_recording()
        with Store.open(self.folder / ".prentice" / "store.db") as store:
            return sorted(store.episodes(), key=lambda episode: episode.started_at)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[OpenAIServer, str]]:
    """A server of OpenAI's form."""
    behind = OpenAIServer()
    with serving(behind.app) as url:
        yield behind, url


@pytest.fixture
def here(server: tuple[OpenAIServer, str], tmp_path: Path) -> Iterator[Desk]:
    """A folder that records, in front of a server that was asked nothing yet."""
    behind, url = server
    behind.asked.clear()
    behind.headers.clear()
    yield Desk(url, behind, tmp_path)
    prentice.stop_recording()


@pytest.fixture
def plain(here: Desk) -> Iterator[openai.OpenAI]:
    """The caller's own client."""
    with openai.OpenAI(base_url=here.url, api_key="sk-x", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, text: str = "hello", model: str = "echo", **options: Any) -> Any:
    """One call."""
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


def test_a_call_is_a_turn_on_record(here: Desk, plain: openai.OpenAI) -> None:
    client = prentice.record(plain, project=here.folder)
    assert ask(client).choices[0].message.content == "echo: hello"
    (episode,) = here.episodes()
    assert episode.turns[0].reply.text == "echo: hello"
