"""The page on recording: what it tells people to run is run, against a server that stands in for the provider."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import prentice
from openai_server import OpenAIServer, serving
from prentice.config import build, read_toml
from prentice.pipeline.recording import Recording
from prentice.records import Episode
from prentice.records.store import Store
from prentice.serving.access import Access
from prentice.serving.config import RecordConfig
from prentice.serving.endpoint import make_app

PAGE = (Path(__file__).parents[1] / "docs" / "record.md").read_text(encoding="utf-8")
URL = "http://127.0.0.1:8787/v1"


def blocks(kind: str) -> list[str]:
    """All code of a kind, in order."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's endpoint, in a folder that holds `my-job`; programs talk to the provider's stand-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user")
    with serving(OpenAIServer(models=("gpt-5-mini",)).app) as upstream:
        monkeypatch.setenv("OPENAI_BASE_URL", upstream)
        recording = Recording.of("my-job", [f'record.upstream="{upstream}"'])
        access, recorder = Access(recording.home, "127.0.0.1"), recording.recorder()
        with serving(make_app(recording.upstream(own_key=False), recorder, access, recording.config)) as url:
            yield url
    prentice.stop_recording()


def stored() -> dict[str, Episode]:
    """What `my-job` has recorded, by the client's name of the episode."""
    with Store.open(Path("my-job/.prentice/store.db")) as store:
        return {episode.tags["episode"]: episode for episode in store.episodes()}


def test_the_pages_programs_and_commands_record_what_the_page_says(endpoint: str) -> None:
    ask, more, inside, feedback = (block.replace(URL, endpoint) for block in blocks("python"))
    shell = [block.replace(URL, endpoint) for block in blocks("sh") if "curl" in block]
    names: dict[str, object] = {}
    exec(ask, names)
    for block in (shell[0], more, shell[1]):
        if block is more:
            exec(block, names)
        else:
            said = subprocess.run(["bash", "-ec", block], capture_output=True, text=True, check=True, env=os.environ)
            assert "error" not in said.stdout
    exec(inside, names)
    exec(feedback, names)
    found = stored()
    assert len(found) == 3
    first, second = found["ticket-17"], found["ticket-18"]
    assert [turn.request.function for turn in first.turns] == ["chat", "answer"]
    assert first.tags["channel"] == "mail"
    assert first.metric("success") is True
    assert [(shown.turn, shown.author) for shown in first.demonstrations] == [(0, "ann")]
    assert (second.case, second.metric("success"), second.metric("rating")) == ("parcel lost", False, 4.5)
    assert [metric.value for metric in second.metrics if metric.turn == 0] == ["too long"]


def test_the_pages_settings_exist_and_its_numbers_are_the_codes(tmp_path: Path) -> None:
    from prentice.serving.connections import LONGEST_HEAD, MOST_CONNECTIONS

    (tmp_path / "p.toml").write_text(blocks("toml")[0], encoding="utf-8")
    assert build(RecordConfig, read_toml(tmp_path / "p.toml", [])["record"], "page").run == "production"
    defaults = RecordConfig()
    for text in (
        f"{defaults.max_body_mb:g} MB (`max_body_mb`)",
        f"headers {LONGEST_HEAD // 1000} kB",
        f"has {defaults.client_timeout_s:g} s",
        f"upstream {defaults.timeout_s:g} s",
        f"{MOST_CONNECTIONS} clients",
    ):
        assert text in PAGE
