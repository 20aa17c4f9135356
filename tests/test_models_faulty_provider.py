"""The benchmark's run against a provider that fails one call in five, in small."""

from __future__ import annotations

from pathlib import Path

from environments_providers import faulty_run


def test_a_provider_that_fails_a_fifth_of_its_calls_loses_nothing_and_keeps_the_budget(tmp_path: Path) -> None:
    outcome = faulty_run(tmp_path, episodes=60, timeout_s=2.0)
    assert outcome.lost == 0
    assert outcome.overshoot_calls <= 1
    assert 0 < outcome.stopped_at < 60
    # the faults did happen
    assert outcome.calls > 62
