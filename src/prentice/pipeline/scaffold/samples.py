"""A dozen rows to begin with where no file is given; they are there to be replaced."""

from __future__ import annotations

import json
from pathlib import Path

from prentice.pipeline.scaffold.tables import Row, Table

ROWS = (
    ("Order 1041: 3 office chairs at 89.00 EUR each. Total 267.00 EUR.", "267.00", "furniture", "office chairs"),
    ("Please pay USD 1,250.00 for the laptop, delivered on 3 May.", "1250.00", "electronics", "laptop"),
    ("We packed 40 notebooks (2.10 EUR apiece), that comes to 84.00 EUR.", "84.00", "stationery", "notebooks"),
    ("Sum £35.50. Two desk lamps, ref. 77.", "35.50", "furniture", "desk lamps"),
    ("Monitor 27 inch, invoice total is 310.99 EUR, payment within 30 days.", "310.99", "electronics", "Monitor"),
    ("500 envelopes. Amount payable: 45.00 CHF.", "45.00", "stationery", "envelopes"),
    ("The driver collects $180.00 for the bookshelf.", "180.00", "furniture", "bookshelf"),
    ("Total due 59.90 EUR: one keyboard, VAT of 9.56 EUR included.", "59.90", "electronics", "keyboard"),
    ("12 boxes of pens at 7.50 each. All together 90.00 USD.", "90.00", "stationery", "pens"),
    ("Grand total SEK 4,300.00 for the oak table, thank you.", "4300.00", "furniture", "oak table"),
    ("Balance to be settled: 22.40 EUR. USB cables, 4 pieces, dock 9.", "22.40", "electronics", "USB cables"),
    ("A4 paper, qty 20. We will charge your account 118.00 GBP.", "118.00", "stationery", "A4 paper"),
)
COLUMN = {"number": "total", "json": "fields", "entities": "entities"}
"""What the sample answers are called, by grader; for the others `kind of goods` is asked."""


def sample(grader: str) -> tuple[Table, str, str]:
    """Rows for a grader, with the names of the columns that come in and out."""
    output = COLUMN.get(grader, "goods")
    answers = {
        "total": [total for _, total, _, _ in ROWS],
        "goods": [goods for _, _, goods, _ in ROWS],
        "fields": [json.dumps({"goods": goods, "total": float(total)}) for _, total, goods, _ in ROWS],
        "entities": [json.dumps({goods: [thing]}) for _, _, goods, thing in ROWS],
    }[output]
    rows = [
        Row(n, {"text": text, output: answer})
        for n, ((text, _, _, _), answer) in enumerate(zip(ROWS, answers, strict=True), 2)
    ]
    return Table(Path("cases.csv"), ("text", output), tuple(rows)), "text", output
