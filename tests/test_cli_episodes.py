"""`prentice episodes`: what is stored can be seen, taken out and removed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from prentice.app.cli.main import app
from prentice.pipeline import Project
from prentice.records import Episode, Failure, Message, Metric, Reply, Request, Turn
from prentice.records.jsonl import read_episodes
from prentice.records.store import Store
from records_examples import example


def run(*arguments: object) -> Result:
    """Run a command in a terminal of 100 columns."""
    result = CliRunner().invoke(app, ["episodes", *map(str, arguments)], env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def made(number: int) -> Episode:
    """Ten of these begin a day apart, the last one now."""
    asked = tuple(Message(role="user", content=f"observation {n} [of] {number}") for n in range(2))
    answer = tuple(Message(role="assistant", content=f"action {n} 漢字 العربية") for n in range(2))
    turns = tuple(
        Turn(
            request=Request(function="act", messages=(asked[0], answer[0], asked[1])[: 1 + 2 * n]),
            reply=Reply(message=answer[n], model="m", latency_s=0.25, cost_usd=0.5),
        )
        for n in range(2)
    )
    failure = Failure(where="model", message="503") if number == 3 else None
    metrics = (Metric(name="success", value=number % 2 == 0), Metric(name="near", value=4.0, turn=1))
    begun = datetime.now(UTC) - timedelta(days=9 - number)
    return example(
        f"c{number}", turns=turns, metrics=metrics, failure=failure, started_at=begun, tags={"level": f"l{number % 3}"}
    )


MADE = [made(number) for number in range(10)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with ten episodes."""
    with Store.open(tmp_path / "store.db") as opened:
        opened.add(MADE)
    return tmp_path / "store.db"


def left(store: Path) -> list[str]:
    """Cases that are still stored."""
    with Store.open(store) as opened:
        return [episode.case for episode in opened.episodes()]


def test_a_list_shows_the_newest_first_in_100_columns_and_says_how_many_there_are(store: Path) -> None:
    lines = run("list", store, "--limit", 4).stdout.splitlines()
    assert [line.split()[2] for line in lines[1:5]] == ["train/c9", "train/c8", "train/c7", "train/c6"]
    assert "success yes" in lines[2]
    assert "$1.0000" in lines[2]
    assert max(map(len, lines)) <= 100
    assert lines[-1] == "10 episodes, 4 shown"


def test_a_list_is_filtered(store: Path) -> None:
    found = run("list", store, "-w", "success=true", "-w", "tag.level=l0", "-w", "since=5d").stdout
    assert found.endswith("1 episodes\n")
    assert "train/c6" in found
    assert "failed: model" in run("list", store, "-w", "failure=any").stdout
    assert run("list", store, "-w", "run=none").stdout == "0 episodes\n"


def test_one_episode_is_shown_as_a_chat_each_message_once(store: Path) -> None:
    shown = run("show", store, MADE[4].id[:12]).stdout
    assert [shown.count(f"observation {n} [of] 4") for n in range(2)] == [1, 1]
    assert [shown.count(f"action {n} 漢字 العربية") for n in range(2)] == [1, 1]
    for expected in (MADE[4].id, "level=l1", "success yes", "near 4", "2 turns, 0.5 s, $1.000000", "user", "assistant"):
        assert expected in shown
    assert "model: 503" in run("show", store, MADE[3].id).stdout


def test_an_id_that_is_none_or_several_is_one_clear_line(store: Path) -> None:
    none, several = run("show", store, "nothing"), run("show", store, "")
    assert (none.exit_code, several.exit_code) == (2, 2)
    assert "0 episodes have an id that begins with 'nothing'" in none.stderr
    assert "10 episodes have an id that begins with ''" in several.stderr
    assert f"give more of it: {MADE[9].id}" in several.stderr


@pytest.mark.parametrize("name", ["out.jsonl", "sub/out.jsonl.gz"])
def test_an_export_reads_back_equal(store: Path, tmp_path: Path, name: str) -> None:
    assert run("export", store, tmp_path / name, "-w", "success=true").stdout.startswith("5 episodes in ")
    assert list(read_episodes(tmp_path / name)) == MADE[::2]


