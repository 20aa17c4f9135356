"""The page on providers: its configuration is accepted as it stands there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from prentice.config import build
from prentice.models.capabilities import HONOURED
from prentice.models.limits import settings_for
from prentice.models.remote import parse_spec
from prentice.pipeline import ProjectConfig

PAGE = (Path(__file__).parents[1] / "docs" / "providers.md").read_text(encoding="utf-8")


def test_the_pages_configuration_is_one_that_a_project_takes() -> None:
    block = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    config = build(ProjectConfig, {"task": {"kind": "classify"}, **tomllib.loads(block[1])}, "docs/providers.md")
    settings = settings_for(config.teacher.model, config.providers)
    assert (settings.concurrency, settings.requests_per_minute) == (64, 1000)
    assert settings.price is not None
    assert settings.price.cache_write_usd == 1.25
    assert config.rollout.budget_usd == 5


def test_the_page_names_every_provider_of_the_table() -> None:
    named = {parse_spec(spec).provider for spec in re.findall(r"`([a-z]+:[^`\s\[]+)`", PAGE)}
    assert set(HONOURED) <= named
