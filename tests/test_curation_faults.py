"""Curation killed or out of disk: no half dataset, what was there stays, and the next run gives the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import hashlib, sys
from pathlib import Path
from prentice.curation import CurateConfig, curate
from prentice.errors import PrenticeError
from prentice.records import Episode, Message, Metric, Reply, Request, Turn, utc_now

def episode(n):
    noise = "".join(hashlib.sha256(f"{n} {i}".encode()).hexdigest() for i in range(100))
    request = Request(function="f", inputs={"text": noise}, messages=(Message(role="user", content=noise),))
    reply = Reply(message=Message(role="assistant", content="card"), model="m")
    return Episode(id=f"e{n}", run="r", task="t", case=f"c{n}", split="train", policy="p", started_at=utc_now(),
                   turns=(Turn(request=request, reply=reply),), metrics=(Metric(name="success", value=True),))

def render(function, inputs):
    return Request(function=function, messages=(Message(role="user", content=inputs["text"]),))

if len(sys.argv) > 3:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    curate(CurateConfig(), map(episode, range(int(sys.argv[2]))), render=render, out=Path(sys.argv[1]))
except PrenticeError as error:
    sys.exit(str(error))
"""


def start(out: Path, episodes: int, *limit: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(out), str(episodes), *limit]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_curation_killed_while_writing_leaves_no_half_dataset_and_the_next_run_is_equal(tmp_path: Path) -> None:
    killed = start(tmp_path / "d", 1200)
    while killed.poll() is None and not list(tmp_path.glob(".d.part-*")):
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    assert finish(killed)[0] == -signal.SIGKILL, "it was done before it could be killed"
    assert not (tmp_path / "d").exists()
    assert finish(start(tmp_path / "d", 1200)) == (0, "")
    assert finish(start(tmp_path / "never-killed", 1200)) == (0, "")
    assert bytes_of(tmp_path / "d") == bytes_of(tmp_path / "never-killed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "never-killed"]


def test_a_full_disk_is_one_line_and_the_dataset_that_was_there_stays(tmp_path: Path) -> None:
    assert finish(start(tmp_path / "d", 20)) == (0, "")
    before = bytes_of(tmp_path / "d")
    code, said = finish(start(tmp_path / "d", 40, "20000"))
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith(f"{tmp_path / 'd'}: file size limit reached (free some space")
    assert bytes_of(tmp_path / "d") == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
