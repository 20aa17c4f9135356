"""Episodes as JSON lines: equal when read back, whole or not there, and clear about what is wrong where."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prentice.errors import DataError
from prentice.records import Episode, Request, Turn
from prentice.records.jsonl import read_episodes, write_episodes
from prentice.records.store import Store
from records_examples import episodes, exact, example


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.lists(episodes, max_size=3), st.sampled_from(["e.jsonl", "e.jsonl.gz"]))
def test_any_episodes_read_back_equal(some: list[Episode], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        assert write_episodes(path, some) == len(some)
        back = list(read_episodes(path))
        assert back == some
        assert [exact(episode) for episode in back] == [exact(episode) for episode in some]
        assert [file.name for file in Path(folder).iterdir()] == [name]


def test_equal_episodes_give_equal_bytes_under_any_name(tmp_path: Path) -> None:
    some = [example(f"c{n}") for n in range(50)]
    write_episodes(tmp_path / "a.jsonl.gz", some)
    write_episodes(tmp_path / "b" / "c.jsonl.gz", some)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b" / "c.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).count(b"\n") == 50


def test_blank_lines_and_windows_line_ends_are_allowed(tmp_path: Path) -> None:
    line = example().model_dump_json()
    (tmp_path / "e.jsonl").write_bytes(f"\n{line}\r\n  \r\n\n{line}".encode())
    assert list(read_episodes(tmp_path / "e.jsonl")) == [example(), example()]


def test_a_missing_field_names_file_line_and_key_after_the_good_lines(tmp_path: Path) -> None:
    wrong = json.loads(example("c2").model_dump_json())
    del wrong["turns"][0]["reply"]["model"]
    path = tmp_path / "e.jsonl"
    path.write_text(f"{example('c1').model_dump_json()}\n\n{json.dumps(wrong)}\n")
    reading = read_episodes(path)
    assert next(reading) == example("c1")
    with pytest.raises(DataError, match=r"e\.jsonl:3: turns\.0\.reply\.model: Field required"):
        next(reading)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("split", "exam", r"e\.jsonl:1: split: Input should be 'train', 'val' or 'test'"),
        ("colour", "red", r"e\.jsonl:1: colour: Extra inputs are not permitted"),
        ("started_at", "2026-01-01T00:00:00", r"e\.jsonl:1: started_at: .*timezone"),
        ("version", 2, r"e\.jsonl:1: written in another version \(2\) \(upgrade prentice"),
    ],
)
def test_a_wrong_value_names_file_line_and_key(tmp_path: Path, key: str, value: object, says: str) -> None:
    row = {**json.loads(example().model_dump_json()), key: value}
    (tmp_path / "e.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=says):
        list(read_episodes(tmp_path / "e.jsonl"))


@pytest.mark.parametrize("damage", [b"{", b"not json", b"[]", b"\xff\xfe", b'{"id": "\\ud800"}', b"null"])
def test_a_damaged_line_names_file_and_line_in_one_line(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "e.jsonl").write_bytes(example().model_dump_json().encode() + b"\n" + damage + b"\n")
    with pytest.raises(DataError, match=r"e\.jsonl:2: ") as caught:
        list(read_episodes(tmp_path / "e.jsonl"))
    assert "\n" not in str(caught.value)


def test_what_was_stored_before_a_damaged_line_stays_and_the_mended_file_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    good = [example(f"c{n:03d}") for n in range(300)]
    write_episodes(path, good)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with Store.open(tmp_path / "store.db") as store:
        store.add(good[:1])
        with pytest.raises(DataError, match=r"e\.jsonl:300: "):
            store.add(read_episodes(path))
        kept = store.count()
        assert list(store.episodes()) == good[:kept]
        assert kept > 200
        path.write_bytes(whole)
        assert store.add(read_episodes(path)) == 300 - kept
        assert list(store.episodes()) == good


def test_a_gzip_file_cut_short_or_damaged_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl.gz"
    write_episodes(path, [example(f"c{n}") for n in range(20)])
    whole = path.read_bytes()
    for size in (*range(0, len(whole), 37), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"e\.jsonl\.gz:\d+: "):
            list(read_episodes(path))
    for content in (b"plain text, no gzip", whole[:200] + b"\x00" * 50 + whole[250:], whole + b"rest"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"e\.jsonl\.gz:\d+: "):
            list(read_episodes(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: No such file"):
        list(read_episodes(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="Is a directory"):
        list(read_episodes(tmp_path))


def test_when_writing_breaks_off_the_older_file_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl.gz"
    write_episodes(path, [example()])

    def breaking() -> Iterator[Episode]:
        yield example("c2")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_episodes(path, breaking())
    assert list(read_episodes(path)) == [example()]
    assert list(tmp_path.iterdir()) == [path]


def test_nan_and_half_characters_are_refused_instead_of_written_as_something_else(tmp_path: Path) -> None:
    reply = example().turns[0].reply
    for inputs in ('{"a": NaN}', '{"a": [Infinity]}'):
        request = Request.model_validate_json(f'{{"function": "f", "messages": [], "inputs": {inputs}}}')
        with pytest.raises(DataError, match=r"case 'odd'.*cannot be written as JSON"):
            write_episodes(tmp_path / "e.jsonl", [example("odd", turns=(Turn(request=request, reply=reply),))])
    with pytest.raises(DataError, match=r"case 'odd'.*surrogates not allowed"):
        write_episodes(tmp_path / "e.jsonl", [example("odd", tags={"a": "\ud800"})])
    assert list(tmp_path.iterdir()) == []
