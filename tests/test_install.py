"""What a user gets: the wheel, built here, installed in a folder of its own and run from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from prentice.errors import PrenticeError
from prentice.pipeline import example

TOP = Path(__file__).parents[1]
SUPPORT = TOP / "examples" / "support"
LARGEST_MB = 5


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with what a run leaves beside the example."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("src", "examples", "tests"):
        shutil.copytree(TOP / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".prentice"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TOP / name, source / name)
    (source / "examples" / "support" / ".prentice").mkdir()
    (source / "examples" / "support" / ".prentice" / "store.db").write_bytes(b"what a run left")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(out),
    ]
    subprocess.run([*pip, str(source)], check=True)
    return next(out.glob("prentice-*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it, that nothing may write to."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True)
    return site


def prentice(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder, as a user would."""
    begin = "from prentice.app.cli.main import main; main()"
    code = f"import prentice, sys; assert sys.argv.pop(1) in prentice.__file__; {begin}"
    return subprocess.run(
        [sys.executable, "-B", "-c", code, str(site), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site)},
        check=False,
    )


def test_the_wheel_carries_the_main_job_whole_and_nothing_that_runs_or_tests_left(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        shipped = {
            name: archive.read(f"prentice/examples/support/{name}")
            for name in (p.relative_to(SUPPORT).as_posix() for p in SUPPORT.rglob("*") if p.is_file())
            if not name.startswith(".prentice")
        }
    assert len(shipped) == 6
    assert all((SUPPORT / name).read_bytes() == data for name, data in shipped.items())
    assert {name.split("/")[0] for name in names} == {"prentice", "prentice-0.1.0.dist-info"}
    assert not [name for name in names if ".prentice" in name or "tests" in name.split("/") or name.endswith(".pyc")]
    assert wheel.stat().st_size < LARGEST_MB * 1e6


def test_the_installed_command_forecasts_the_demo_in_an_empty_folder_and_leaves_it_empty(
    site: Path, tmp_path: Path
) -> None:
    ended = prentice(site, tmp_path, "demo", "--dry-run")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "rollout: runs: 3,000 recorded episodes to replay, no call, no cost" in ended.stdout
    assert "report: runs" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_installed_commands_help_names_demo_and_doctor(site: Path, tmp_path: Path) -> None:
    shown = prentice(site, tmp_path, "--help").stdout
    assert " demo " in shown
    assert " doctor " in shown


def test_the_installed_demo_runs_its_first_stages_in_the_users_folder_and_goes_on_from_there(
    site: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    # the student's base does not exist, so the run ends where training would begin
    ended = prentice(site, tmp_path, "demo", "--set", "student.base=no-such-model", "--set", "rollout.cases=40")
    assert ended.returncode == 2, ended.stderr
    assert "no model named 'no-such-model'" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert (tmp_path / "prentice-demo" / ".prentice" / "store.db").is_file()
    again = prentice(site, tmp_path, "demo", "--set", "student.base=no-such-model", "--set", "rollout.cases=40")
    assert "curate: skipped, nothing it depends on has changed" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before


def test_the_demo_is_put_whole_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "demo"
    assert not example.is_put(folder)
    example.put(folder)
    assert example.is_put(folder)
    (folder / "teacher" / "base.jsonl.gz").unlink()  # as after a kill half way
    example.put(folder)
    assert example.is_put(folder)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        p.relative_to(SUPPORT).as_posix() for p in SUPPORT.rglob("*") if p.is_file() and ".prentice" not in p.parts
    }


def test_an_empty_folder_is_taken_and_a_folder_with_something_else_refused(tmp_path: Path) -> None:
    example.put(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(PrenticeError, match="other: holds something else than the demo") as caught:
        example.put(other)
    assert "--folder" in caught.value.hint
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_a_demo_that_the_user_has_changed_is_not_written_over(tmp_path: Path) -> None:
    example.put(tmp_path)
    (tmp_path / "prentice.toml").write_text("# mine\n", encoding="utf-8")
    with pytest.raises(PrenticeError, match=r"prentice\.toml: differs from the demo's") as caught:
        example.put(tmp_path)
    assert f"prentice run {tmp_path}" in caught.value.hint
    assert (tmp_path / "prentice.toml").read_text(encoding="utf-8") == "# mine\n"


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("", encoding="utf-8")
    with pytest.raises(PrenticeError, match="demo"):
        example.put(tmp_path / "demo")
