"""One line of configuration → a policy: `recorded:…`, `local:…`, or a provider's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from prentice.errors import DataError
from prentice.models.capabilities import is_own_endpoint
from prentice.models.limits import ProviderConfig, settings_for, shared_gate
from prentice.models.policy import Policy
from prentice.models.prices import Price, find_price
from prentice.models.recorded import RecordedModel
from prentice.progress import Progress, Silent
from prentice.records import Episode
from prentice.records.jsonl import read_episodes

RECORDED, LOCAL = "recorded:", "local:"
BASE_ROLE = "base"
"""Episodes of a recording tagged role=base are the base model's, played beside it: the yardstick of that machine."""


@dataclass(frozen=True)
class Recording:
    """A recording on disk, taken apart."""

    files: tuple[Path, ...]
    replies: tuple[Episode, ...]
    """The recorded policy's own episodes."""
    yardstick: tuple[Episode, ...]
    """The base model's, played on the same machine in the same hour."""

    @property
    def live(self) -> str:
        """The spec of the policy that was recorded, to run it again."""
        return self.replies[0].policy


def recording_files(spec: str, folder: Path) -> tuple[Path, ...]:
    """The files of `recorded:GLOB`, sorted.

    Raises: DataError if there are none.
    """
    pattern = spec.removeprefix(RECORDED)
    place = folder / pattern
    # a pattern may be absolute, which pathlib's glob takes only below its anchor
    files = tuple(sorted(Path(place.anchor).glob(str(place.relative_to(place.anchor)))))
    if not files:
        raise DataError(
            f"{folder / pattern}: no recorded episodes there", "record some with `prentice rollout --out FILE`"
        )
    return files


def read_recording(spec: str, folder: Path) -> Recording:
    """Read the recording of `recorded:GLOB`, relative to `folder`.

    Raises: DataError if there is none, or a line is damaged.
    """
    files = recording_files(spec, folder)
    episodes = [episode for file in files for episode in read_episodes(file)]
    replies = tuple(e for e in episodes if e.tags.get("role") != BASE_ROLE)
    if not replies:
        raise DataError(f"{files[0]}: holds no episode of a teacher")
    return Recording(files, replies, tuple(e for e in episodes if e.tags.get("role") == BASE_ROLE))


def price_of(spec: str, providers: Mapping[str, ProviderConfig]) -> Price | None:
    """What a remote model costs: the price that its settings state, else the list's; None if neither knows it.

    Raises: ConfigError if `spec` is none of a remote model; MissingExtraError without the price list.
    """
    from prentice.models.remote import parse_spec

    settings, endpoint = settings_for(spec, providers), parse_spec(spec)
    own = is_own_endpoint(endpoint.provider, endpoint.base_url or settings.base_url)
    price = settings.price or (find_price(endpoint.provider, endpoint.model) if own else None)
    return price.discounted(settings.batch_discount) if price and settings.batch else price


CONTEXT = 4096
"""Tokens of context that a local model keeps for a chat, where nobody says otherwise."""


@dataclass(frozen=True)
class Seats:
    """How a local model is served; see `LocalModel`."""

    slots: int = 1
    functions: int = 1
    context: int = CONTEXT
    threads: int | None = None


def open_policy(
    spec: str,
    folder: Path,
    *,
    seats: Seats = Seats(),
    offline: bool = False,
    progress: Progress | None = None,
    providers: Mapping[str, ProviderConfig] | None = None,
    home: Path | None = None,
) -> Policy:
    """The policy that `spec` names.

    Args:
        spec: `recorded:GLOB` (relative to `folder`), `local:NAME` of the catalogue or `local:FILE.gguf`, else a
            provider and its model as `RemoteModel` takes it.
        folder: what relative paths start from.
        seats: of a local model.
        offline: fetch nothing.
        providers: settings of remote models, by provider or by full spec.
        home: where jobs of batches are noted; default: `.prentice` in the folder.

    Raises: PrenticeError of the kind that fits.
    """
    if spec.startswith(RECORDED):
        return RecordedModel(read_recording(spec, folder).replies)
    if spec.startswith(LOCAL):
        from prentice.models.catalogue import resolve_gguf
        from prentice.models.local import LocalModel

        name = spec.removeprefix(LOCAL)
        beside = folder / name
        file = beside if beside.suffix == ".gguf" and beside.is_file() else None
        gguf = file or resolve_gguf(name, offline=offline, progress=progress or Silent())
        return LocalModel(gguf, name=spec, **asdict(seats))
    from prentice.models.remote import RemoteModel

    sections = providers or {}
    model = RemoteModel(spec, settings_for(spec, sections), gate=shared_gate(spec, sections))
    if not model.settings.batch:
        return model
    from prentice.models.batched import BatchedModel

    return BatchedModel(model, (home or folder / ".prentice") / "batches", progress=progress)
