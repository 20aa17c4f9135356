"""What is read and what is held out: decided by a hash of what a document says, so that more documents move none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prentice.errors import ConfigError
from prentice.progress import Progress, Silent
from prentice.records import digest
from prentice.records.documents import Document, Reading, documents_hash, read_documents
from prentice.training.cpt.config import CPTConfig

_SILENT = Silent()


@dataclass(frozen=True)
class Parts:
    """Documents in three parts, none of them in two.

    Args:
        train: to be trained on.
        val: chooses the weights that are kept.
        test: shows what they are worth.
    """

    train: tuple[Document, ...]
    val: tuple[Document, ...] = ()
    test: tuple[Document, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """Everything that a run reads.

    Args:
        domain: what is to be learnt.
        general: what is not to be forgotten; its `val` is not used.
        hash: of all of it.
        where: names the documents in errors.
        told: what was read and what was left out, a line a kind.
    """

    domain: Parts
    general: Parts
    hash: str
    where: Path
    told: tuple[str, ...]


def read_corpus(config: CPTConfig, folder: Path, progress: Progress = _SILENT) -> Corpus:
    """Read the documents that the settings name.

    Args:
        folder: from where files are seen.
    Raises: ConfigError if no documents are named; DataError naming the file and line that is none.
    """
    if not config.documents:
        raise ConfigError(f"{config.section}.documents names nothing to read", 'documents = ["handbook"], or "*.md"')
    skip = config.faulty == "skip"
    read = read_documents(config.documents, folder, skip_faulty=skip, progress=progress)
    told, general = [_told("documents", read)], None
    if config.general:
        general = read_documents(config.general, folder, skip_faulty=skip, progress=progress).without(read)
        told.append(_told("general text", general))
    domain, other = (parts(r.documents if r else (), config.held_out) for r in (read, general))
    return Corpus(domain, other, digest([r.hash if r else "" for r in (read, general)]), folder, tuple(told))


def files_hash(config: CPTConfig, folder: Path) -> list[str]:
    """Hashes of the files that the settings name, for knowing whether there is anything new; nothing is parsed."""
    return [documents_hash(named, folder) for named in (config.documents, config.general) if named]


def parts(documents: Sequence[Document], held_out: float) -> Parts:
    """Documents to train on, to validate on and to measure on.

    A document is held out if its hash, as a number from 0 to 1, is below the share. Of three and more documents at
    least one is in each part.
    """
    if not held_out or len(documents) < 3:
        return Parts(tuple(documents))
    ranked = sorted(documents, key=lambda document: document.hash)
    below = [sum(_number(document) < share for document in ranked) for share in (held_out / 2, held_out)]
    tests = max(1, below[0])
    vals = min(max(1, below[1] - tests), len(ranked) - 2)
    tests = min(tests, len(ranked) - vals - 1)
    return Parts(tuple(ranked[tests + vals :]), tuple(ranked[tests : tests + vals]), tuple(ranked[:tests]))


def _told(what: str, read: Reading) -> str:
    """One line on what was read: what was left out, and the first that is at fault."""
    characters = sum(len(document.content) for document in read.documents)
    line = f"{what}: {len(read.documents):,} read, {characters:,} characters"
    dropped = ", ".join(f"{count:,} × {reason}" for reason, count in read.ledger.dropped.items())
    first = f" (the first: {read.faults[0].place})" if read.faults else ""
    return line + (f"; left out: {dropped}{first}" if dropped else "")


def _number(document: Document) -> float:
    return int(document.hash[:12], 16) / 16**12
