"""Named entities: annotated files, what is left out of them, prompts, grading, and figures over all cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import prentice
from prentice.config import build
from prentice.errors import ConfigError, DataError
from prentice.evaluation import EvaluateConfig, compare
from prentice.evaluation.page import render_page
from prentice.models import ScriptedModel
from prentice.pipeline.checking import check
from prentice.records import Episode, Report, Sampling
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all
from prentice.statistics import ratio, ratio_difference, wilson
from prentice.tasks.annotated import entities_of, frame_of, read_annotated
from prentice.tasks.ner import NER, NERConfig
from tiny_models import write_tiny_llama

HEADER = "split,text,entities\n"
ROWS = [
    ("train", "Ada met Grace in Paris .", {"person": ["Ada", "Grace"], "place": ["Paris"]}),
    ("train", "It rained .", {}),
    ("train", "Bob left .", {"person": ["Bob"]}),
    ("train", "Rome fell .", {"place": ["Rome"]}),
    ("test", "Eve likes Oslo .", {"person": ["Eve"], "place": ["Oslo"]}),
    ("test", "Nothing here .", {}),
]
SCRIPTS = [
    ("สมชาย ไป เชียงใหม่", {"person": ["สมชาย"], "place": ["เชียงใหม่"]}),
    ("王小明去了北京 。", {"person": ["王小明"], "place": ["北京"]}),
    ("سافرت ليلى إلى القاهرة", {"person": ["ليلى"], "place": ["القاهرة"]}),
    ("👩🏽‍🚀 Zoë → São Paulo 🇧🇷", {"person": ["Zoë"], "place": ["São Paulo"]}),
]


def write(folder: Path, rows: list[tuple[str, str, Any]], name: str = "cases.csv") -> Path:
    """A file of texts in the plain form."""
    frame = pl.DataFrame(
        [{"split": split, "text": text, "entities": json.dumps(marks)} for split, text, marks in rows], orient="row"
    )
    frame.write_csv(folder / name)
    return folder / name


def task(folder: Path, rows: list[tuple[str, str, Any]] | None = None, **settings: Any) -> NER:
    """A task on a small file."""
    write(folder, ROWS if rows is None else rows)
    section = {"kind": "ner", "cases": "cases.csv", "instructions": "Find them.", "shots": 0} | settings
    return NER(build(NERConfig, section, "[task]"), folder)


def playing(one: NER, policy: ScriptedModel, folder: Path) -> list[Episode]:
    """Its episodes on the held-out cases."""
    with Store.open(folder / "store.db") as store:
        run = play_all(one, policy, one.cases("test"), store, RolloutConfig())
        return list(store.episodes(run=run))


def test_a_reply_is_held_to_the_types_and_names_only_what_is_there(tmp_path: Path) -> None:
    one = task(tmp_path)
    case = one.cases("test")[0]
    request = one.render("text", case.inputs, "teacher")
    assert request.messages[-1].content == "Eve likes Oslo ."
    assert request.response_schema is not None
    assert request.response_schema["properties"] == {
        name: {"type": "array", "items": {"type": "string"}} for name in ("person", "place")
    }
    assert one.demonstration(case) == '{"person": ["Eve"], "place": ["Oslo"]}'
    assert one.demonstration(one.cases("test")[1]) == "{}"


def test_worked_examples_show_every_type_and_one_text_without_any_and_nobody_plays_them(tmp_path: Path) -> None:
    one = task(tmp_path, shots=2)
    assert [message.content for message in one.render("text", {"text": "x"}, "teacher").messages] == [
        "Find them.",
        "Ada met Grace in Paris .",
        '{"person": ["Ada", "Grace"], "place": ["Paris"]}',
        "It rained .",
        "{}",
        "x",
    ]
    assert [message.content for message in one.render("text", {"text": "x"}, "student").messages] == ["Find them.", "x"]
    assert [case.inputs["text"] for case in one.cases("train")] == ["Bob left .", "Rome fell ."]


def test_a_third_of_the_worked_examples_is_without_entities_however_many_there_are(tmp_path: Path) -> None:
    plain: list[tuple[str, str, Any]] = [("train", f"It rained {n} days .", {}) for n in range(5)]
    one = task(tmp_path, [*plain, *ROWS], shots=4)
    answers = [m.content for m in one.render("text", {"text": "x"}, "teacher").messages if m.role == "assistant"]
    assert len(answers) == 4
    assert answers.count("{}") == 1


def test_texts_may_come_in_a_drawn_order_that_is_always_the_same(tmp_path: Path) -> None:
    rows: list[tuple[str, str, Any]] = [("train", f"Text {n}", {}) for n in range(30)]
    tasks = [task(tmp_path, rows, types=["person"], draw=seed) for seed in (None, 0, 0, 1)]
    orders = [[case.id for case in one.cases("train")] for one in tasks]
    assert orders[0] == [f"train-{n}" for n in range(1, 31)]
    assert orders[1] == orders[2] != orders[3]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[3])


def test_a_text_that_is_held_out_is_not_learnt_from_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    again = [
        ("train", "eve LIKES  Oslo .", {}),
        ("train", "Bob left .", {"person": ["Bob"]}),
        ("val", "Rome fell .", {}),
    ]
    one = task(tmp_path, [*ROWS, *again, ("train", " ", {})])
    assert len(one.cases("train")) == 3
    assert [case.inputs["text"] for case in one.cases("val")] == ["Rome fell ."]
    assert one.left_out == {"in test too": 1, "repeated in train": 1, "in val too": 1, "empty": 1}


def test_the_check_tells_what_is_left_out_and_the_project_can_be_checked(tmp_path: Path) -> None:
    write(tmp_path, [*ROWS, ("train", "Eve likes Oslo .", {})])
    (tmp_path / "prentice.toml").write_text(
        '[task]\nkind = "ner"\ncases = "cases.csv"\ninstructions = "Find them."\n[teacher]\nmodel = "task:answer key"\n'
    )
    said = [finding.text for finding in check(tmp_path)]
    assert "1 texts left out: in test too" in said
    assert any("takes" in text and "answer keys for right" in text for text in said)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-P I-P O B-L", {"P": ["a b"], "L": ["d"]}),
        ("I-P I-P O I-L", {"P": ["a b"], "L": ["d"]}),
        ("I-P B-P I-P O", {"P": ["a", "b c"]}),
        ("B-P B-P I-L O", {"P": ["a", "b"], "L": ["c"]}),
        ("S-P B-P I-P E-P", {"P": ["a", "b c d"]}),
        ("B-P E-P I-P O", {"P": ["a b", "c"]}),
        ("O O O O", {}),
    ],
)
def test_tags_of_all_three_schemes_are_read(tags: str, found: dict[str, list[str]]) -> None:
    assert entities_of("here", list("abcd"), tags.split()) == found


@given(st.lists(st.sampled_from(["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in "PL")]), max_size=12))
def test_every_marked_token_is_in_exactly_one_entity(tags: list[str]) -> None:
    tokens = [f"t{n}" for n in range(len(tags))]
    texts = [text for group in entities_of("here", tokens, tags).values() for text in group]
    marked = [token for token, tag in zip(tokens, tags, strict=True) if tag != "O"]
    assert sorted(" ".join(texts).split()) == sorted(marked)


def test_conll_columns_are_read_one_file_a_split(tmp_path: Path) -> None:
    first = "Ada NNP I-NP I-PER\nmet VB O O\nGrace NNP I-NP B-PER\nHopper NNP I-NP I-PER\n"
    (tmp_path / "eng.train").write_text(f"-DOCSTART- -X- O O\n\n{first}\nOk UH O O\n")
    (tmp_path / "eng.testb").write_text("Bonn NNP I-NP I-LOC\n")
    section = {"kind": "ner", "cases": {"train": "eng.train", "test": "eng.testb"}, "instructions": "x", "shots": 0}
    one = NER(build(NERConfig, section, "[task]"), tmp_path)
    assert [(case.inputs["text"], case.expected) for case in one.cases("train")] == [
        ("Ada met Grace Hopper", {"PER": ["Ada", "Grace Hopper"]}),
        ("Ok", {}),
    ]
    assert one.cases("test")[0].id == "test-1"


def test_rows_of_tokens_and_tags_are_read_from_jsonl_and_parquet(tmp_path: Path) -> None:
    row = {"split": "validation", "tokens": ["Ada", "King", "ran"], "ner_tags": ["B-P", "I-P", "O"]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    header = json.dumps({"info": {"features": {"ner_tags": {"feature": {"names": ["O", "B-P", "I-P"]}}}}})
    numbered = pl.DataFrame([{**row, "ner_tags": [1, 2, 0]}])
    numbered.write_parquet(tmp_path / "a.parquet", metadata={"huggingface": header})
    for name in ("a.jsonl", "a.parquet"):
        (read,) = read_annotated(str(tmp_path / name), {})
        assert (read.split, read.text, read.entities) == ("validation", "Ada King ran", {"P": ["Ada King"]})


def test_tags_that_are_numbers_are_named_in_the_configuration(tmp_path: Path) -> None:
    row = {"split": "train", "tokens": ["Ada", "King", "ran"], "ner_tags": [1, 2, 0]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (read,) = read_annotated(str(tmp_path / "a.jsonl"), {}, ["O", "B-P", "I-P"])
    assert read.entities == {"P": ["Ada King"]}
    with pytest.raises(DataError, match=r"a.jsonl:1: ner_tags is not a list of texts: .*tag_names"):
        list(read_annotated(str(tmp_path / "a.jsonl"), {}))


def test_tables_are_read_alike_whatever_their_ending(tmp_path: Path) -> None:
    rows = [{"split": "train", "text": "Ada ran", "entities": '{"P": ["Ada"]}'}, {"split": "train", "text": "7"}]
    frame = pl.DataFrame([{"entities": None, **row} for row in rows]).select("split", "text", "entities")
    frame.write_csv(tmp_path / "a.csv")
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    assert all(frame_of(str(tmp_path / f"a.{ending}")).equals(frame) for ending in ("csv", "jsonl", "parquet"))


def test_a_file_of_the_hub_is_refused_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="lies on the hub, and this run is offline"):
        list(read_annotated("hf://datasets/a/b/*.parquet", {}))


def test_other_white_space_than_blanks_and_tabs_stays_in_its_token(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("10\u00a0000\tB-N\nx\u2028y O\n", encoding="utf-8")
    (read,) = read_annotated(str(tmp_path / "a.conll"), {})
    assert (read.text, read.entities) == ("10\u00a0000 x\u2028y", {"N": ["10\u00a0000"]})


def test_of_several_files_the_one_is_named_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "Ada", "entities": {"P": ["Ada"]}}))
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": t, "entities": {t: [t]}}) for t in ("P", "Q")))
    cases = {"train": "a.jsonl", "test": "b.jsonl"}
    section = {"kind": "ner", "cases": cases, "instructions": "x", "shots": 0, "types": ["P"]}
    with pytest.raises(DataError, match=r"b.jsonl:2: expected: "):
        NER(build(NERConfig, section, "[task]"), tmp_path).cases("test")


def test_columns_of_other_names_are_named_in_the_configuration(tmp_path: Path) -> None:
    pl.DataFrame([{"part": "dev", "body": "Ada", "marks": '{"P": ["Ada"]}'}]).write_csv(tmp_path / "a.csv")
    (read,) = read_annotated(str(tmp_path / "a.csv"), {"split": "part", "text": "body", "entities": "marks"})
    assert (read.split, read.text, read.entities) == ("dev", "Ada", {"P": ["Ada"]})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "split,body\ntrain,x\n", "a.csv:2: none of the columns split, body is known as the text"),
        ("a.csv", 'split,text,entities\ntrain,x,"{"\n', "a.csv:2: entities is not valid JSON"),
        ("a.csv", 'split,text,entities\ntrain,x,"[1]"\n', "a.csv:2: entities is not a JSON object"),
        ("a.jsonl", '{"split": "train", "text": "x", "entities": {"P": "x"}}', "a.jsonl:1: entities.P is not a list"),
        ("a.jsonl", '{"tokens": ["a"], "tags": []}', "a.jsonl:1: 1 tokens have 0 tags"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["X-P"]}', "a.jsonl:1: tag 'X-P' is not O, B-TYPE"),
        ("a.conll", "Ada B-P\nalone\n", "a.conll:2: 'alone' is one column"),
        ("gone.conll", None, "gone.conll: No such file"),
        ("gone.parquet", None, "gone.parquet: cannot be read"),
        ("a.conll", b"\xff\xfe", "a.conll: not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_names_the_line(tmp_path: Path, name: str, text: Any, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        list(read_annotated(str(tmp_path / name), {}))
    assert message in str(caught.value)


def test_a_split_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cases.csv:2: split 'dev set' is none of"):
        task(tmp_path, [("dev set", "x", {})]).cases("test")


def test_a_file_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text(HEADER)
    config = build(NERConfig, {"kind": "ner", "cases": "cases.csv", "instructions": "x"}, "[task]")
    with pytest.raises(DataError, match=r"cases.csv: no texts"):
        NER(config, tmp_path).cases("test")


def test_types_of_the_answer_keys_that_are_not_listed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'place' is no type of entity; known: person"):
        task(tmp_path, types=["person"]).cases("train")
    with pytest.raises(ConfigError, match="no entity type is known"):
        task(tmp_path, [("test", "x", {})]).cases("test")


@pytest.mark.parametrize(
    ("reply", "success", "valid", "right", "said", "jaccard"),
    [
        ('{"place": ["Oslo"], "person": ["Eve"]}', True, True, 2, 2, 1.0),
        ('{"person": [" Eve "], "place": ["Oslo"]}', True, True, 2, 2, 1.0),
        ('{"person": ["Eve", "Eve"], "place": ["Oslo"]}', False, True, 2, 3, 2 / 3),
        ('{"person": ["Oslo"]}', False, True, 0, 1, 0.0),
        ("{}", False, True, 0, 0, 0.0),
        ('{"person": "Eve"}', False, False, 0, 0, 0.0),
        ('{"animal": ["Eve"]}', False, False, 0, 0, 0.0),
        ("Eve and Oslo", False, False, 0, 0, 0.0),
        ('{"person": ["Eve"], "person": ["Eve"]}', False, False, 0, 0, 0.0),
    ],
)
async def test_entities_are_compared_as_bags(
    tmp_path: Path, reply: str, success: bool, valid: bool, right: int, said: int, jaccard: float
) -> None:
    one = task(tmp_path)
    environment = one.environment("student")
    request = await environment.reset(one.cases("test")[0])
    said_so = await ScriptedModel([reply]).generate(request, Sampling())
    metrics = {m.name: m.value for m in (await environment.step(said_so)).metrics}
    assert (metrics["success"], metrics["valid_json"]) == (success, valid)
    assert (metrics["entities_right"], metrics["entities_said"], metrics["entities_expected"]) == (right, said, 2)
    assert metrics["jaccard"] == pytest.approx(jaccard)


def report(folder: Path, **by_role: list[Episode]) -> Report:
    """The report of these policies."""
    one = task(folder)
    return compare(by_role, config=EvaluateConfig(), machine="test", measures=one.measures())


def test_f1_is_that_of_all_entities_together(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = task(tmp_path)
    half = playing(one, ScriptedModel(lambda _: '{"person": ["Eve"], "place": ["Rome"]}', name="half"), tmp_path / "a")
    none = playing(one, ScriptedModel(lambda _: "{}", name="none"), tmp_path / "b")
    found = report(tmp_path, teacher=none, student=half)
    teacher, student = found.results
    # said 2 + 2, right 1 + 0, expected 2 + 0
    assert student.measures["entity F1"].value == pytest.approx(2 * 1 / (4 + 2))
    assert student.measures["precision"].value == pytest.approx(1 / 4)
    assert student.measures["recall"].value == pytest.approx(1 / 2)
    # of persons: said 1 + 1, right 1 + 0, expected 1 + 0
    assert student.measures["F1 of person"].value == pytest.approx(2 * 1 / (2 + 1))
    assert student.measures["precision of person"].value == pytest.approx(1 / 2)
    assert student.measures["recall of person"].value == pytest.approx(1)
    assert student.measures["recall of place"].value == 0
    assert student.measures["Jaccard"].value == pytest.approx((1 / 3 + 0) / 2)
    assert "precision" not in teacher.measures, "it said nothing, so nothing is known of it"
    assert teacher.measures["recall"].value == 0
    assert student.measures_to_teacher["recall"].value == pytest.approx(1 / 2)
    page = render_page(found)
    assert "50.0 [5, 95]<br><small>+50.0 [+50.0, +50.0]</small>" in page


def test_no_entities_is_the_trivial_policy_and_right_where_there_are_none(tmp_path: Path) -> None:
    one = task(tmp_path)
    (name,) = one.baselines()
    (tmp_path / "a").mkdir()
    played = playing(one, one.baselines()[name], tmp_path / "a")  # type: ignore[arg-type]
    assert name == "no entities"
    assert [episode.metric("success") for episode in played] == [False, True]


def test_texts_in_other_scripts_go_through_as_they_are(tmp_path: Path) -> None:
    rows = [("test", text, marks) for text, marks in SCRIPTS]
    one = task(tmp_path, rows)
    (tmp_path / "a").mkdir()
    played = playing(one, one.teachers()["answer key"], tmp_path / "a")  # type: ignore[arg-type]
    assert [episode.turns[0].request.messages[-1].content for episode in played] == [text for text, _ in SCRIPTS]
    assert all(episode.metric("success") for episode in played)


def test_a_ratio_is_that_of_the_sums_within_its_interval() -> None:
    found = ratio([1.0, 0.0, 2.0], [2.0, 2.0, 2.0])
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.low <= 0.5 <= found.high
    assert ratio([0.0], [0.0]) is None
    assert ratio_difference(([1.0], [0.0]), ([1.0], [1.0])) is None
    with pytest.raises(ValueError, match="divided"):
        ratio([1.0], [])


def test_a_ratio_without_spread_has_wilsons_width_and_differences_are_drawn_together() -> None:
    found = ratio([0.0] * 20, [2.0] * 19 + [0.0])
    assert found is not None
    assert (found.low, found.value) == (0, 0)
    assert found.high == pytest.approx(wilson(0, 19).high)
    varied = ([1.0, 0.0, 3.0, 1.0], [2.0, 4.0, 3.0, 1.0])
    difference = ratio_difference(varied, varied)
    assert difference is not None
    assert (difference.low, difference.value, difference.high) == (0, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_an_interval_holds_its_value(cases: list[tuple[int, int]]) -> None:
    found = ratio([float(min(a, b)) for a, b in cases], [float(b) for _, b in cases])
    if found is not None:
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_an_id_that_occurs_in_several_splits_has_its_split_before_it(tmp_path: Path) -> None:
    for split, texts in (("train", ["Ada left .", "Bob left ."]), ("test", ["Eve left ."])):
        rows = [{"id": str(n), "text": text, "entities": {"person": [text[:3]]}} for n, text in enumerate(texts)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    files = {"train": "train.jsonl", "test": "test.jsonl"}
    one = task(tmp_path, cases=files)
    assert [[case.id for case in one.cases(split)] for split in ("train", "test")] == [["train-0", "1"], ["test-0"]]
    (tmp_path / "test.jsonl").write_text(
        (tmp_path / "train.jsonl").read_text().replace('"1"', '"0"').replace("Bob", "Eve")
    )
    with pytest.raises(DataError, match="id '0' occurred before"):
        task(tmp_path, cases=files).cases("test")


def test_entities_are_played_in_processes_of_their_own(tmp_path: Path) -> None:
    one = task(tmp_path)
    with Store.open(tmp_path / "store.db") as store:
        run = play_all(one, ScriptedModel(lambda _: "{}"), one.cases("test"), store, RolloutConfig(processes=1))
        found = {e.case: e.metric("success") for e in store.episodes(run=run)}
    assert sorted(found.values(), key=str) == [False, True]


def test_a_runs_report_says_which_texts_were_left_out(tmp_path: Path) -> None:
    write(tmp_path, [*ROWS, ("train", "Eve likes Oslo .", {}), ("train", "Bob left .", {})])
    write_tiny_llama(tmp_path / "base")
    (tmp_path / "prentice.toml").write_text(
        '[task]\nkind = "ner"\ncases = "cases.csv"\ninstructions = "Find them."\nshots = 0\n'
        '[teacher]\nmodel = "task:answer key"\n[student]\nbase = "base"\n'
        '[train.sft]\nepochs = 1\n[evaluate]\npolicies = ["student"]\n'
    )
    outcome = prentice.run(tmp_path)
    assert outcome.report.facts["cases left out"] == {"in test too": 1, "repeated in train": 1}
    page = outcome.page.read_text(encoding="utf-8")
    assert "in test too" in page
    assert "repeated in train" in page
