"""The store keeps what it was given, once, whole, and gives it back equal."""

from __future__ import annotations

import functools
import random
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from postgres import Postgres
from prentice.errors import DataError, StoreError
from prentice.records import Episode, Message, Metric, Reply, Request, Turn
from prentice.records.database import open_database
from prentice.records.filters import Condition, Filter
from prentice.records.store import BATCH, Store
from records_examples import LABELS, SYSTEM, episodes, exact, example


@functools.cache
def _new_store() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Store.open(Path(folder) / "store.db").close()
        return (Path(folder) / "store.db").read_bytes()


@pytest.fixture(scope="session")
def on_postgres(postgres: Postgres) -> str:
    """One database for all examples of a property: each example empties it."""
    return postgres.fresh()


PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
EPISODES = st.lists(episodes, max_size=4, unique_by=lambda episode: episode.id)


def _reads_back_equal(place: str | Path, some: list[Episode]) -> None:
    with Store.open(place) as store:
        store.delete(Filter())
        assert store.add(some) == len(some)
    with Store.open(place) as store:
        back = sorted(store.episodes(), key=lambda episode: episode.id)
    given_in = sorted(some, key=lambda episode: episode.id)
    assert back == given_in
    # -0.0 comes back as 0.0, which is equal; everything else keeps its very type
    assert [exact(episode).replace("-0.0", "0.0") for episode in back] == [
        exact(episode).replace("-0.0", "0.0") for episode in given_in
    ]


@PROPERTY
@given(EPISODES)
def test_any_episode_reads_back_equal(some: list[Episode]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "store.db").write_bytes(_new_store())
        _reads_back_equal(Path(folder) / "store.db", some)


@PROPERTY
@given(some=EPISODES)
def test_any_episode_reads_back_equal_from_postgres(on_postgres: str, some: list[Episode]) -> None:
    _reads_back_equal(on_postgres, some)


def test_an_offset_of_microseconds_keeps_its_moment(place: str | Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(microseconds=873)))
    with Store.open(place) as store:
        store.add([example().model_copy(update={"started_at": moment})])
        (back,) = store.episodes()
    assert back.started_at == moment


def test_a_metric_keeps_its_type_and_can_be_filtered_by_it(place: str | Path) -> None:
    metrics = tuple(Metric(name="m", value=value, turn=turn) for turn, value in enumerate((True, 1.0, "1", False, "")))
    with Store.open(place) as store:
        store.add([example(metrics=metrics)])
        (back,) = store.episodes()
    assert [repr(metric.value) for metric in back.metrics] == ["True", "1.0", "'1'", "False", "''"]
    assert _ask(place, "SELECT turn FROM metrics WHERE number > 0.5") == [(1,)]
    assert _ask(place, "SELECT turn FROM metrics WHERE flag") == [(0,)]


def test_adding_again_changes_nothing(place: str | Path) -> None:
    first = example()
    with Store.open(place) as store:
        assert store.add([first, example("case-2")]) == 2
        assert store.add([example(policy="another"), example("case-3")]) == 1
        assert store.count() == 3
        assert next(store.episodes()) == first


def test_of_two_equal_ids_in_one_call_the_first_is_kept(place: str | Path) -> None:
    with Store.open(place) as store:
        assert store.add([example(policy="first"), example(policy="second")]) == 1
        assert [episode.policy for episode in store.episodes()] == ["first"]


def test_two_equal_answers_stay_two_episodes_with_one_content_hash(place: str | Path) -> None:
    with Store.open(place) as store:
        store.add([example(attempt=0), example(attempt=1)])
    assert _ask(place, "SELECT count(*), count(DISTINCT content_hash) FROM episodes") == [(2, 1)]


def test_episodes_come_by_run_case_and_attempt_over_page_borders(place: str | Path) -> None:
    some = [example(f"c{n // 2:04d}", attempt=n % 2, run=f"r{n % 3}") for n in range(2 * BATCH + 7)]
    mixed = random.Random(0).sample(some, len(some))
    with Store.open(place) as store:
        store.add(mixed)
        assert list(store.episodes()) == sorted(some, key=lambda e: (e.run, e.case, e.attempt))
        assert list(store.episodes(run="r1")) == sorted(
            (e for e in some if e.run == "r1"), key=lambda e: (e.case, e.attempt)
        )


