"""The recorder: calls become turns in the store, whatever the store, the disk or a provider does meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.errors import StoreError
from prentice.privacy import PrivacyConfig, Redactor
from prentice.records import Episode
from prentice.records.store import Store
from prentice.serving.conversations import Conversations
from prentice.serving.exchanges import Exchange, Origin
from prentice.serving.labels import Labels
from prentice.serving.recorder import Recorder
from prentice.serving.streams import Completion, Events, chunk_of
from records_examples import json_values


def exchange(text: str = "hello", episode: str = "t-1", **answered: Any) -> Exchange:
    """A call as it crossed the wire."""
    asked = {"model": "echo", "messages": [{"role": "user", "content": text}]}
    reply = {"role": "assistant", "content": f"echo: {text}"}
    return Exchange(asked, Labels(), episode, answered={"choices": [{"index": 0, "message": reply}], **answered})


def store_in(folder: Path) -> Store:
    """The folder's store."""
    return Store.open(folder / "store.db")


@contextmanager
def recording(folder: Path, open_store: Callable[[], Store] | None = None, **options: Any) -> Iterator[Recorder]:
    """A running recorder."""
    recorder = Recorder(folder, open_store or (lambda: store_in(folder)), Origin(), **options)
    try:
        yield recorder
    finally:
        recorder.close()


def stored(folder: Path) -> list[Episode]:
    """What the store holds."""
    with store_in(folder) as store:
        return list(store.episodes())


def texts(folder: Path) -> list[str]:
    """All replies, sorted."""
    return sorted(turn.reply.text for episode in stored(folder) for turn in episode.turns)


