"""A folder that records: with a `prentice.toml` by its settings, without one - on the first day - by the defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from prentice.config import build, read_toml
from prentice.errors import ConfigError, MissingExtraError
from prentice.models.policy import Policy
from prentice.models.specs import open_policy
from prentice.pipeline.project import FILE, Project
from prentice.privacy import PrivacyConfig, Redactor
from prentice.records.store import Store
from prentice.serving.config import RecordConfig
from prentice.serving.exchanges import Origin
from prentice.serving.recorder import Recorder
from prentice.serving.upstream import Answering, PassThrough, Upstream

KEY_VARIABLE = "PRENTICE_UPSTREAM_KEY"
"""Holds the upstream's key, where clients show a key of the endpoint's own."""


@dataclass
class Recording:
    """Where a folder's records go, and by which rules."""

    folder: Path
    home: Path
    task: str
    config: RecordConfig
    guard: Redactor | None
    open_store: Callable[[], Store]
    open_policy: Callable[[str], Policy]

    @classmethod
    def of(cls, folder: str | Path, overrides: Sequence[str] = ()) -> Recording:
        """The recording of a folder, which is made where it is not there.

        Args:
            overrides: `record.key=value` and `privacy.key=value`, laid over `prentice.toml`.
        Raises: ConfigError.
        """
        path = Path(folder)
        if path.suffix == ".toml" or (path / FILE).exists():
            project = Project(path, overrides)
            return cls(
                project.folder,
                project.home,
                str(project.config.task.get("kind")),
                project.config.record,
                project.guard,
                project.store,
                project.open_policy,
            )
        return _without_project(path, overrides)

    def recorder(self, policy: str = "") -> Recorder:
        """A recorder that is running.

        Args:
            policy: who answers, for records; a provider's name sets prices.
        Raises: StoreError if nothing can be written to the folder.
        """
        origin = Origin(self.config.run, self.task, policy, self.config.split)
        most = int(self.config.max_spool_mb * 1_000_000)
        return Recorder(self.home, self.open_store, origin, guard=self.guard, most_bytes=most)

    def upstream(self, *, own_key: bool) -> Upstream:
        """Who answers behind the endpoint.

        Args:
            own_key: clients show a key of the endpoint's, so the provider's comes from the environment.
        Raises: ConfigError if that is not there; PrenticeError if a policy cannot be opened.
        """
        spec = self.config.upstream
        if not spec.startswith(("http://", "https://")):
            return Answering(self.open_policy(spec))
        name = policy_of(spec)
        key = os.environ.get(KEY_VARIABLE) or (os.environ.get(f"{name.upper()}_API_KEY") if own_key else None)
        if own_key and not key and provider_of(spec):
            raise ConfigError(
                f"clients show keys of this endpoint, and none is set for {spec}",
                f"set {KEY_VARIABLE} in the environment",
            )
        return PassThrough(spec, name, key=key, timeout_s=self.config.timeout_s)


def policy_of(url: str) -> str:
    """Who answers at a URL, for records: the provider, or the host where none is known."""
    return provider_of(url) or urlsplit(url).netloc.rpartition("@")[2]


def provider_of(url: str) -> str:
    """The provider at a URL, as the price list calls it; empty where it knows none."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return ""
    try:
        return str(get_snapshot().find_provider(None, None, url).id)
    except LookupError:
        return ""


def _without_project(folder: Path, overrides: Sequence[str]) -> Recording:
    data = read_toml(None, overrides)
    if unknown := data.keys() - {"record", "privacy"}:
        raise ConfigError(
            f"{folder}: there is no {FILE}, so --set {min(unknown)}.… sets nothing", "prentice new makes one"
        )
    config = build(RecordConfig, data.get("record", {}), "--set record")
    privacy = build(PrivacyConfig, data.get("privacy", {}), "--set privacy")
    home = folder / ".prentice"
    home.mkdir(parents=True, exist_ok=True)
    guard = None if privacy.mode == "off" else Redactor(privacy)
    return Recording(
        folder=folder,
        home=home,
        task="recorded",
        config=config,
        guard=guard,
        open_store=lambda: Store.open(home / "store.db", guard),
        open_policy=lambda spec: open_policy(spec, folder),
    )


def check_installed() -> None:
    """Raise MissingExtraError unless all that the endpoint needs is there."""
    try:
        import aiohttp
        import starlette
        import uvicorn

        del aiohttp, starlette, uvicorn
    except ImportError as error:
        raise MissingExtraError(
            f"prentice record needs {error.name!r}, which is not installed", 'pip install "prentice[serve]"'
        ) from error
