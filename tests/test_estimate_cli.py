"""`prentice estimate`: what a person sees, and what happens with logs and options that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from prentice.app.cli.main import app
from prentice.records.store import Store
from records_examples import example


def run(*arguments: object) -> Result:
    """Run a command in a terminal of 100 columns."""
    result = CliRunner().invoke(app, ["estimate", *map(str, arguments)], env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def found(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def log(path: Path, rows: int = 150, model: str = "gpt-4o", **fields: object) -> Path:
    """A log of label calls in OpenAI's form."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            messages = [
                {"role": "system", "content": "Route the ticket."},
                {"role": "user", "content": f"ticket {number}"},
                {"role": "assistant", "content": f"team {number % 3}"},
            ]
            file.write(json.dumps({"model": model, "messages": messages} | fields) + "\n")
    return path


def test_the_conversations_are_estimated(data: Path) -> None:
    said = found(data / "llm_logs_openai.jsonl", "--calls-per-month", 9970)
    (function,) = said["functions"]
    assert (said["episodes"], said["calls"], said["left_out"]) == (76, 997, {})
    assert function["graded"] == 997
    assert len(function["outputs"]["tool_names"]) == 14
    assert function["usd_per_month"] == pytest.approx(10 * function["spent"]["usd"])
    assert function["answer"] == "possible"


def test_the_view_fits_a_hundred_columns_and_says_what_it_rests_on(data: Path) -> None:
    shown = run(data / "llm_logs_openai.jsonl", "--calls-per-month", 20_000)
    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= 100
    for words in (
        "Airline Agent Policy",
        "possible",
        "46.1 % call tools",
        "paid for after",
        "careful",
        "hopeful",
        "genai-prices",
    ):
        assert words in shown.output, words


def test_a_terminal_that_is_narrow_still_shows_every_figure(tmp_path: Path) -> None:
    path = log(tmp_path / "log.jsonl")
    narrow = CliRunner().invoke(app, ["estimate", str(path)], env={"COLUMNS": "60"})
    assert narrow.exit_code == 0
    assert "$" in narrow.output


def test_rows_that_are_no_call_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    path = log(tmp_path / "log.jsonl")
    with path.open("a", encoding="utf-8") as file:
        file.write("{broken\n" * 5)
    shown = run(path)
    assert shown.exit_code == 0
    assert "5 rows left out: 5 malformed JSON" in shown.output
    assert "log.jsonl:151: malformed JSON" in shown.output.replace("\n", "")
    assert "and 2 more" in shown.output
    assert found(path)["left_out"] == {"malformed JSON": 5}


def test_a_folder_of_logs_of_several_formats_is_read(tmp_path: Path) -> None:
    log(tmp_path / "a.jsonl", 30)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b.csv").write_text("prompt,completion\nhello,hi\nbye,ciao\n", encoding="utf-8")
    (tmp_path / "readme.txt").write_text("no log", encoding="utf-8")
    assert found(tmp_path)["calls"] == 32


def test_a_store_is_read(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        store.add([example(f"c{number}") for number in range(3)])
    said = found(tmp_path / "store.db")
    assert (said["calls"], said["functions"][0]["name"]) == (3, "route")


def test_a_users_price_is_reckoned_with(tmp_path: Path) -> None:
    path = log(tmp_path / "log.jsonl", 100, "ours", usage={"prompt_tokens": 1_000, "completion_tokens": 10})
    shown = run(path)
    assert "no price" in shown.output
    assert "--price 'ours=IN,OUT'" in shown.output
    # 100 x (1 000 x 2 + 10 x 5) / 1e6
    assert found(path, "--price", "ours=2,5")["functions"][0]["spent"]["usd"] == pytest.approx(0.205)


def test_an_assumption_is_reckoned_with(tmp_path: Path) -> None:
    path = log(tmp_path / "log.jsonl", 200)
    said = found(path, "--assume", "one_off_usd=500,100", "--assume", "cores=4", "--assume", "taken=0.7")
    assert [said["assumptions"][name] for name in ("one_off_usd", "cores", "taken")] == [[500, 100], 4, [0.7, 0.7]]
    assert said["functions"][0]["break_even"]["careful"]["make_usd"] > 500


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--price", "gpt-4o"], "not a price"),
        (["--assume", "taken"], "has no `=`"),
        (["--assume", "taken=2,3"], "taken"),
        (["--assume", "takn=0.1,0.2"], "taken"),
        (["--assume", "taken=0.1,0.2,0.3"], "taken"),
        (["--assume", "taken="], "taken"),
        (["--assume", "cores=1,2"], "cores"),
        (["--days", "1", "--calls-per-month", "5"], "give one of them"),
        (["--days", "0"], "days"),
        (["--as", "nonsense"], "nonsense"),
    ],
)
def test_options_that_are_wrong_are_refused_in_one_line(tmp_path: Path, options: list[str], words: str) -> None:
    refused = run(log(tmp_path / "log.jsonl", 3), *options)
    assert refused.exit_code == 2
    assert words in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("", "no episode in the logs"),
        ("{broken\n", "not a log of a known format"),
        ("just words\nand more\n", "not a log of a known format"),
    ],
)
def test_logs_without_a_call_are_refused_in_one_line(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "log.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    refused = run(path)
    assert refused.exit_code == 2
    assert words in refused.output
    assert "try:" in refused.output


def test_a_folder_without_logs_is_refused(tmp_path: Path) -> None:
    refused = run(tmp_path)
    assert refused.exit_code == 2
    assert "no logs in this folder" in refused.output


def test_the_example_of_the_page_is_what_the_command_prints(data: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "costs.md").read_text(encoding="utf-8")
    command, _, printed = page.partition("$ prentice estimate llm_logs_openai.jsonl ")[2].partition("\n")
    shown = {line.rstrip() for line in run(data / "llm_logs_openai.jsonl", *command.split()).output.splitlines()}
    expected = [line for line in printed.partition("```")[0].splitlines() if "genai-prices" not in line]
    assert len(expected) > 30
    assert [line for line in expected if line not in shown] == []
