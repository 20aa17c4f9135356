"""Doctor: what it sees, what it never shows, and the next step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from prentice.app.doctor import Finding
from prentice.app.doctor.examine import project
from prentice.app.doctor.findings import diagnose
from prentice.app.doctor.software import Torch, computes_on, engine, installed
from prentice.app.doctor.surroundings import answers, disk, keys

SECRET = "sk-ant-Zq7vXw93LmKd55"
TASK = '[task]\nkind = "classify"\ncases = "cases.csv"\ninstructions = "Which?"\n[teacher]\nmodel = "{teacher}"\n'


def write_project(folder: Path, teacher: str) -> Path:
    """A project of one training and one test case."""
    (folder / "prentice.toml").write_text(TASK.format(teacher=teacher), encoding="utf-8")
    (folder / "cases.csv").write_text("id,split,text,label\na,train,x,l\nb,test,y,m\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=["screen", "json"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int, str]:
    """The whole command in a process of its own, a key set: how it was asked, its exit code, all it printed."""
    command = [sys.executable, "-m", "prentice", "doctor", "--offline", *(["--json"] * (request.param == "json"))]
    environment = os.environ | {"ANTHROPIC_API_KEY": SECRET, "OPENAI_API_KEY": "", "NO_COLOR": "1"}
    folder = tmp_path_factory.mktemp("doctor")
    ended = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=folder, check=False
    )
    assert list(folder.iterdir()) == []
    return request.param, ended.returncode, ended.stdout + ended.stderr


def test_where_all_is_installed_the_demo_could_run_and_is_the_next_step(run: tuple[str, int, str]) -> None:
    _, code, shown = run
    assert code == 0, shown
    assert "prentice demo" in shown.splitlines()[-1 if run[0] == "screen" else -2]
    for said in ("torch", "llama.cpp", "sqlalchemy", "loads", "GB free", "smollm2-135m"):
        assert said in shown


def test_a_key_is_named_and_no_part_of_it_shown(run: tuple[str, int, str]) -> None:
    shown = " ".join(run[2].split())
    assert "set: ANTHROPIC_API_KEY" in shown
    assert "OPENAI_API_KEY" in shown.partition("not set:")[2]
    assert not [SECRET[i : i + 5] for i in range(len(SECRET) - 4) if SECRET[i : i + 5] in shown]


def test_the_screen_is_one_screen_and_json_is_json(run: tuple[str, int, str]) -> None:
    form, _, shown = run
    if form == "screen":
        assert len(shown.splitlines()) <= 40
        assert max(len(line) for line in shown.splitlines()) <= 100
    else:
        assert {finding["state"] for finding in json.loads(shown)["findings"]} <= {"good", "absent", "bad"}


def test_a_cuda_build_without_a_gpu_is_said_and_is_not_in_the_way() -> None:
    without = computes_on(Torch(threads=2, gpu=None, cuda="13.0"), cuda_packages=14)
    assert without.state == "absent"
    assert "14 packages" in without.text
    assert "CPU build" in without.step


def test_the_cpu_build_and_a_gpu_that_is_used_are_good() -> None:
    assert computes_on(Torch(threads=2, gpu=None, cuda=None), 0) == Finding(
        topic="torch", state="good", text="loads, CPU with 2 threads"
    )
    assert computes_on(Torch(threads=2, gpu="NVIDIA H100", cuda="13.0"), 14).state == "good"
    assert computes_on(Torch(threads=2, gpu="Apple (MPS)", cuda=None), 0).text == "loads, GPU Apple (MPS)"


def test_an_engine_that_crashes_while_it_loads_is_a_finding_and_not_the_end_of_doctor() -> None:
    crashed = engine("llama.cpp", "packaging", "import os; os.abort()", lambda said: Finding(**json.loads(said)))
    assert crashed.state == "bad"
    assert "ended with code" in crashed.text
    raised = engine("llama.cpp", "packaging", "raise ImportError('GLIBC_9 not found')", lambda said: crashed)
    assert "GLIBC_9 not found" in raised.text
    assert raised.step == "pip install --force-reinstall --no-deps packaging"


def test_an_engine_that_is_not_installed_is_not_loaded() -> None:
    found = engine("x", "no-such-package-here", "raise SystemExit(1)", lambda said: Finding(**json.loads(said)))
    assert (found.state, found.text) == ("absent", "not installed")


def test_every_extra_is_named_with_its_parts() -> None:
    found = {finding.topic: finding for finding in installed()}
    assert {"prentice", "prentice[local]", "prentice[remote]"} <= set(found)
    assert not {"prentice[dev]", "prentice[all]", "prentice[train]", "prentice[llamacpp]"} & set(found)
    assert "torch 2" in found["prentice[local]"].text
    assert "torch" not in found["prentice"].text


def test_a_key_that_is_set_but_blank_is_not_set() -> None:
    found = {finding.state: finding.text for finding in keys({"GEMINI_API_KEY": " ", "GROQ_API_KEY": "k"})}
    assert found["good"] == "set: GROQ_API_KEY"
    assert "GEMINI_API_KEY" in found["absent"]


@contextmanager
def serve(status: int) -> Iterator[str]:
    """The URL of a server that answers everything with that status."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://user:{SECRET}@127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [200, 401, 503])
def test_a_hub_that_answers_anything_is_reached(status: int) -> None:
    with serve(status) as url:
        found = answers(url, 10)
    assert (found.state, found.text) == ("good", "127.0.0.1 answers")


def test_a_hub_that_is_not_there_is_no_error() -> None:
    found = answers("http://127.0.0.1:9/", 10)
    assert found.state == "absent"
    assert "models come from their packages" in found.text


def test_a_folder_yet_to_be_made_is_looked_at_through_its_parent_and_not_made(tmp_path: Path) -> None:
    found = disk("folder", tmp_path / "a" / "b")
    assert found.state == "good"
    assert "GB free" in found.text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_project_is_no_finding(tmp_path: Path) -> None:
    assert project(tmp_path) == []


def test_a_project_that_cannot_be_opened_is_in_the_way(tmp_path: Path) -> None:
    write_project(tmp_path, "task:most frequent label")
    (tmp_path / "prentice.toml").write_text("[task\n", encoding="utf-8")
    (found,) = project(tmp_path)
    assert found.state == "bad"
    assert "not valid TOML" in found.text
    assert found.step


def test_a_store_that_is_none_is_in_the_way(tmp_path: Path) -> None:
    write_project(tmp_path, "recorded:*.jsonl")
    (tmp_path / ".prentice").mkdir()
    (tmp_path / ".prentice" / "store.db").write_text("this is no database, whatever its name says", encoding="utf-8")
    (found,) = project(tmp_path)
    assert found.state == "bad"
    assert "store.db" in found.text


def test_a_project_whose_teachers_key_is_missing_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    (found,) = project(write_project(tmp_path, "anthropic:claude-haiku-4-5"))
    assert found.state == "bad"
    assert "ANTHROPIC_API_KEY" in found.step
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    (found,) = project(tmp_path)
    assert found.state == "good"
    assert SECRET not in found.text


def test_the_next_step_is_the_first_thing_in_the_way() -> None:
    good, first, second = (
        Finding(topic="a", state="good", text="a"),
        Finding(topic="b", state="bad", text="b", step="mend b"),
        Finding(topic="c", state="bad", text="c", step="mend c"),
    )
    assert (diagnose([good, first, second], "go").next, diagnose([good, first], "go").ready) == ("mend b", False)
    assert (diagnose([good], "go").next, diagnose([good], "go").ready) == ("go", True)
