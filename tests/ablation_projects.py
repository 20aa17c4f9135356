"""A project that an ablation can be made of in seconds: tiny model, recorded teacher with three tries of some cases."""

from __future__ import annotations

from pathlib import Path

from prentice.pipeline import Project
from prentice.records import Message, Reply, Request, Sampling, Usage
from prentice.records.jsonl import write_episodes
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig, play_all

LABELS = ("card_lost", "card_late", "cash")


class Wavering:
    """Right in two cases of three; its later tries agree in every second case."""

    name, slots = "scripted:teacher", 1

    def __init__(self) -> None:
        self.calls = 0

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """The answer to this message in this try."""
        self.calls += 1
        number = int(str(request.inputs["text"]).rsplit(" ", 1)[1])
        label = LABELS[number % 3] if number % 3 else LABELS[1]
        if sampling.attempt and number % 2:
            label = LABELS[(number + sampling.attempt) % 3]
        message = Message(role="assistant", content=label)
        return Reply(message=message, model=self.name, usage=Usage(), latency_s=0.5, processing_s=0.25)

    async def warm_up(self, request: Request) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to give back."""


def write_ablation_project(folder: Path, base: Path, *, more: str = "", wide: int = 60, deep: int = 20) -> Path:
    """A project whose recording holds one try of `wide` training cases, three of the first `deep`, and the test cases.

    Args:
        more: further lines of its file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["id,split,text,label"]
    rows += [f"train{i},train,message train {i},{LABELS[i % 3]}" for i in range(wide)]
    rows += [f"test{i},test,message test {i},{LABELS[i % 3]}" for i in range(12)]
    (folder / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "prentice.toml").write_text(
        f"""threads = 1
[task]
kind = "classify"
cases = "cases.csv"
instructions = "Which?"
[teacher]
model = "recorded:teacher/*.jsonl"
[student]
base = "{base.as_posix()}"
[train.sft]
epochs = 2
{more}
""",
        encoding="utf-8",
    )
    _record(folder, deep)
    return folder


def _record(folder: Path, deep: int) -> None:
    task = Project(folder).task
    with Store.open(folder / "recording.db") as store:
        for split, tries, cases in (("train", 1, None), ("test", 1, None), ("train", 3, deep)):
            played = task.cases(split)[:cases]  # type: ignore[arg-type]
            run = play_all(task, Wavering(), played, store, RolloutConfig(tries=tries)) if played else ""
            write_episodes(folder / "teacher" / f"{split}.jsonl", store.episodes(run=run)) if played else None