def test_filters_narrow_and_counts_agree(place: str | Path) -> None:
    some = [example("a"), example("b", split="test"), example("c", task="other"), example("d", policy="student")]
    with Store.open(place) as store:
        store.add([*some, example("a", run="run-2", attempt=4)])
        assert [e.case for e in store.episodes(Filter(split="test"))] == ["b"]
        assert [e.case for e in store.episodes(Filter(task="other"))] == ["c"]
        assert [e.case for e in store.episodes(Filter(policy="student"))] == ["d"]
        assert store.count(Filter(run="run-1", split="train", task="routing", policy="teacher")) == 1
        assert store.count(run="nothing") == 0
        assert store.runs() == {"run-1": 4, "run-2": 1}
        assert store.attempts("run-2") == {("a", 4)}
        assert store.attempts("nothing") == set()


def test_a_history_is_stored_once_however_many_turns_show_it(place: str | Path) -> None:
    history: tuple[Message, ...] = (SYSTEM,)
    turns = []
    for number in range(30):
        history += (Message(role="user", content=f"observation {number}"),)
        answer = Message(role="assistant", content=f"action {number}")
        request = Request(function="act", messages=history, choices=LABELS)
        turns.append(Turn(request=request, reply=Reply(message=answer, model="m")))
        history += (answer,)
    long = example(turns=tuple(turns))
    with Store.open(place) as store:
        store.add([long, example("case-2", turns=tuple(turns))])
        assert next(store.episodes()) == long
    assert _ask(place, "SELECT count(*) FROM texts") == [(2,)]  # the system prompt and the choices, for both episodes
    said = "".join(str(row[0]) for row in _ask(place, "SELECT said FROM turns WHERE episode = 1"))
    assert [said.count(f'{what} {n}"') for n in range(30) for what in ("observation", "action")] == [1] * 60


def test_the_order_of_a_schemas_keys_survives_beside_an_equal_schema_in_another_order(place: str | Path) -> None:
    schemas = [{"type": "object", "title": "x"}, {"title": "x", "type": "object"}]
    turns = [
        Turn(request=turn.request.model_copy(update={"response_schema": schema}), reply=turn.reply)
        for turn, schema in zip(example().turns * 2, schemas, strict=True)
    ]
    with Store.open(place) as store:
        store.add([example(turns=tuple(turns))])
        (back,) = store.episodes()
    assert [list(turn.request.response_schema or {}) for turn in back.turns] == [["type", "title"], ["title", "type"]]


