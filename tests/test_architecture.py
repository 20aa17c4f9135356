"""The plan of the house: imports point down, siblings do not know each other, heavy libraries stay in their place."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "prentice"
LEVEL = {
    "errors": 0,
    "config": 0,
    "registry": 0,
    "runs": 0,
    "statistics": 0,
    "progress": 0,
    "offline": 0,
    "records": 0,
    "models": 1,
    "privacy": 1,
    "retrieval": 1,
    "tasks": 2,
    "rollouts": 3,
    "curation": 3,
    "estimation": 3,
    "training": 3,
    "evaluation": 4,
    "serving": 4,
    "pipeline": 5,
    "app": 7,
    "__main__": 8,
}
TORCH = {"training", "models.hf", "models.floats"}
MOST_LINES = 400


def modules() -> dict[str, Path]:
    """Dotted name below prentice → file."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in ROOT.rglob("*.py")
        if path.parent != ROOT or path.stem != "__init__"
    }


def imported(path: Path) -> set[str]:
    """Modules of prentice that a file imports anywhere, in functions too, dotted below prentice."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("prentice."):
            found.add(node.module.removeprefix("prentice."))
        elif isinstance(node, ast.ImportFrom) and node.module == "prentice":
            found |= {alias.name for alias in node.names if (ROOT / alias.name).exists()}
    return found


def edges() -> set[tuple[str, str]]:
    """(folder, folder it imports), folders and level-0 files alike."""
    return {(name.split(".")[0], target.split(".")[0]) for name, path in modules().items() for target in imported(path)}


def test_every_folder_has_a_level() -> None:
    assert {name.split(".")[0] for name in modules()} == set(LEVEL)


def test_imports_point_down_and_siblings_do_not_know_each_other() -> None:
    wrong = {f"{a} -> {b}" for a, b in edges() if a != b and LEVEL[b] >= max(LEVEL[a], 1)}
    assert not wrong


def test_there_is_no_cycle_between_modules() -> None:
    graph = {name: imported(path) for name, path in modules().items()}
    graph = {
        name: {t if t in graph else f"{t}.__init__" for t in targets} & set(graph) - {name}
        for name, targets in graph.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_torch_is_imported_only_where_it_belongs() -> None:
    for name, path in modules().items():
        heavy = {
            node.names[0].name if isinstance(node, ast.Import) else node.module or ""
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        if any(h.split(".")[0] in ("torch", "transformers", "peft", "accelerate") for h in heavy):
            assert name in TORCH or name.split(".")[0] in TORCH, name


@pytest.mark.parametrize(
    "code",
    [
        "from prentice.app.cli.main import app",
        "import prentice.pipeline",
        "import prentice.curation, prentice.rollouts, prentice.evaluation, prentice.tasks.classify",
        "from prentice.models.specs import open_policy",
    ],
)
def test_nothing_heavy_loads_before_it_is_used(code: str) -> None:
    heavy = ("torch", "transformers", "matplotlib", "xllamacpp")
    check = f"{code}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_files_stay_readable() -> None:
    assert [name for name, path in modules().items() if path.read_text(encoding="utf-8").count("\n") > MOST_LINES] == []


def test_no_file_of_the_project_names_a_folder_outside_it() -> None:
    top = ROOT.parents[1]
    outside = ["../" + "shared", "/" + "work/", "/" + "tmp/w"]
    for path in [
        p for d in ("src", "tests", "benchmarks", "docs", "examples", "scripts") for p in (top / d).rglob("*")
    ]:
        if path.suffix in {".py", ".md", ".toml", ".txt", ".j2"} and ".prentice" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not [o for o in outside if o in text], path
