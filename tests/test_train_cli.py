"""`prentice train`: what a person sees before a run, and what becomes of arguments that are wrong."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from prentice.app.cli.main import app
from prentice.app.cli.train_views import SHOWN_FAULTS, print_truth
from prentice.errors import PrenticeError
from prentice.pipeline import Context, Project, run_stage
from prentice.pipeline.project import METHODS
from prentice.pipeline.training_views import look_at_rows
from prentice.progress import Silent
from prentice.records import Example, Message, ToolCall
from prentice.training.config import SFTConfig
from prentice.training.start import open_checker
from prentice.training.truth import Truth, look
from test_pipeline import write_project
from tiny_models import write_tiny_llama
from training_models import examples

DROPS_THE_SYSTEM = "{% for m in messages if m.role != 'system' %}"


def run(*arguments: object) -> tuple[int, str]:
    """Exit code, and all that was printed, in a terminal of 100 columns."""
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def flat(text: str) -> str:
    """The text as one line: where a terminal breaks it says nothing."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def project(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose dataset has been curated."""
    return curated(tmp_path_factory.mktemp("curated") / "project", base)


def curated(folder: Path, base: Path) -> Path:
    write_project(folder, base)
    for stage in ("rollout", "curate"):
        run_stage(Context(Project(folder), Silent()), stage)
    return folder


def settings(*arguments: object) -> dict[str, object]:
    """What `--dry-run` prints of [train.sft]."""
    code, text = run(*arguments, "--dry-run")
    assert code == 0, text
    found: dict[str, object] = json.loads(text)["sft"]
    return found


@pytest.mark.parametrize("method", [[], ["sft"]], ids=["no method", "sft"])
@pytest.mark.parametrize("first", [True, False], ids=["flags first", "folder first"])
def test_a_folder_without_a_method_is_fine_tuned(project: Path, method: list[str], first: bool) -> None:
    flags = ["--set", "train.sft.epochs=7"]
    rest = [*flags, project] if first else [project, *flags]
    assert settings("train", *method, *rest)["epochs"] == 7
    assert not (project / ".prentice" / "train").exists()


def test_help_lists_the_methods_and_says_what_a_folder_alone_means() -> None:
    for arguments in (["train", "--help"], ["train"]):
        _, text = run(*arguments)
        assert re.findall(r"│ (cpt|sft|preference|grpo|distill) ", text) == list(METHODS)
        assert "prentice train FOLDER" in text
    code, text = run("train", "somewhere", "--help")
    assert code == 0
    assert "--check" in text
    assert "--estimate" in text


def test_flags_without_a_folder_are_told_that_it_is_missing() -> None:
    code, text = run("train", "--check")
    assert code == 2
    assert "Missing argument" in text


def test_a_setting_that_is_wrong_is_one_line(project: Path) -> None:
    code, text = run("train", project, "--check", "--set", "train.sft.epoch=1")
    assert code == 2
    assert "did you mean 'epochs'?" in text


def test_the_check_shows_rows_and_figures_and_ends_with_the_next_step(project: Path) -> None:
    code, text = run("train", "--check", project)
    assert code == 0, text
    for words in (
        "the shortest row",
        "the median row",
        "the longest row",
        "⟦card_",
        "<|im_end|>⟧",
        "24: 20 train, 4 val",
    ):
        assert words in text, words
    assert "learnt: '<|im_end|>' ends 24 rows" in text
    assert "all rows fit, none is cut" in flat(text)
    assert "every row's tokens are those that the server sees" in flat(text)
    assert text.rstrip().splitlines()[-1] == f"ready: prentice train {project}"
    assert not (project / ".prentice" / "train").exists()


def test_the_check_stays_within_a_hundred_columns(project: Path) -> None:
    _, text = run("train", project, "--check")
    # the last line is a command, which may be copied
    assert max(map(len, text.rstrip().splitlines()[:-1])) <= 100


