"""Makes the files of examples/ner and examples/multihop from the public data that PRENTICE_DATA names a folder of."""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
from pathlib import Path

import polars as pl

EXAMPLES = Path(__file__).parents[1] / "examples"
KEPT = ("id", "split", "question", "answer", "answer_aliases", "supporting_ids")


def main() -> None:
    """Write both."""
    if "PRENTICE_DATA" not in os.environ:
        sys.exit("PRENTICE_DATA is not set: it names the folder that holds ner_wnut17.csv and multihop_questions.jsonl")
    data = Path(os.environ["PRENTICE_DATA"])
    wnut = pl.read_csv(data / "ner_wnut17.csv")
    marks = [{kind: texts for kind, texts in json.loads(row).items() if texts} for row in wnut["output"]]
    pl.DataFrame(
        {
            "split": wnut["raw_split"],
            "text": wnut["input"],
            "entities": [json.dumps(each, ensure_ascii=False) for each in marks],
        }
    ).write_csv(EXAMPLES / "ner" / "wnut17.csv")
    rows = [json.loads(line) for line in (data / "multihop_questions.jsonl").read_text(encoding="utf-8").splitlines()]
    random.Random(0).shuffle(rows)  # they lie by source, and the first hundred shall be of both
    lines = [json.dumps({name: row[name] for name in KEPT}, ensure_ascii=False) for row in rows]
    (EXAMPLES / "multihop" / "questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    corpus = (data / "multihop_corpus.jsonl").read_bytes()
    with gzip.GzipFile(EXAMPLES / "multihop" / "corpus.jsonl.gz", "wb", mtime=0) as file:
        file.write(corpus)


if __name__ == "__main__":
    main()
