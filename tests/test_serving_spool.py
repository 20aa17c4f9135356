"""The spool: whatever kills the process, what was appended comes out, and in order."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from prentice.errors import StoreError
from prentice.serving.spool import Spool

LINES = st.binary(min_size=1, max_size=40).map(lambda data: data.replace(b"\n", b"_"))
MUCH, SHORT = 1_000_000, 64


def drained(spool: Spool, most_bytes: int = 1_000_000) -> list[bytes]:
    """All that waits, removed."""
    found: list[bytes] = []
    while (batch := spool.read(most_bytes)) is not None:
        found += batch.lines
        spool.remove(batch)
    return found


class AnySpool(RuleBasedStateMachine):
    """A spool of short segments against a list of what waits."""

    @initialize()
    def begin(self) -> None:
        """An empty spool."""
        self.top = Path(tempfile.mkdtemp())
        self.lives, self.spool = 0, Spool(self.top / "0", MUCH, SHORT)
        self.waiting: list[bytes] = []
        self.asked = 0

    def teardown(self) -> None:
        """Nothing stays behind."""
        if hasattr(self, "top"):
            shutil.rmtree(self.top)

    @rule(lines=st.lists(LINES, max_size=8))
    def append(self, lines: list[bytes]) -> None:
        """Lines come in."""
        for line in lines:
            assert self.spool.append(line)
            self.waiting.append(line)

    @rule(most=st.integers(1, 100), stored=st.booleans(), meanwhile=st.lists(LINES, max_size=2))
    def read(self, most: int, stored: bool, meanwhile: list[bytes]) -> None:
        """Some are read, and stored or not, while others come in."""
        batch = self.spool.read(most)
        self.append(meanwhile)
        if batch is None:
            assert self.waiting == meanwhile
            return
        assert batch.lines
        assert list(batch.lines) == self.waiting[: len(batch.lines)]
        if stored:
            self.spool.remove(batch)
            del self.waiting[: len(batch.lines)]

    @rule(torn=LINES)
    def kill(self, torn: bytes) -> None:
        """The process ends while it writes a line; a copy of its folder is all that there is then."""
        self.lives += 1
        folder = self.top / str(self.lives)
        shutil.copytree(self.top / str(self.lives - 1), folder)
        self.spool.close()
        newest = max(folder.rglob("*.jsonl"))
        with newest.open("ab") as file:
            file.write(torn)
        self.spool = Spool(folder, MUCH, SHORT)
        again = drained(self.spool, 50)
        # of the segment that was being read all is there again: the store knows calls by their ids
        assert again[len(again) - len(self.waiting) :] == self.waiting
        self.waiting = []

    @rule(lines=st.lists(LINES, max_size=5))
    def take_over(self, lines: list[bytes]) -> None:
        """Another process beside it ends and leaves lines."""
        other = Spool(self.top / str(self.lives), MUCH, SHORT)
        for line in lines:
            other.append(line)
        other.close()
        self.spool.take_over()
        self.waiting += lines

    @invariant()
    def says_whether_something_waits(self) -> None:
        """In bytes."""
        if hasattr(self, "spool"):
            assert self.spool.waiting == sum(len(line) + 1 for line in self.waiting)


AnySpool.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestAnySpool = AnySpool.TestCase


def test_a_spool_that_is_full_takes_nothing_until_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 20)
    assert [spool.append(b"123456789") for _ in range(3)] == [True, True, False]
    assert drained(spool) == [b"123456789"] * 2
    assert spool.append(b"123456789")


def test_a_disk_that_takes_no_more_loses_the_line_and_nothing_else(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from prentice.serving.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
spool = Spool(Path(sys.argv[1]), 1000)
print([spool.append(line) for line in (b"a" * 20, b"b" * 40, b"c" * 20, b"d" * 40)], spool.waiting)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, False, True, False] 42"
    assert drained(Spool(tmp_path, MUCH)) == [b"a" * 20, b"c" * 20]


def test_processes_side_by_side_have_folders_of_their_own_and_take_over_only_what_the_dead_left(
    tmp_path: Path,
) -> None:
    one, two = Spool(tmp_path, MUCH), Spool(tmp_path, MUCH)
    one.append(b"one")
    two.append(b"two")
    one.take_over()
    assert drained(one) == [b"one"]
    two.close()
    one.take_over()
    assert drained(one) == [b"two"]
    one.append(b"later")
    assert drained(one) == [b"later"]


def test_a_killed_process_leaves_its_lines_to_the_next(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from prentice.serving.spool import Spool
Spool(Path(sys.argv[1]), 1000).append(b"last words")
os.kill(os.getpid(), 9)
"""
    beside = Spool(tmp_path, MUCH)
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    beside.take_over()
    assert drained(beside) == [b"last words"]


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="spool"):
        Spool(tmp_path / "spool", MUCH)


def test_a_line_that_is_longer_than_a_read_comes_out_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MUCH)
    spool.append(b"x" * 5000)
    spool.append(b"y")
    assert drained(spool, 10) == [b"x" * 5000, b"y"]