def test_a_run_that_would_not_start_is_exit_code_2_and_the_last_line_says_what_to_do(tmp_path: Path) -> None:
    base = write_tiny_llama(tmp_path / "base")
    template = base / "chat_template.jinja"
    text = template.read_text(encoding="utf-8")
    folder = curated(tmp_path / "project", base)
    run("train", folder, "--check")  # makes the served base, as yet with its own template
    template.write_text(text.replace("{% for m in messages %}", DROPS_THE_SYSTEM), encoding="utf-8")
    code, shown = run("train", folder, "--check")
    assert code == 2
    assert "24 × the chat template drops the system message" in shown
    assert f"… and {24 - SHOWN_FAULTS} more" in shown
    last = shown.rstrip().splitlines()[-1]
    assert last == "a run would not start: choose a base that knows the system role"
    assert "rows.parquet" in shown
    code, refused = run("train", folder)
    assert code == 2
    assert "the chat template drops the system message" in refused


def test_rows_that_are_too_long_are_counted_and_named(project: Path) -> None:
    code, text = run("train", project, "--check", "--set", "train.sft.max_tokens=30")
    assert code == 2
    assert "rows do not fit" in flat(text)
    assert "× it is longer than max_tokens" in text
    assert text.rstrip().splitlines()[-1] == (
        "a run would not start: raise max_tokens, or drop such rows while curating"
    )


def test_without_a_dataset_one_line_names_the_command_that_makes_it(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", base)
    code, text = run("train", "--check", folder)
    assert code == 2
    assert "no dataset has been curated with this configuration yet" in flat(text)
    assert f"try: prentice rollout {folder}, then prentice curate {folder}" in text
    assert run("rollout", folder)[0] == 0
    with pytest.raises(PrenticeError) as refused:
        look_at_rows(folder, (), Silent())
    assert refused.value.hint == f"prentice curate {folder}"
    assert run("curate", folder)[0] == 0
    assert look_at_rows(folder, (), Silent()).rows


def test_the_estimate_of_a_dataset_names_each_part_and_a_verdict(project: Path) -> None:
    code, text = run("train", "--estimate", project)
    assert code == 0, text
    for words in (
        "trained (lora, float32)",
        "20 rows of",
        "saved by sharing",
        "memory of one process",
        "vocabulary at every token",
        "activations of",
        "at the highest moment",
        "operations at 50 % of",
        "state to go on from",
        "the student as GGUF, q8_0",
        "free here",
        "rate measured now",
    ):
        assert words in flat(text), words
    assert text.rstrip().splitlines()[-1].startswith("it fits: ")
    assert max(map(len, text.splitlines())) <= 100
    assert not (project / ".prentice" / "train").exists()


def test_the_estimate_answers_for_a_base_and_gpus_that_are_not_here(project: Path) -> None:
    size = ["--rows", 5000, "--tokens", 600, "--set", "train.sft.precision=bfloat16"]
    code, text = run("train", project, "--estimate", "--base", "llama-3.1-70b", "--on", "h100", *size)
    assert code == 0
    assert "it does not fit" in text
    assert "FSDP on" in text
    assert "NVIDIA H100 data sheet" in text
    code, text = run("train", project, "--estimate", "--base", "llama-3.1-70b", "--on", "16xh100", *size)
    assert "on 16 × h100 with FSDP" in text
    assert "put together from all processes" in text
    code, text = run("train", project, "--estimate", "--base", "llama-3.1-8b", "--on", "h100", *size)
    assert "8.0 billion weights, 41.9 million trained" in text


def test_an_estimate_without_dataset_asks_for_one_or_for_numbers(base: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", base)
    code, text = run("train", folder, "--estimate", "--on", "h100")
    assert code == 2
    assert "--rows N --tokens N" in flat(text)
    code, text = run("train", folder, "--estimate", "--on", "h100", "--rows", 500, "--tokens", 100)
    assert code == 0
    assert "500 rows of 100 tokens" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--estimate", "--on", "abacus"], "no accelerator named 'abacus'"),
        (["--estimate", "--base", "llama-3"], "no shape of a model named 'llama-3' is known"),
        (["--estimate", "--rows", "10"], "--rows and --tokens belong together"),
        (["--estimate", "--rows", "10", "--tokens", "3000"], "--tokens 3000 is above train.sft.max_tokens = 2048"),
        (["--on", "h100"], "only say what to estimate"),
        (["--check", "--base", "llama-3.1-8b"], "only say what to estimate"),
    ],
)
@pytest.mark.parametrize("method", [[], ["sft"]], ids=["no method", "sft"])
def test_arguments_that_are_wrong_are_answered_in_one_line(
    project: Path, method: list[str], arguments: list[str], words: str
) -> None:
    code, text = run("train", *method, project, *arguments)
    assert code == 2
    assert words in flat(text)
    assert "Traceback" not in text


