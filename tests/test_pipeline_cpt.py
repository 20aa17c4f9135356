"""A project whose student first reads documents: the chain from [train.cpt] to [train.sft], on a tiny random model."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablation_projects import write_ablation_project
from prentice.app.cli.main import app
from prentice.errors import ConfigError, DataError
from prentice.pipeline import Context, Project, run_stage
from prentice.pipeline.learning.cpt import look_at_documents
from prentice.progress import Silent
from prentice.records import Checkpoint
from prentice.runs import read_record
from tiny_models import write_tiny_llama

PAGE = (Path(__file__).parents[1] / "docs" / "cpt.md").read_text(encoding="utf-8")
CPT = PAGE.partition("```toml\n")[2].partition("```")[0] + "held_out = 0.4\nmax_tokens = 64\n"
"""What the page of docs says, for documents that are few and short."""


class Heard(Silent):
    """Keeps the lines that were said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def write_documents(folder: Path) -> None:
    """A handbook in all four formats, and something else to read."""
    rules = "\n".join(f'{{"id": "rule-{n}", "text": "Rule {n}: call {n} times."}}' for n in range(9))
    passages = "\n".join(f'{{"title": "Night {n}", "text": "It was night {n}."}}' for n in range(9))
    texts = {
        "handbook/refunds.txt": "A refund is paid within ten days.",
        "handbook/cards.md": "# Cards\n\nA lost card is blocked at once.",
        "handbook/rates.html": "<h1>Rates</h1><p>The rate is that of the day.</p><script>count()</script>",
        "rules/2026/answers.md": "Answer within nine days.",
        "handbook/more.jsonl": rules,
        "wikipedia.jsonl": passages,
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, played and curated, with its documents beside it."""
    folder = write_ablation_project(tmp_path_factory.mktemp("p") / "project", base, more=CPT)
    write_documents(folder)
    for stage in ("rollout", "curate"):
        run_stage(Context(Project(folder), Silent()), stage)
    return folder


def train(folder: Path) -> tuple[Checkpoint, Context, list[str]]:
    heard = Heard()
    context = Context(Project(folder), heard)
    run_stage(context, "train")
    return read_record(Checkpoint, context.folder("train") / "checkpoint.json"), context, heard.lines


def readers(folder: Path) -> dict[str, Checkpoint]:
    """Checkpoints of the chain's first link, by id."""
    found = [read_record(Checkpoint, path) for path in (folder / ".prentice" / "chain").glob("cpt-*/checkpoint.json")]
    return {each.id: each for each in found}


def test_what_has_read_the_documents_is_fine_tuned_and_the_lineage_says_so(folder: Path) -> None:
    student, _, lines = train(folder)
    (reader,) = readers(folder).values()
    assert (reader.method, student.method) == ("cpt", "sft")
    assert student.base.source == f"checkpoint:{reader.id}"
    assert {"domain_perplexity_before", "general_perplexity_after"} < set(reader.figures)
    assert any(line.startswith("documents: 13 read, ") for line in lines)
    assert any(line.startswith("held-out documents (") and "of before" in line for line in lines)
    # nothing is new: the reader stays as it is, and what it has read is not said again
    again, _, lines = train(folder)
    assert again.id == student.id
    assert readers(folder) == {reader.id: reader}
    assert not [line for line in lines if line.startswith(("documents: ", "held-out "))]


def test_a_document_that_has_changed_is_read_again_and_one_that_was_renamed_is_not(folder: Path) -> None:
    before, context, _ = train(folder)
    handbook = folder / "handbook"
    (handbook / "cards.md").rename(handbook / "all-about-cards.md")
    assert train(folder)[0].id == before.id
    (handbook / "refunds.txt").write_text("A refund is paid within nine days.", encoding="utf-8")
    after = train(folder)[0]
    assert after.base.sha256 != before.base.sha256
    assert len(readers(folder)) == 2
    del context


def test_documents_are_read_by_a_command_of_their_own_before_anything_was_played(base: Path, tmp_path: Path) -> None:
    folder = write_ablation_project(tmp_path / "project", base, more=CPT, wide=3, deep=0)
    write_documents(folder)
    said = CliRunner().invoke(app, ["train", "cpt", str(folder), "--dry-run"])
    assert said.exit_code == 0, said.output
    assert "documents: 13 read" in said.output
    assert readers(folder) == {}
    said = CliRunner().invoke(app, ["train", "cpt", str(folder)])
    assert said.exit_code == 0, said.output
    assert "cpt: trained" in said.output
    (reader,) = readers(folder).values()
    assert reader.parent is None


def test_a_look_before_says_what_would_be_learnt_and_measured(folder: Path) -> None:
    heard = Heard()
    rows = look_at_documents(Project(folder), heard)
    assert heard.lines[0].startswith("documents: 13 read")
    assert heard.lines[1].startswith("general text: 9 read")
    assert heard.lines[2] == rows.told
    assert " tokens to learn, " in rows.told
    assert set(rows.measured) == {"domain", "general"}


@pytest.mark.parametrize(
    ("override", "error", "said"),
    [
        ('train.cpt.documents=["manuals"]', DataError, "manuals: no such file or folder"),
        ("train.cpt.documents=[]", ConfigError, "train.cpt.documents names nothing to read"),
    ],
)
def test_documents_that_are_not_there_stop_the_run_before_it_starts(
    folder: Path, override: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run_stage(Context(Project(folder, [override]), Silent()), "train")
