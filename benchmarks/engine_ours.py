"""prentice's process: trains on a job's examples as `prentice train sft` does, and says what it took.

A line on stdin is the path of a job's file, a line on stdout its figures. Checks, loading and proof come before the
clock starts; all that the loop does counts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine_memory import forget_peak, peak_bytes, rss_bytes
from prentice.progress import Bar
from prentice.records import Example, ModelSource
from prentice.training.config import SFTConfig
from prentice.training.sft import train_examples

Job = dict[str, Any]


class Clock:
    """Where the run reports to: notes when the loop begins, ends and takes a step, and what memory it needs."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []
        """(wall, processor) seconds at the loop's begin and after each step."""
        self.before_bytes = self.loaded_bytes = 0

    def say(self, text: str) -> None:
        """The line after the proof and before the first step."""
        print(text, file=sys.stderr)
        self.before_bytes, self.loaded_bytes = peak_bytes(), rss_bytes()
        forget_peak()

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """The loop."""
        del title, total, unit, done
        self._mark()
        yield self

    def advance(self, amount: float = 1, **facts: str) -> None:
        """A step was taken."""
        del amount, facts
        self._mark()

    def _mark(self) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))


def run(job: Job, clock: Clock | None = None) -> Job:
    """Train on the job's rows and say what it took; the first `skip` steps are warm-up."""
    examples = [Example.model_validate(row) for row in job["examples"]]
    clock, skip = clock or Clock(), job.get("skip", 0)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        checkpoint = train_examples(
            SFTConfig(batch=job["batch"], save_seconds=1e9, epochs=job.get("epochs", 1)),
            examples,
            Path("rows"),
            base=Path(job["base"]),
            out=out,
            source=ModelSource(name="smollm2-135m", source="path:base", sha256="0" * 64),
            progress=clock,
        )
        curve = [json.loads(line) for line in (out / "curve.jsonl").read_text(encoding="utf-8").splitlines()][skip:]
    (begin, busy), (end, busy_end) = clock.marks[skip], clock.marks[-1]
    visits = int(sum(line["rows"] for line in curve))
    return {
        "seconds": end - begin,
        "cpu_seconds": busy_end - busy,
        "steps": len(curve),
        "rows": visits,
        "positions": int(sum(line["tokens"] for line in curve)),
        "supervised": round(checkpoint.figures["supervised_tokens"] * visits / len(examples)),
        "first_loss": curve[0]["loss"],
        "before_bytes": clock.before_bytes,
        "loaded_bytes": clock.loaded_bytes,
        "peak_bytes": peak_bytes(),
        "gradient_difference": checkpoint.figures["gradient_difference"],
    }


def main() -> None:
    """Answer jobs until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        print(json.dumps(run(json.loads(Path(line.strip()).read_text(encoding="utf-8")))), file=answers, flush=True)


if __name__ == "__main__":
    main()
