"""A run on disk: files appear whole or not at all, and a finished stage leaves a record that says what went in.

This module does not know which stages there are.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, JsonValue, ValidationError

from prentice.errors import DataError, PrenticeError

M = TypeVar("M", bound=BaseModel)


@contextmanager
def full_disk_is_the_users(path: Path) -> Iterator[None]:
    """Turn "no space left on device" (or within a quota or limit) into one clear line; other errors pass unchanged."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        limited = "file size limit reached" if error.errno == errno.EFBIG else "no space left on device"
        raise PrenticeError(
            f"{path}: {limited}", "free some space and run the same command again: it resumes"
        ) from error


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write a file so that it is there whole or not at all, also after kill -9 or a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode("utf-8") if isinstance(data, str) else data
    with full_disk_is_the_users(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())  # a scratch file is its owner's alone; what it becomes is not
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def file_atomic(path: Path) -> Iterator[Path]:
    """Yield a scratch file's path, of the same name in a folder beside, that replaces `path` if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_is_the_users(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        scratch = Path(folder) / path.name
        yield scratch
        scratch.replace(path)


@contextmanager
def folder_atomic(path: Path) -> Iterator[Path]:
    """Yield a scratch folder beside `path` that replaces it when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.with_name(f".{path.name}.part-old")
    if old.exists() and not path.exists():
        old.replace(path)  # killed between the two renames below
    for stale in path.parent.glob(f".{path.name}.part-*"):
        shutil.rmtree(stale, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.part-"))
    try:
        with full_disk_is_the_users(path):
            yield scratch
        scratch.chmod(0o777 & ~_umask())
        if path.exists():
            path.replace(old)
        scratch.replace(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


LOCK = ".lock"


@contextmanager
def claimed(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Claim a folder for this process; False: another one has it. A claim ends with its process, even if killed.

    Args:
        wait: for the other one to let go.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def read_record(kind: type[M], path: Path) -> M:
    """Read a JSON record.

    Raises: DataError naming the file and what is wrong with it.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: not a {kind.__name__} record: {key}: {first['msg']}") from error


class StageRecord(BaseModel):
    """What a finished stage leaves behind, so that it can be skipped when its inputs have not changed."""

    stage: str
    inputs: str
    """Hash of everything that went in."""
    outputs: dict[str, str] = Field(default_factory=dict)
    """Name → path, relative to the run's folder."""
    seconds: float
    facts: dict[str, JsonValue] = Field(default_factory=dict)
