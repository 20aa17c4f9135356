"""A task of one's own that nobody has seen before: 300 short delivery notes, from which the total has to be read.

`python benchmarks/yours_task.py FOLDER` writes `notes.csv` there, as a person's own file would be: two columns, no ids,
no splits. The notes are drawn from a seed: several wordings, item prices, quantities, dates, order numbers and taxes as
other numbers in the way, five currencies, amounts written in several ways. `--run` then goes the newcomer's way, one
command after the other, and prints the transcript that docs/your-task.md shows.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prentice.records import Report
from prentice.runs import read_record

NOTES = 300
PROJECT = "my-task"
COMMANDS = (
    ("new", PROJECT, "--cases", "notes.csv", "--yes"),
    ("check", PROJECT),
    ("run", PROJECT, "--dry-run"),
    ("run", PROJECT),
)
"""What a newcomer types after the install."""
USERS_TO_FIX = 2
SEED = 20_261_125
HURRIED = 0.1
"""Share of notes without capital letters."""
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "SEK")
SIGNS = {"EUR": "€", "USD": "$", "GBP": "£"}
GOODS = (
    "boxes of A4 paper",
    "steel brackets",
    "oak shelves",
    "bags of cement",
    "LED panels",
    "crates of apples",
    "bottles of olive oil",
    "toner cartridges",
    "garden chairs",
    "rolls of packing tape",
    "safety helmets",
    "coffee machines",
    "pallets of bricks",
    "USB cables",
    "work gloves",
    "fire extinguishers",
    "sacks of flour",
    "window blinds",
)
FIRMS = (
    "Harper & Sons",
    "Nordlys AB",
    "Café Lumen",
    "Brandt Logistik",
    "Mill Lane School",
    "Okafor Trading",
    "Vega Hotels",
    "Studio 54b",
    "Rossi Fratelli",
    "City Clinic",
    "Alder Farm",
    "Quayside Books",
)
STREETS = ("Mill Road", "Harbour Street", "Bahnhofstrasse", "Via Roma", "Elm Avenue", "Dock Lane", "Station Square")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "September", "October", "November")


def main(folder: Path) -> None:
    """Write `notes.csv` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["note", "total"])
        writer.writerows(notes())


def notes(count: int = NOTES, seed: int = SEED) -> list[tuple[str, str]]:
    """Notes with the total that each states, as a plain number with two decimals."""
    dice = random.Random(seed)
    return [_note(dice) for _ in range(count)]


def _note(dice: random.Random) -> tuple[str, str]:
    quantity = dice.choice([dice.randint(2, 12), dice.randint(13, 400)])
    unit = dice.choice([dice.randint(80, 2500), dice.randint(2500, 45_000)])
    cents = max(100, quantity * unit - dice.choice([0, 0, dice.randint(50, 900)]))
    currency = dice.choice(CURRENCIES)
    style = dice.choice([_plain, _grouped, _signed])

    def money(amount: int) -> str:
        return style(amount, currency)

    before = [_order(dice), _goods(dice, quantity, money(unit)), _delivery(dice)]
    dice.shuffle(before)
    parts = before[: dice.choice([1, 2, 2, 3])]
    extra = _extra(dice, money, cents)
    place = dice.choice(["last", "last", "middle", "first"])
    total = _total(dice, money(cents))
    if place == "first":
        parts = [total, *parts, *extra]
    elif place == "middle":
        parts = [*parts[:1], total, *parts[1:], *extra]
    else:
        parts = [*parts, *extra, total]
    joint = dice.choice([" ", " ", "\n", " / "])
    text = joint.join(parts)
    return (text.lower() if dice.random() < HURRIED else text), f"{cents / 100:.2f}"


def _plain(cents: int, currency: str) -> str:
    return f"{cents / 100:.2f} {currency}"


def _grouped(cents: int, currency: str) -> str:
    return f"{currency} {cents / 100:,.2f}"


def _signed(cents: int, currency: str) -> str:
    amount = f"{cents // 100:,}" if cents % 100 == 0 else f"{cents / 100:,.2f}"
    return f"{SIGNS[currency]}{amount}" if currency in SIGNS else f"{amount} {currency}"


def _order(dice: random.Random) -> str:
    number = dice.choice(
        [f"#{dice.randint(1000, 99999)}", f"PO-{dice.randint(100, 9999)}", f"2026/{dice.randint(10, 999)}"]
    )
    firm = dice.choice(FIRMS)
    return dice.choice(
        [
            f"Order {number} for {firm}.",
            f"Delivery note {number}, customer {firm}.",
            f"{firm}, your reference {number}.",
            f"Ref. {number} ({firm}).",
            f"Re: {number}. Hello {firm} team,",
        ]
    )


