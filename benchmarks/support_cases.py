"""Makes `examples/support/cases.csv` from Banking77: python benchmarks/support_cases.py (reads $PRENTICE_DATA).

77 rows for the teacher's prompt (one a label), 3 000 to learn from, 1 000 held out, drawn with a fixed seed. The first
320 shuffled training rows were used to choose the teacher's prompt and are left out; so are texts that occur twice.
"""

from __future__ import annotations

import csv
import io
import os
import random
import sys
from pathlib import Path

TRIED = 320
SHORT = 90
"""Examples in the prompt are short texts, in characters: each of them is read by the teacher."""
TRAIN, TEST = 3000, 1000
OUT = Path(__file__).parents[1] / "examples" / "support" / "cases.csv"


def main() -> None:
    """Write the file."""
    if "PRENTICE_DATA" not in os.environ:
        sys.exit("PRENTICE_DATA is not set: it names the folder that holds banking77.csv")
    OUT.write_text(cases(Path(os.environ["PRENTICE_DATA"])), encoding="utf-8")


def cases(data: Path) -> str:
    """The file's text, from the folder that holds banking77.csv."""
    with (data / "banking77.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    train = [row for row in rows if row["split"] == "train"]
    test = [row for row in rows if row["split"] == "test"]
    random.Random(7).shuffle(train)
    random.Random(7).shuffle(test)
    seen: set[str] = {_key(row) for row in train[:TRIED]}
    prompt: dict[str, dict[str, str]] = {}
    for row in train[TRIED:]:
        if len(row["text"]) < SHORT and row["intent"] not in prompt:
            prompt[row["intent"]] = row
    seen |= {_key(row) for row in prompt.values()}
    out = [("prompt", prompt[label]) for label in sorted(prompt)]
    for split, pool, n in (("train", train[TRIED:], TRAIN), ("test", test, TEST)):
        out += [(split, row) for row in _fresh(pool, seen, n)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "split", "text", "label"])
    writer.writerows([row["id"], split, row["text"].strip(), row["intent"]] for split, row in out)
    return text.getvalue()


def _key(row: dict[str, str]) -> str:
    return " ".join(row["text"].lower().split())


def _fresh(pool: list[dict[str, str]], seen: set[str], n: int) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for row in pool:
        if _key(row) not in seen and len(rows) < n:
            seen.add(_key(row))
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
