"""The main job as it is shipped, and a copy of it to work in."""

from __future__ import annotations

from pathlib import Path

from prentice.errors import PrenticeError
from prentice.runs import full_disk_is_the_users, write_atomic

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "examples" / "support", _PACKAGE.parents[1] / "examples" / "support")
"""In an installed package, and in a checkout."""


def shipped() -> Path:
    """The project that comes with prentice: read from it, never write to it.

    Raises: PrenticeError if the package is not whole.
    """
    for place in _PLACES:
        if (place / "prentice.toml").is_file():
            return place
    raise PrenticeError(f"{_PLACES[0]}: the example is not there", "install prentice again")


def put(folder: Path) -> Path:
    """Copy the shipped project into `folder`, or find it there from a call before.

    Raises: PrenticeError if the folder holds something else, or cannot be written to.
    """
    files = _files()
    try:
        _check(folder, files)
        for name, data in files.items():
            if not (folder / name).exists():
                with full_disk_is_the_users(folder):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                write_atomic(folder / name, data)
    except OSError as error:
        raise PrenticeError(f"{folder}: {error.strerror or error}", "name another folder with --folder") from error
    return folder


def is_put(folder: Path) -> bool:
    """Whether `folder` holds the shipped project."""
    return all(_holds(folder / name, data) for name, data in _files().items())


def _files() -> dict[str, bytes]:
    """Name in the project → content. What a run has made in a checkout's copy is left out."""
    top = shipped()
    names = [path.relative_to(top) for path in sorted(top.rglob("*")) if path.is_file()]
    return {name.as_posix(): (top / name).read_bytes() for name in names if not name.parts[0].startswith(".")}


def _check(folder: Path, files: dict[str, bytes]) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    there = [name for name in files if (folder / name).exists()]
    changed = [name for name in there if not _holds(folder / name, files[name])]
    if changed:
        raise PrenticeError(
            f"{folder / changed[0]}: differs from the demo's",
            f"run your own version with `prentice run {folder}`, or name another folder with --folder",
        )
    if not there:
        raise PrenticeError(f"{folder}: holds something else than the demo", "name another folder with --folder")


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data
