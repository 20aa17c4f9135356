"""What all tests share: the real models and data, by name, and the rule that CI skips nothing."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from postgres import Postgres, running
from prentice.errors import PrenticeError
from prentice.models.catalogue import resolve_gguf


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None]:
    """With PRENTICE_NO_SKIPS set, a test that was skipped for a missing part has failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and "PRENTICE_NO_SKIPS" in os.environ and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and PRENTICE_NO_SKIPS is set: {report.longrepr}"


def real_model(name: str) -> Path:
    """The GGUF file of a catalogue model; skips the test where it has not been fetched."""
    try:
        return resolve_gguf(name, offline=True)
    except PrenticeError as error:
        pytest.skip(f"{error.problem}; `make models` fetches it")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct."""
    return real_model("smollm2-135m")


@pytest.fixture(scope="session")
def qwen() -> Path:
    """Qwen2.5-Coder-1.5B-Instruct."""
    return real_model("qwen2.5-coder-1.5b")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data that PRENTICE_DATA names."""
    if "PRENTICE_DATA" not in os.environ:
        pytest.skip("PRENTICE_DATA is not set: it names the folder with the real data")
    return Path(os.environ["PRENTICE_DATA"])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real Postgres."""
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Where a new store can be made: a file, then a database of a real Postgres."""
    if request.param == "sqlite":
        return tmp_path / "store.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.fresh()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are split among threads: equal bits need an equal number of them in every process."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