def looked(base: Path, rows: list[Example]) -> Truth:
    return look(open_checker(512, Path("rows.parquet"), base), rows, SFTConfig())


def printed(truth: Truth, *, colour: bool = False) -> str:
    kind = "standard" if colour else None
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=colour, color_system=kind, highlight=False)  # type: ignore[arg-type]
    print_truth(truth, console, "prentice train x")
    return file.getvalue()


def test_prompt_reply_and_stop_token_have_their_own_colours(base: Path) -> None:
    shown = printed(looked(base, examples(8)), colour=True)
    assert "\x1b[1;32mother\x1b[0m\x1b[30;43m<|im_end|>\x1b[0m" in shown
    assert "\x1b[2m<|im_start|>system↵\x1b[0m" in shown
    assert "the stop token, learnt" in shown
    assert "⟦" not in shown


def test_what_cannot_be_seen_is_made_visible(base: Path) -> None:
    row = examples(1)[0]
    user = Message(role="user", content="a\tb\x1b[31m\u200bc\N{NO-BREAK SPACE}d")
    row = row.model_copy(update={"messages": (user,), "reply": Message(role="assistant", content="  yes\nno ")})
    shown = printed(looked(base, [row]))
    assert "a⇥" in shown
    assert "⟨U+001B⟩[31m⟨U+200B⟩c⟨U+00A0⟩d" in shown
    assert "\x1b" not in shown
    assert "⟦··yes↵" in shown
    assert "no·<|im_end|>⟧" in shown


def test_a_tool_call_is_shown_as_the_student_writes_it(base: Path) -> None:
    call = ToolCall(id="1", name="find", arguments='{"card": 3}')
    row = examples(1)[0].model_copy(update={"id": "calls", "reply": Message(role="assistant", tool_calls=(call,))})
    shown = printed(looked(base, [*examples(4), row]))
    assert "a row that calls a tool" in shown
    assert '⟦<tool_call>{"name": "find", "arguments": {"card": 3}}</tool_call><|im_end|>⟧' in shown


def test_doubtful_rows_are_pointed_at_and_stop_nothing(base: Path) -> None:
    rows = examples(6)
    rows.append(rows[0].model_copy(update={"id": "again"}))
    rows.append(rows[1].model_copy(update={"id": "other", "reply": Message(role="assistant", content="other")}))
    shown = printed(looked(base, rows))
    assert "1 rows say the same as an earlier one (such as row0 and again)" in shown
    assert "2 rows have the prompt of another and a different reply (such as row1 and other)" in shown
    assert "no rows are set aside" in shown
    assert shown.rstrip().splitlines()[-1] == "ready: prentice train x"


def test_a_dataset_of_no_rows_is_shown_too(base: Path) -> None:
    shown = printed(looked(base, []))
    assert "no row is left to train on" in shown
    assert shown.rstrip().splitlines()[-1] == "a run would not start: curate more episodes"