def test_a_table_has_what_is_filtered_by_in_columns_and_the_whole_episode(store: Path, tmp_path: Path) -> None:
    run("export", store, tmp_path / "out.parquet")
    table = pl.read_parquet(tmp_path / "out.parquet")
    assert table["case"].to_list() == [f"c{n}" for n in range(10)]
    assert table["failure"].to_list()[2:5] == [None, "model", None]
    assert table["metrics"][0] == '{"success":true}'
    assert [Episode.model_validate_json(text) for text in table["episode"]] == MADE


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl.gz"])
def test_an_export_of_a_damaged_store_leaves_the_older_file_and_is_one_line(
    store: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"older")
    with Store.open(store) as opened:
        opened.add(example(f"later-{n:03d}") for n in range(300))
    store_bytes = store.read_bytes()
    assert store_bytes.count(b"later-299: my card") == 1
    store.write_bytes(store_bytes.replace(b"later-299: my card", b"later-299: my cord"))
    result = run("export", store, tmp_path / name)
    assert result.exit_code == 2
    assert "damaged" in result.stderr
    assert (tmp_path / name).read_bytes() == b"older"


def test_a_kind_of_file_that_is_unknown_is_one_clear_line(store: Path, tmp_path: Path) -> None:
    assert "name it .jsonl or .jsonl.gz or .parquet" in run("export", store, tmp_path / "out.csv").stderr


def test_deleting_asks_first_says_how_many_and_removes_only_what_fits(store: Path) -> None:
    assert "5 episodes would be removed" in run("delete", store, "-w", "success=true", "--dry-run").stdout
    refused = run("delete", store, "-w", "success=true")
    assert refused.exit_code == 1
    assert len(left(store)) == 10
    assert run("delete", store, "-w", "success=true", "--yes", "--compact").stdout == "5 episodes removed\n"
    assert left(store) == ["c1", "c3", "c5", "c7", "c9"]


def test_what_is_older_than_an_age_can_be_removed(store: Path) -> None:
    assert run("delete", store, "--older-than", "150h", "--yes").stdout == "3 episodes removed\n"
    assert left(store) == [f"c{n}" for n in range(3, 10)]


def test_deleting_everything_by_mistake_is_refused(store: Path) -> None:
    result = run("delete", store, "--yes")
    assert result.exit_code == 2
    assert "give --where or --older-than" in result.stderr
    assert len(left(store)) == 10


def test_a_place_without_a_store_is_one_line_and_none_is_made(tmp_path: Path) -> None:
    for place in (tmp_path / "no.db", tmp_path):
        result = run("list", place)
        assert result.exit_code == 2
        assert str(place) in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_never_said() -> None:
    result = run("list", "postgresql://me:geheim@localhost:1/db?password=geheim&connect_timeout=2")
    assert result.exit_code == 2
    assert "see that the server runs" in result.stderr
    assert "geheim" not in result.stderr + result.stdout


def test_the_commands_of_the_page_do_what_it_says(store: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "store.md").read_text(encoding="utf-8")
    commands = re.findall(r"^prentice episodes (.*)$", page, flags=re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        words = command.replace("examples/support", str(store)).replace("3f9a", MADE[0].id[:8]).split()
        words = [str(tmp_path / word) if word.endswith((".gz", ".parquet")) else word for word in words]
        assert run(*words).exit_code == 0, command
    assert len(list(read_episodes(tmp_path / "wrong.jsonl.gz"))) == 5
    assert pl.read_parquet(tmp_path / "all.parquet").height == 10
    for line in re.findall(r"^store = .*$", page, flags=re.MULTILINE):
        (tmp_path / "p.toml").write_text(f'{line}\n[task]\nkind = "x"\n[teacher]\nmodel = "x:y"\n', encoding="utf-8")
        assert Project(tmp_path / "p.toml").config.store
