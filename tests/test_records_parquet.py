"""A dataset on disk reads back equal, has equal bytes for equal input, and says which file is damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.errors import DataError
from prentice.records import Example, Ledger, Manifest, Message, Tool, ToolCall
from prentice.records.parquet import KEPT, LedgerRow, read_dataset, read_ledger, rows_hash, write_dataset


def example(number: int, text: str = "hello") -> Example:
    return Example(
        id=f"id-{number}",
        episode=f"episode-{number}",
        case=f"case-{number}",
        messages=(Message(role="system", content="Answer."), Message(role="user", content=text)),
        tools=(Tool(name="look", parameters={"type": "object"}),),
        reply=Message(role="assistant", content=text, tool_calls=(ToolCall(id="1", name="look", arguments="{"),)),
    )


def save(folder: Path, examples: list[Example]) -> Manifest:
    ledger = [LedgerRow(episode=e.episode, turn=e.turn, case=e.case, fate=KEPT) for e in examples]
    ledger.append(LedgerRow(episode="gone", turn=None, case="case-gone", fate="failed: model"))
    manifest = Manifest(
        hash=rows_hash(examples),
        ledger=Ledger(rows_in=len(ledger), kept=len(examples), dropped={"failed: model": 1}),
        splits={"train": len(examples)},
        config={"keep": "success"},
    )
    write_dataset(folder, examples, ledger, manifest)
    return manifest


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def resum(folder: Path) -> None:
    """Make the checksums fit again, as someone would who changed the table on purpose."""
    names = ("rows.parquet", "ledger.parquet")
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.text(), max_size=6))
def test_a_dataset_reads_back_equal_and_equal_input_gives_equal_bytes(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("dataset")
    examples = [example(n, text) for n, text in enumerate(texts)]
    manifest = save(folder / "a", examples)
    save(folder / "b", examples)
    assert read_dataset(folder / "a") == (manifest, examples)
    assert read_ledger(folder / "a")[-1] == LedgerRow(episode="gone", turn=None, case="case-gone", fate="failed: model")
    assert bytes_of(folder / "a") == bytes_of(folder / "b")


@pytest.mark.parametrize("name", ["manifest.json", "rows.parquet", "SHA256SUMS"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save(tmp_path / "d", [example(1)])
    (tmp_path / "d" / name).unlink()
    with pytest.raises(DataError, match=f"{name}: No such file"):
        read_dataset(tmp_path / "d")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:80] + b"\xff" + data[81:], lambda _: b""]
)
def test_a_damaged_table_is_one_line_naming_the_file(
    tmp_path: Path, damage: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "d", [example(1)])
    path = tmp_path / "d" / "rows.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"rows\.parquet: damaged") as caught:
        read_dataset(tmp_path / "d")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_file_that_is_no_parquet_is_named_even_when_its_checksum_fits(tmp_path: Path) -> None:
    save(tmp_path / "d", [example(1)])
    (tmp_path / "d" / "rows.parquet").write_text("id,episode\n1,2\n")
    resum(tmp_path / "d")
    with pytest.raises(DataError, match=r"rows\.parquet: not a parquet file"):
        read_dataset(tmp_path / "d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop("reply"), "unexpected columns.*'reply'"),
        (lambda frame: frame.with_columns(label=pl.lit("x")), "unexpected columns.*'label'"),
        (lambda frame: frame.with_columns(pl.col("turn").cast(pl.String)), "unexpected columns.*'turn'"),
        (lambda frame: frame.with_columns(reply=pl.lit("{")), "row 1: Invalid JSON"),
        (lambda frame: frame.with_columns(messages=pl.lit(None, pl.String)), "row 1: Invalid JSON"),
        (lambda frame: frame.with_columns(weight=2.0), "rows have hash .* says"),
        (lambda frame: frame.head(1), "its 1 rows have hash .* says"),
    ],
)
def test_a_changed_table_is_refused_naming_the_file(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    save(tmp_path / "d", [example(1), example(2)])
    path = tmp_path / "d" / "rows.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    resum(tmp_path / "d")
    with pytest.raises(DataError, match=rf"rows\.parquet: .*{message}"):
        read_dataset(tmp_path / "d")


def test_a_manifest_that_contradicts_its_rows_is_never_written(tmp_path: Path) -> None:
    manifest = save(tmp_path / "d", [example(1)])
    with pytest.raises(ValueError, match="0 rows and 0 ledger lines"):
        write_dataset(tmp_path / "e", [], [], manifest)
    lines = read_ledger(tmp_path / "d")
    with pytest.raises(ValueError, match="manifest has hash"):
        write_dataset(tmp_path / "e", [example(2)], lines, manifest)
    assert not (tmp_path / "e").exists()
