"""Which files hold documents: files, folders and patterns as a project names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from prentice.errors import DataError
from prentice.records.base import digest

TEXT = frozenset({".txt", ".text", ".md", ".markdown", ".rst"})
HTML = frozenset({".html", ".htm", ".xhtml"})
LINES = frozenset({".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"})
KNOWN = TEXT | HTML | LINES
FORMATS = "text, Markdown, HTML or JSON lines"
_FROM = "documents are seen from the project's folder"


@dataclass(frozen=True)
class Found:
    """A file that may hold documents.

    Args:
        name: as the project's folder sees it, with `/` on every platform.
        alone: it was named itself, not through its folder or a pattern.
    """

    path: Path
    name: str
    alone: bool

    @property
    def format(self) -> str:
        """Its suffix, in lower case; with the one before where it is packed."""
        last = self.path.suffix.lower()
        return Path(self.path.stem).suffix.lower() + last if last == ".gz" else last


def find_files(named: Sequence[str], folder: Path) -> list[Found]:
    """The files that are named, each once, in the order of their names.

    Args:
        named: files, folders (all below them but what begins with a dot), and patterns such as `docs/**/*.md`.
        folder: from where they are seen.
    Raises: DataError naming what is not there.
    """
    found: dict[Path, Found] = {}
    for name in named:
        place = folder / name
        paths = [place] if place.is_file() else sorted(_below(place) if place.is_dir() else _like(name, folder))
        if not paths and place.is_dir():
            raise DataError(f"{place}: the folder holds no files", "put documents into it, or name another one")
        for path in paths:
            found.setdefault(path.resolve(), Found(path, _seen(path, folder), alone=path == place))
    return sorted(found.values(), key=lambda file: file.name)


def documents_hash(named: Sequence[str], folder: Path) -> str:
    """Hash of what the files hold, wherever they lie; reads their bytes and nothing of their meaning."""
    return digest(sorted(f"{file.format} {_sha256(file.path)}" for file in find_files(named, folder)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder)))


def _like(pattern: str, folder: Path) -> list[Path]:
    parts = Path(pattern).parts
    fixed = list(takewhile(lambda part: not any(sign in part for sign in "*?["), parts))
    if len(fixed) == len(parts):
        raise DataError(f"{folder / pattern}: no such file or folder", _FROM)
    root = folder.joinpath(*fixed)
    found = root.glob("/".join(parts[len(fixed) :]))
    matched = [path for path in found if path.is_file() and not _hidden(path.relative_to(root))]
    if not matched:
        raise DataError(f"{folder / pattern}: no file matches", _FROM)
    return matched


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _seen(path: Path, folder: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
