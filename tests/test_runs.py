"""Files appear whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from prentice.errors import DataError, PrenticeError
from prentice.records import Ledger
from prentice.runs import folder_atomic, full_disk_is_the_users, read_record, write_atomic


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    write_atomic(path, "one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with folder_atomic(target) as scratch:
        (scratch / "a").write_text("old", encoding="utf-8")

    class Stop(Exception):  # noqa: N818
        """Ends the block early."""

    def broken() -> None:
        with folder_atomic(target) as scratch:
            (scratch / "a").write_text("new", encoding="utf-8")
            raise Stop

    with pytest.raises(Stop):
        broken()
    assert (target / "a").read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_what_a_kill_left_behind_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".folder.part-xyz").mkdir()
    with folder_atomic(tmp_path / "folder"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PrenticeError, match="no space left"), full_disk_is_the_users(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), full_disk_is_the_users(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    path.write_text('{"rows_in": 3, "kept": "x"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"ledger\.json: not a Ledger record: kept"):
        read_record(Ledger, path)
    with pytest.raises(DataError, match="No such file"):
        read_record(Ledger, tmp_path / "none.json")
