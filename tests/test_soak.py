"""Every stage is killed at random points: a few times in each run of the tests, PRENTICE_SOAK=100 times when asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from soak import STAGES, soak
from test_pipeline import write_project
from tiny_models import write_tiny_llama

KILLS = int(os.environ.get("PRENTICE_SOAK", "2"))
"""In each stage."""


@pytest.mark.timeout(60 + 240 * KILLS)
def test_kills_at_random_points_of_every_stage_lose_nothing_double_nothing_and_leave_the_dataset_byte_equal(
    tmp_path: Path,
) -> None:
    project = write_project(tmp_path / "project", write_tiny_llama(tmp_path / "base"))
    (tmp_path / "scratch").mkdir()
    damage = soak(project, tmp_path / "scratch", KILLS)
    assert list(damage) == list(STAGES)
    assert {stage: (d.lost, d.doubled, d.unequal) for stage, d in damage.items()} == dict.fromkeys(STAGES, (0, 0, 0))
    assert sum(d.kills for d in damage.values()) == KILLS * len(STAGES)