def refused(folder: Path) -> list[dict[str, Any]]:
    """What could not become a record."""
    lines = (folder / "spool" / "refused.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_store_that_cannot_be_opened_for_a_while_gets_all_once_it_can(tmp_path: Path) -> None:
    tries = []

    def sometimes() -> Store:
        tries.append(1)
        if len(tries) < 3:
            raise StoreError("the database does not answer")
        return store_in(tmp_path)

    with recording(tmp_path, sometimes) as recorder:
        for number in range(5):
            recorder.record(exchange(str(number), f"t-{number}"))
        assert recorder.waiting > 0
        assert recorder.flush(10)
        assert (recorder.recorded, recorder.lost, recorder.trouble) == (5, 0, "")
    assert texts(tmp_path) == [f"echo: {number}" for number in range(5)]


def test_any_fault_of_the_store_is_said_and_the_records_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = threading.Event()

    def open_store() -> Store:
        if not broken.is_set():
            raise RuntimeError("a bug in a driver")
        return store_in(tmp_path)

    with recording(tmp_path, open_store) as recorder:
        recorder.record(exchange())
        assert not recorder.flush(0.3)
        assert recorder.trouble == "RuntimeError: a bug in a driver"
        broken.set()
        assert recorder.flush(10)
    assert caplog.text.count("records wait on disk") == 1


def test_what_waits_when_a_recorder_ends_is_stored_by_the_next(tmp_path: Path) -> None:
    def never() -> Store:
        raise StoreError("down")

    with recording(tmp_path, never) as recorder:
        recorder.record(exchange("one"))
    with recording(tmp_path) as recorder:
        recorder.record(exchange("two"))
        assert recorder.flush(10)
    assert texts(tmp_path) == ["echo: one", "echo: two"]


def test_what_waited_before_there_was_a_guard_passes_it_all_the_same(tmp_path: Path) -> None:
    def never() -> Store:
        raise StoreError("down")

    with recording(tmp_path, never) as recorder:
        recorder.record(exchange("to jane.roe@example.com", "old"))
    guard = Redactor(PrivacyConfig(mode="redact"))
    with recording(tmp_path, guard=guard) as recorder:
        recorder.record(exchange("to john.doe@example.com", "new"))
        assert recorder.flush(10)
        assert recorder.personal_data == {"email": 2}  # one in each call
    assert "example.com" not in str(stored(tmp_path))
    assert len(texts(tmp_path)) == 2


def test_what_a_recorder_leaves_keeps_its_own_origin_whoever_stores_it(tmp_path: Path) -> None:
    def never() -> Store:
        raise StoreError("down")

    with closing(Recorder(tmp_path, never, Origin("pilot", "support", "openai", "test"))) as recorder:
        recorder.record(exchange())
    with recording(tmp_path) as recorder:
        assert recorder.flush(10)
    (episode,) = stored(tmp_path)
    assert (episode.run, episode.task, episode.policy, episode.split) == ("pilot", "support", "openai:echo", "test")


def test_a_full_spool_counts_what_it_does_not_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def never() -> Store:
        raise StoreError("down")

    with recording(tmp_path, never, most_bytes=1500) as recorder:
        for _ in range(20):
            recorder.record(exchange())
        assert recorder.recorded + recorder.lost == 20
        assert recorder.recorded > 0
        assert recorder.lost > 8
    assert caplog.text.count("not recorded") == 4 + (recorder.lost >= 16)  # at 1, 2, 4, 8, 16


def test_a_call_that_the_store_refuses_is_kept_with_its_reason_and_keeps_nothing_out(tmp_path: Path) -> None:
    huge = {"usage": {"prompt_tokens": 10**30, "completion_tokens": 1}}
    with recording(tmp_path) as recorder:
        for number in range(3):
            recorder.record(exchange(f"before {number}", "a"))
        recorder.record(exchange("too much", "b", **huge))
        recorder.record(exchange("after", "c"))
        assert recorder.flush(10)
        assert recorder.refused == 1
    assert texts(tmp_path) == ["echo: after", "echo: before 0", "echo: before 1", "echo: before 2"]
    assert "too much" in refused(tmp_path)[0]["what"]


def test_a_poisoned_line_is_kept_with_its_reason_and_blocks_nothing(tmp_path: Path) -> None:
    waiting = tmp_path / "spool" / "07"
    waiting.mkdir(parents=True)
    (waiting / "00000001.jsonl").write_bytes(b'{"id": "x"}\n\xff\xfe\n{"half\n[1]\ncut off')
    with recording(tmp_path) as recorder:
        recorder.record(exchange())
        assert recorder.flush(10)
        assert recorder.refused == 4
    assert texts(tmp_path) == ["echo: hello"]
    assert [line["what"] for line in refused(tmp_path)] == ['{"id": "x"}', "\ufffd\ufffd", '{"half', "[1]"]


def test_what_is_refused_passes_the_guard_and_has_limits(tmp_path: Path) -> None:
    guard = Redactor(PrivacyConfig(mode="redact"))
    bad = exchange()
    bad.asked["messages"] = [{"role": "tool", "content": "to jane.roe@example.com", "tool_call_id": "jane.roe@x.com"}]
    with recording(tmp_path, guard=guard, most_bytes=1200) as recorder:
        for _ in range(9):
            recorder.record(bad)
        assert recorder.refused == 9
    kept = refused(tmp_path)
    assert 0 < len(kept) < 9
    assert "jane" not in str(kept)
    assert "tool result without a call" in kept[0]["reason"]
    assert (tmp_path / "spool" / "refused.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_running_recorder_takes_over_what_others_leave_however_busy_it_is(tmp_path: Path) -> None:
    def never() -> Store:
        raise StoreError("down")

    with recording(tmp_path, look_s=0.2) as running:
        with recording(tmp_path, never) as other:
            other.record(exchange("left"))
        deadline = time.monotonic() + 10
        while "echo: left" not in texts(tmp_path) and time.monotonic() < deadline:
            running.record(exchange("busy", "busy"))
            time.sleep(0.05)
    assert texts(tmp_path).count("echo: left") == 1


def test_two_recorders_side_by_side_store_every_call_once(tmp_path: Path) -> None:
    with recording(tmp_path) as one, recording(tmp_path) as two:
        threads = [
            threading.Thread(
                target=lambda r=recorder, n=n: [r.record(exchange(f"{n}.{i}", f"t-{i}")) for i in range(25)]
            )
            for recorder in (one, two)
            for n in (id(recorder), id(recorder) + 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.flush(20)
        assert two.flush(20)
        assert one.recorded + two.recorded == 100
    found = texts(tmp_path)
    assert (len(found), len(set(found))) == (100, 100)


def test_a_flush_waits_for_the_calls_before_it_and_not_for_those_after(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        stop = threading.Event()

        def busy() -> None:
            while not stop.is_set():
                recorder.record(exchange("more", "busy"))
                time.sleep(0.002)

        thread = threading.Thread(target=busy)
        thread.start()
        recorder.record(exchange("mine", "mine"))
        assert recorder.flush(10)
        assert "echo: mine" in texts(tmp_path)
        stop.set()
        thread.join()


ANYTHING = json_values | st.dictionaries(
    st.sampled_from(["choices", "error", "usage", "model", "delta", "message", "tool_calls", "content", "index"]),
    json_values,
    max_size=4,
)
DELTAS = st.fixed_dictionaries(
    {}, optional={"content": ANYTHING, "tool_calls": st.lists(ANYTHING, max_size=3) | ANYTHING, "role": ANYTHING}
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "choices": ANYTHING | st.lists(st.fixed_dictionaries({}, optional={"delta": DELTAS, "index": ANYTHING})),
        "error": ANYTHING,
        "usage": ANYTHING,
    },
)


@given(chunks=st.lists(CHUNKS, max_size=6))
@settings(max_examples=60, deadline=None)
def test_no_chunk_of_a_stream_breaks_the_reading_of_it(chunks: list[dict[str, Any]]) -> None:
    completion = Completion()
    for chunk in chunks:
        completion.add(chunk)
    assert completion.whole()["choices"][0]["message"]["role"] == "assistant"


@given(
    data=st.binary(max_size=200) | st.lists(st.sampled_from([b"data: x", b"\n", b"\r\n", b"\n\n", b":"])).map(b"".join)
)
@settings(max_examples=200, deadline=None)
def test_events_are_cut_out_of_a_stream_without_changing_a_byte_wherever_it_is_split(data: bytes) -> None:
    whole = Events()
    at_once = [*whole.feed(data), whole.rest()]
    piecewise = Events()
    bit_by_bit = [event for byte in data for event in piecewise.feed(bytes([byte]))] + [piecewise.rest()]
    assert b"".join(at_once) == b"".join(bit_by_bit) == data
    assert at_once == bit_by_bit


@given(asked=st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls"]), ANYTHING), max_size=3))
@settings(max_examples=50, deadline=None)
def test_no_message_breaks_the_search_for_its_conversation(asked: list[dict[str, Any]]) -> None:
    known = Conversations()
    first = known.episode_of(asked)
    reply = {"role": "assistant", "content": "yes"}
    known.went_on(asked, reply, first)
    assert known.episode_of([*asked, reply, {"role": "user", "content": "and"}]) == first


def test_whatever_is_asked_and_answered_is_recorded_or_refused_and_never_raises(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:

        @given(messages=ANYTHING, answered=ANYTHING, tools=ANYTHING)
        @settings(max_examples=60, deadline=None)
        def never_raises(messages: Any, answered: Any, tools: Any) -> None:
            before = recorder.recorded + recorder.refused
            asked = {"model": "m", "messages": messages, "tools": tools}
            recorder.record(Exchange(asked, Labels(), "t", answered=answered if isinstance(answered, dict) else None))
            assert recorder.recorded + recorder.refused > before

        never_raises()
        assert recorder.flush(20)
        assert recorder.lost == 0


def test_a_chunk_is_an_object_or_nothing() -> None:
    assert [chunk_of(data) for data in (b"{}", b"[]", b"nonsense", b"")] == [{}, None, None, None]
