"""Models by name: where they lie on this machine, and getting them when they do not.

A model's folder holds `<file>.gguf` as fetched, `model/` (safetensors, for a model that is to be trained), and beside
each a `source.json` that says where it came from. When everything is there, no socket is opened.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prentice.errors import ModelError, PrenticeError
from prentice.models import fetch
from prentice.models.bases import BASES, Base, find
from prentice.models.fetch import Sources
from prentice.progress import Progress, Silent
from prentice.records import ModelSource, Record
from prentice.runs import read_record, write_atomic

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo


class Model(Record):
    """A model on this machine."""

    name: str
    gguf: Path | None
    """The GGUF file as it was fetched, if it came as one."""
    safetensors: Path | None
    """The transformers folder, for a model that can be trained."""
    source: ModelSource
    licence: str = ""


class Mark(Record):
    """A file that was whole when this was written: as long as size and time stay, it is not hashed again."""

    size: int
    modified_ns: int


class Kept(Record):
    """What lies in one place, and where it came from (`source.json`)."""

    source: ModelSource
    files: dict[str, Mark]


def default_folder() -> Path:
    """Where models are kept: `models/` under PRENTICE_HOME, else under the platform's cache folder."""
    if home := os.environ.get("PRENTICE_HOME"):
        return Path(home) / "models"
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "prentice" / "models"


def listing(folder: Path | None = None) -> Sequence[tuple[Base, bool]]:
    """Every base of the catalogue, and whether it is on this machine (its files are not read)."""
    home = folder or default_folder()
    return [(base, _is_here(base, home / base.name)) for base in BASES.values()]


def get(
    name: str,
    folder: Path | None = None,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    sources: Sources | None = None,
) -> Model:
    """A model of the catalogue, or a transformers folder given by its path; fetched if it is not here.

    Args:
        name: a name of the catalogue, or a path.
        folder: where models are kept; None = `default_folder()`.
        offline: open no socket; what is not here is an error.
        progress: where the work reports to.
        sources: other places to fetch from, for mirrors and tests.
    Raises: UnknownNameError; PrenticeError if the model cannot be had, or a file here is cut short.
    """
    if name not in BASES and (Path(name) / "config.json").is_file():
        return _own(Path(name))
    return obtain(find(name), folder, offline=offline, progress=progress, sources=sources)


def obtain(
    base: Base,
    folder: Path | None = None,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    sources: Sources | None = None,
) -> Model:
    """`get` for a base that need not be in the catalogue, such as a company's own."""
    home = (folder or default_folder()) / base.name
    progress, sources = progress or Silent(), sources or Sources()
    here = _kept(base, home)
    if here is None:
        if offline:
            raise _missing(base)
        _fetch(base, home, sources, progress)
        here = _kept(base, home)
        if here is None:
            raise RuntimeError(f"{home} holds no model after it was fetched")
    if base.trainable and here.safetensors is None and here.gguf is not None:
        _to_floats(base, here.gguf, home / "model", here.source, progress)
        here = _kept(base, home) or here
    return here


def resolve_gguf(
    name: str,
    folder: Path | None = None,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    sources: Sources | None = None,
) -> Path:
    """The GGUF file of a catalogue's name or of a path, fetched if it is not here; the rest is as for `get`."""
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise PrenticeError(f"{path}: no such model file", "`prentice models list` names the models to get")
        return path
    base = find(name)
    home = (folder or default_folder()) / base.name
    gguf = home / base.gguf
    if _checked(base, gguf) is None:
        if offline:
            raise _missing(base)
        progress, sources = progress or Silent(), sources or Sources()
        if base.trainable:  # the hub's copy of it is safetensors alone
            _fetch_packages(base, home, sources, progress)
        else:
            _fetch(base, home, sources, progress)
    return gguf


def _missing(base: Base) -> PrenticeError:
    return PrenticeError(
        f"{base.name}: not on this machine, and `offline` forbids to fetch it",
        f"with a network, run `prentice models get {base.name}` once",
    )


def _own(folder: Path) -> Model:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise PrenticeError(f"{folder}: holds no safetensors", "save the model with `save_pretrained`")
    together = fetch.sha256_of(weights[0]) if len(weights) == 1 else fetch.sha256_of_all(weights)
    source = ModelSource(name=folder.name, source=f"path:{folder}", sha256=together)
    return Model(name=folder.name, gguf=None, safetensors=folder, source=source)


def _is_here(base: Base, home: Path) -> bool:
    return (home / base.gguf).is_file() or (home / "model" / "source.json").is_file()