def _goods(dice: random.Random, quantity: int, price: str) -> str:
    goods = dice.choice(GOODS)
    return dice.choice(
        [
            f"{quantity} {goods} at {price} each.",
            f"{quantity} x {goods}, unit price {price}.",
            f"We packed {quantity} {goods} ({price} apiece).",
            f"Contents: {goods}, qty {quantity}, {price}/pc.",
            f"{goods.capitalize()}: {quantity} pieces, {price} per piece.",
        ]
    )


def _delivery(dice: random.Random) -> str:
    day, month, hour = dice.randint(1, 28), dice.choice(MONTHS), dice.randint(7, 18)
    street = f"{dice.randint(1, 190)} {dice.choice(STREETS)}"
    date = f"2026-{dice.randint(1, 12):02d}-{day:02d}"
    return dice.choice(
        [
            f"Delivered on {day} {month} 2026 at {hour}:30.",
            f"Arrives {month} {day}, dock {dice.randint(1, 9)}.",
            f"Drop-off: {street}, before {hour}:00.",
            f"Shipped {date} in {dice.randint(2, 14)} parcels, {dice.randint(3, 950)} kg.",
            f"Ship to {street}; call 020 7946 0{dice.randint(100, 999)}.",
        ]
    )


def _extra(dice: random.Random, money: Callable[[int], str], cents: int) -> list[str]:
    shipping, tax = money(dice.randint(400, 9000)), money(cents * dice.choice([7, 19, 20, 25]) // 120)
    return dice.choice(
        [
            [],
            [],
            [f"Shipping of {shipping} is included."],
            [f"Includes VAT of {tax}."],
            [f"Subtotal {money(cents - 99)}, service fee {money(99)}."],
            [f"Your last order came to {money(cents + 12_345)}."],
            [f"Payment within {dice.choice([10, 14, 30])} days."],
            [f"A deposit of {shipping} was paid last month."],
        ]
    )


def _total(dice: random.Random, amount: str) -> str:
    return dice.choice(
        [
            f"Total: {amount}.",
            f"Total due {amount}.",
            f"Amount payable: {amount}.",
            f"Please pay {amount} in all.",
            f"That comes to {amount} altogether.",
            f"Invoice total is {amount}.",
            f"Sum {amount}.",
            f"The driver collects {amount}.",
            f"Grand total {amount}, thank you.",
            f"We will charge your account {amount}.",
            f"Balance to be settled: {amount}.",
            f"All together this makes {amount}.",
        ]
    )


@dataclass(frozen=True)
class Went:
    """One command and what came of it."""

    command: tuple[str, ...]
    output: str
    code: int
    seconds: float


def newcomer(folder: Path) -> Iterator[Went]:
    """Go from `notes.csv` in `folder` to an evaluated student, one command after the other; print the transcript."""
    for command in COMMANDS:
        begun = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, "-m", "prentice", *command],
            cwd=folder,
            env=os.environ | {"COLUMNS": "110"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )
        went = Went(command, ended.stdout, ended.returncode, time.perf_counter() - begun)
        print(f"$ prentice {' '.join(command)}\n{went.output}[exit {went.code}, {went.seconds:.1f} s]\n", flush=True)
        yield went


def task_rows() -> list[dict[str, Any]]:
    """The rows of the benchmark: about a quarter of an hour on two quiet cores."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        main(folder)
        went = list(newcomer(folder))
        if any(w.code == USERS_TO_FIX for w in went):
            raise AssertionError(went[-1].output)
        report = read_record(Report, next((folder / PROJECT / ".prentice" / "evaluate").glob("*/report.json")))
    seconds = sum(w.seconds for w in went)
    facts: dict[str, Any] = {"rival": None, "ratio": None, "commands": [" ".join(w.command) for w in went]}
    rates = [
        {"name": f"own_task_{r.name.replace(' ', '_')}_success", "ours": r.success.value, "unit": "share", "n": r.n}
        | {"interval": [r.success.low, r.success.high], "rival": None, "ratio": None}
        for r in report.results
    ]
    return [
        {"name": "commands_to_student", "ours": len(went), "unit": "commands", "n": NOTES, "seconds": seconds, **facts},
        *rates,
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if "--run" in sys.argv:
        list(newcomer(Path(sys.argv[1])))
