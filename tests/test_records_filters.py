"""Filters find what they say, the same in SQLite and Postgres, and by an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from postgres import Postgres
from prentice.errors import DataError
from prentice.records import Episode, Failure, Metric
from prentice.records.database import open_database
from prentice.records.filters import Condition, Filter
from prentice.records.schema import EPISODES
from prentice.records.store import Store
from records_examples import example

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FAILURES = (None, Failure(where="model", message="503"), Failure(where="environment", message="broke"))


def made(number: int) -> Episode:
    """Episodes that differ in all that can be filtered by."""
    metrics = (
        Metric(name="success", value=number % 3 == 0),
        Metric(name="steps", value=float(number % 20)),
        Metric(name="ending", value="solved" if number % 3 == 0 else "out of steps"),
        Metric(name="steps", value=3.0, turn=0),  # of a turn: no filter sees it
    )
    return example(
        f"c{number:04d}",
        run=f"r{number % 4}",
        task=f"t{number % 3}",
        split=("train", "val", "test")[number % 3],
        policy=f"p{number % 5}",
        failure=FAILURES[number % 3],
        started_at=NOW - timedelta(days=number),
        tags={"shard": str(number % 50), "odd=": "=" * (number % 2)},
        metrics=metrics[: 2 + number % 3],
    )


MADE = [made(number) for number in range(120)]


@pytest.fixture(scope="module")
def places(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """A file and a database of a Postgres."""
    return [tmp_path_factory.mktemp("filters") / "store.db", postgres.fresh()]


@pytest.fixture(scope="module")
def both(places: list[str | Path]) -> Iterator[list[Store]]:
    """The same episodes in both."""
    stores = [Store.open(place) for place in places]
    for store in stores:
        store.add(MADE)
    yield stores
    for store in stores:
        store.close()


COMPARE: dict[str, Callable[[object, object], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}


def fits(episode: Episode, wanted: Filter) -> bool:
    """What a filter means, said once more in plain Python."""
    failed = "none" if episode.failure is None else episode.failure.where
    plain = (
        (wanted.run, episode.run),
        (wanted.task, episode.task),
        (wanted.split, episode.split),
        (wanted.policy, episode.policy),
    )
    return (
        all(value in (None, has) for value, has in plain)
        and episode.id.startswith(wanted.id or "")
        and wanted.failure in (None, failed, "none" if failed == "none" else "any")
        and (wanted.since is None or episode.started_at >= wanted.since)
        and (wanted.before is None or episode.started_at < wanted.before)
        and all(episode.tags.get(name) == value for name, value in wanted.tags.items())
        and all(_holds(episode, condition) for condition in wanted.metrics)
    )


def _holds(episode: Episode, condition: Condition) -> bool:
    value = episode.metric(condition.name)
    same_kind = type(value) is type(condition.value)
    return same_kind and COMPARE[condition.operator](value, condition.value)


numbers = st.builds(
    Condition,
    st.sampled_from(["steps", "success", "none"]),
    st.sampled_from(list(COMPARE)).map(lambda operator: operator),
    st.integers(0, 20).map(float),
)
words = st.builds(
    Condition,
    st.sampled_from(["success", "ending"]),
    st.sampled_from(["=", "!="]),
    st.sampled_from([True, False, "solved", "out of steps", "1"]),
)
days = st.none() | st.integers(0, 120).map(lambda n: NOW - timedelta(days=n))
filters = st.builds(
    Filter,
    run=st.none() | st.sampled_from(["r1", "nothing"]),
    task=st.none() | st.sampled_from(["t0", "t2"]),
    split=st.none() | st.just("test"),
    policy=st.none() | st.just("p1"),
    id=st.none() | st.sampled_from([MADE[0].id, MADE[5].id[:1], ""]),
    failure=st.none() | st.sampled_from(["none", "any", "model", "judge"]),
    since=days,
    before=days,
    tags=st.just({}) | st.sampled_from([{"odd=": "="}, {"shard": "7"}, {"odd": "=="}]),
    metrics=st.lists(numbers | words, max_size=2).map(tuple),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wanted=filters)
def test_any_filter_finds_what_it_says_in_both_databases(both: list[Store], wanted: Filter) -> None:
    expected = {episode.id for episode in MADE if fits(episode, wanted)}
    for store in both:
        assert store.count(wanted) == len(expected)
        assert {summary.id for summary in store.summaries(wanted, limit=200)} == expected


def test_what_a_filter_finds_is_streamed_whole_and_in_order(both: list[Store]) -> None:
    wanted = Filter.parse(["success=true", "steps<10"])
    expected = sorted((e for e in MADE if fits(e, wanted)), key=lambda e: (e.run, e.case))
    assert len(expected) > 10
    for store in both:
        assert list(store.episodes(wanted)) == expected


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("run=r1", "episodes_in_order"),
        ("task=t1", "episodes_by_task"),
        ("policy=p1", "episodes_by_policy"),
        ("failure=model", "episodes_by_failure"),
        ("since=7d", "episodes_by_time"),
        ("tag.shard=7", "tags"),
        ("success=true", "metrics_of_episodes"),
        ("steps<10", "metrics_of_episodes"),
        ("ending=solved", "metrics_of_episodes"),
    ],
)
@pytest.mark.usefixtures("both")
def test_filters_are_answered_by_an_index(places: list[str | Path], text: str, index: str) -> None:
    wanted = select(func.count()).select_from(EPISODES).where(*Filter.parse([text], now=NOW).conditions())
    for place in places:
        engine = open_database(place)[0]
        with engine.connect() as connection:
            plan = _plan(connection, str(wanted.compile(connection, compile_kwargs={"literal_binds": True})))
        engine.dispose()
        assert index in plan
        assert "SCAN episodes\n" not in plan
        assert "Seq Scan" not in plan


def _plan(connection: Connection, query: str) -> str:
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")
        return "".join(f"{row[-1]}\n" for row in rows)
    # so few rows are read faster whole; the question is whether an index could serve when there are many
    connection.exec_driver_sql("SET enable_seqscan = off")
    return "".join(f"{row[0]}\n" for row in connection.exec_driver_sql(f"EXPLAIN {query}"))


def test_a_tag_too_long_for_an_index_is_found_all_the_same(place: str | Path) -> None:
    long = "x" * 50_000
    with Store.open(place) as store:
        store.add([example("a", tags={"note": long}), example("b", tags={"note": long + "y"})])
        assert [e.case for e in store.episodes(Filter(tags={"note": long}))] == ["a"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["run=ab", " split = test "], Filter(run="ab", split="test")),
        (["tag.a.b==c"], Filter(tags={"a.b": "=c"})),
        (
            ["steps<=10", "success=True"],
            Filter(metrics=(Condition("steps", "<=", 10.0), Condition("success", "=", True))),
        ),
        (["ending!='7'"], Filter(metrics=(Condition("ending", "!=", "7"),))),
        (["metric.run=1"], Filter(metrics=(Condition("run", "=", 1.0),))),
        (
            ["since=2h", "before=2026-01-31T00:00:00+00:00"],
            Filter(since=NOW - timedelta(hours=2), before=datetime(2026, 1, 31, tzinfo=UTC)),
        ),
    ],
)
def test_a_filter_is_read_as_it_is_written(texts: list[str], expected: Filter) -> None:
    assert Filter.parse(texts, now=NOW) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("success", "filter 'success' is no comparison"),
        ("run<3", "only metrics can be compared with <"),
        ("failure=maybe", "failure=maybe: no such ending .*known: none, any, model"),
        ("since=soon", "since=soon': no age and no date"),
        ("ending<solved", "only numbers are smaller or larger"),
        ("steps<nan", "only numbers are smaller or larger"),
        ("success>=true", "only numbers are smaller or larger"),
    ],
)
def test_a_filter_that_means_nothing_is_one_clear_line(text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        Filter.parse([text], now=NOW)
    assert "\n" not in str(caught.value)