def _kept(base: Base, home: Path) -> Model | None:
    gguf = _checked(base, home / base.gguf)
    floats = _checked_folder(base, home / "model") if base.trainable else None
    source = floats or gguf
    if source is None:
        return None
    return Model(
        name=base.name,
        gguf=home / base.gguf if gguf else None,
        safetensors=home / "model" if floats else None,
        source=source,
        licence=base.licence,
    )


def _checked(base: Base, gguf: Path) -> ModelSource | None:
    """Where the GGUF file came from, or None if it is not there; a file without a mark is hashed and marked."""
    if not gguf.is_file():
        return None
    mark = gguf.with_name("source.json")
    if mark.is_file():
        kept = read_record(Kept, mark)
        if _fits(base, gguf, kept.files.get(gguf.name)):
            return kept.source
        expected = kept.source.sha256
    else:
        expected = base.sha256
        if gguf.stat().st_size != base.gguf_bytes:
            raise _cut_short(base, gguf, base.gguf_bytes)
    if fetch.sha256_of(gguf) != expected:
        raise PrenticeError(f"{gguf}: damaged: its SHA-256 is not {expected}", _again(base, gguf))
    source = (
        read_record(Kept, mark).source
        if mark.is_file()
        else ModelSource(name=base.name, source=f"package:{base.packages[0]}", sha256=base.sha256, note=base.note)
    )
    _mark(source, [gguf], mark)
    return source


def _checked_folder(base: Base, folder: Path) -> ModelSource | None:
    mark = folder / "source.json"
    if not mark.is_file():
        return None
    kept = read_record(Kept, mark)
    for name, expected in kept.files.items():
        path = folder / name
        if not path.is_file():
            raise PrenticeError(f"{path}: missing", _again(base, folder))
        _fits(base, path, expected, remove=folder)
    return kept.source


def _fits(base: Base, path: Path, mark: Mark | None, remove: Path | None = None) -> bool:
    """Whether the file is as it was marked; a changed time alone asks for a new hash."""
    if mark is None:
        return False
    found = path.stat()
    if found.st_size != mark.size:
        raise _cut_short(base, path, mark.size, remove)
    return found.st_mtime_ns == mark.modified_ns


def _cut_short(base: Base, path: Path, size: int, remove: Path | None = None) -> PrenticeError:
    problem = f"{path}: cut short: {path.stat().st_size:,} bytes instead of {size:,}"
    return PrenticeError(problem, _again(base, remove or path))


def _again(base: Base, path: Path) -> str:
    return f"remove {path} and run `prentice models get {base.name}`"


def _mark(source: ModelSource, files: Sequence[Path], path: Path) -> None:
    stats = {file.name: file.stat() for file in files}
    marks = {name: Mark(size=s.st_size, modified_ns=s.st_mtime_ns) for name, s in stats.items()}
    write_atomic(path, Kept(source=source, files=marks).model_dump_json(indent=2))


def _fetch(base: Base, home: Path, sources: Sources, progress: Progress) -> None:
    info = fetch.ask_hub(base, sources)
    if info is not None:
        try:
            _fetch_hub(base, info, home, sources, progress)
        except ModelError as error:
            progress.say(f"{error.problem}; taking its packages instead")
        else:
            return
    _fetch_packages(base, home, sources, progress)


def _fetch_packages(base: Base, home: Path, sources: Sources, progress: Progress) -> None:
    home.mkdir(parents=True, exist_ok=True)
    source = fetch.from_packages(base, home / base.gguf, sources, progress)
    _mark(source, [home / base.gguf], home / "source.json")


def _fetch_hub(base: Base, info: ModelInfo, home: Path, sources: Sources, progress: Progress) -> None:
    # one fixed name, so that a download that was broken off goes on where it was
    arriving = home / ".hub"
    arriving.mkdir(parents=True, exist_ok=True)
    source = fetch.from_hub(base, info, arriving, sources, progress)
    fetch.forget_hub_bookkeeping(arriving)
    if base.hub_gguf:
        (arriving / base.hub_gguf).replace(home / base.gguf)
        _mark(source, [home / base.gguf], home / "source.json")
        arriving.rmdir()
    else:
        _mark(source, sorted(p for p in arriving.iterdir() if p.is_file()), arriving / "source.json")
        fetch.forget(home / "model")
        arriving.replace(home / "model")


def _to_floats(base: Base, gguf: Path, folder: Path, source: ModelSource, progress: Progress) -> None:
    from prentice.models.floats import to_safetensors

    def mark(scratch: Path) -> None:
        _mark(source, sorted(p for p in scratch.iterdir() if p.is_file()), scratch / "source.json")

    with progress.bar(f"turn {base.name} into safetensors", 1, "model") as bar:
        to_safetensors(gguf, folder, mark)
        bar.advance()