def test_several_threads_and_stores_add_the_same_episodes_once(place: str | Path) -> None:
    some = [example(f"c{n}") for n in range(40)]
    shared = Store.open(place)
    added: list[int] = []

    def work(store: Store) -> None:
        for episode in random.Random(threading.get_ident()).sample(some, len(some)):
            added.append(store.add([episode]))
            store.count()

    with shared, Store.open(place) as other:
        threads = [threading.Thread(target=work, args=[store]) for store in (shared, shared, other, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(added) == len(some)
        assert len(list(other.episodes())) == len(some)


def test_reading_does_not_hinder_writing(place: str | Path) -> None:
    with Store.open(place) as store:
        store.add(example(f"c{n:03d}") for n in range(BATCH + 1))
        reading = store.episodes()
        next(reading)
        assert store.add([example("zzz")]) == 1
        assert [episode.case for episode in reading][-1] == f"c{BATCH:03d}"  # settled when the reading began
        assert [episode.case for episode in store.episodes()][-1] == "zzz"


@pytest.mark.parametrize("broken", ["half \ud800 a pair", "\udfff"])
def test_half_a_character_is_refused_by_name_and_the_rest_can_go_on(place: str | Path, broken: str) -> None:
    turn = example().turns[0]
    reply = turn.reply.model_copy(update={"message": Message(role="assistant", content=broken)})
    request = Request(function="route", inputs={"a": broken}, messages=())
    wrong = [
        example("in-reply", turns=(Turn(request=turn.request, reply=reply),)),
        example(
            "in-inputs",
            turns=(Turn(request=request, reply=turn.reply),),
        ),
        example("in-tag", tags={"a": broken}),
        example("in-policy", policy=broken),
        example("in-metric", metrics=(Metric(name="m", value=broken),)),
    ]
    with Store.open(place) as store:
        for episode in wrong:
            with pytest.raises(DataError, match=f"case '{episode.case}'.*cannot be stored.*surrogates not allowed"):
                store.add([episode])
        assert store.add([example()]) == 1
        assert store.count() == 1


def test_what_json_or_a_database_cannot_hold_is_refused_by_name(place: str | Path) -> None:
    request = Request.model_validate_json('{"function": "f", "messages": [], "inputs": {"a": NaN}}')
    nan = example("nan", turns=(Turn(request=request, reply=example().turns[0].reply),))
    with Store.open(place) as store:
        with pytest.raises(DataError, match=r"case 'nan'.*not JSON compliant"):
            store.add([nan])
        with pytest.raises(DataError, match=r"case 'huge'.*does not fit 64 bits"):
            store.add([example("huge", attempt=2**63)])
        assert store.count() == 0


def test_a_null_character_is_kept(place: str | Path) -> None:
    odd = example("a\x00b", policy="\x00", tags={"\x00": "\x00"}, metrics=(Metric(name="\x00", value="a\x00b"),))
    with Store.open(place) as store:
        store.add([odd, example("a")])
        assert list(store.episodes(Filter(policy="\x00"))) == [odd]


SCRIPTS = (
    "Ελληνικά Русский العربية עברית हिन्दी ไทย 한국어 日本語 中文 ქართული አማርኛ ᏣᎳᎩ 𐎠𐎼𐎹 𓀀𓂀 👩🏽‍🚀🇺🇳"
    " e\u0301 \u202eright to left\u202c \ufeff \u2028 \u0085 \x00 \x01 \x01\x02 \x7f \U0010ffff \ufffe"
)


def test_text_of_all_scripts_is_kept_wherever_it_stands(place: str | Path) -> None:
    message = Message(role="user", content=SCRIPTS * 20)
    turn = example().turns[0]
    request = Request(function=SCRIPTS, inputs={SCRIPTS: SCRIPTS}, messages=(message, message), choices=(SCRIPTS,))
    everywhere = example(
        SCRIPTS,
        run=SCRIPTS,
        task=SCRIPTS,
        policy=SCRIPTS,
        turns=(Turn(request=request, reply=turn.reply.model_copy(update={"model": SCRIPTS})),),
        metrics=(Metric(name=SCRIPTS, value=SCRIPTS),),
        tags={SCRIPTS: SCRIPTS},
    )
    with Store.open(place) as store:
        store.add([everywhere])
        wanted = Filter(run=SCRIPTS, task=SCRIPTS, tags={SCRIPTS: SCRIPTS}, metrics=(Condition(SCRIPTS, "=", SCRIPTS),))
        assert list(store.episodes(wanted)) == [everywhere]


def test_a_reply_of_100_000_tokens_is_kept_and_quick(place: str | Path) -> None:
    reply = Reply(message=Message(role="assistant", content="token " * 100_000), model="m")
    long = [
        example(f"c{n}", turns=tuple(Turn(request=turn.request, reply=reply) for turn in example().turns * 3))
        for n in range(4)
    ]
    begun = time.process_time()
    with Store.open(place) as store:
        assert store.add(long) == 4
        assert list(store.episodes()) == long
    assert time.process_time() - begun < 5


def test_a_clock_that_jumps_back_loses_and_doubles_nothing(place: str | Path) -> None:
    begun = datetime(2026, 3, 29, 3, tzinfo=UTC)
    some = [
        example(f"c{n:04d}", started_at=begun + timedelta(hours=(-1) ** n * n), run=f"r{n % 2}")
        for n in range(2 * BATCH + 3)
    ]
    with Store.open(place) as store:
        store.add(some)
        assert list(store.episodes()) == sorted(some, key=lambda e: (e.run, e.case))
        assert {each.case for each in store.summaries(limit=3)} == {e.case for e in some[-3:]}  # stored last
        assert store.count(Filter(since=begun)) + store.count(Filter(before=begun)) == len(some)


def test_a_store_opens_by_url_and_makes_its_folder(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/new/folder/store.db") as store:
        store.add([example()])
    with Store.open(str(tmp_path / "new/folder/store.db")) as store:
        assert store.count() == 1
        assert _ask(tmp_path / "new/folder/store.db", "PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("sqlite://", "in memory"),
        ("mysql://user:secret@host/db", "only sqlite and postgresql"),
        ("://", "not a database URL"),
        ("postgresql+nonsense://host/db", "nonsense"),
    ],
)
def test_a_place_that_cannot_hold_a_store_is_refused_in_one_line(location: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        Store.open(location)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def _ask(place: str | Path, question: str) -> list[tuple[object, ...]]:
    engine = open_database(place)[0]
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(question))]
    engine.dispose()
    return rows
