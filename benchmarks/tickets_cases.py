"""How examples/tickets/tickets.csv was drawn from Banking77: `python tickets_cases.py banking77.csv tickets.csv`."""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

DEPARTMENTS = {
    "cards": (
        "card_arrival",
        "card_delivery_estimate",
        "order_physical_card",
        "activate_my_card",
        "card_about_to_expire",
    ),
    "security": (
        "lost_or_stolen_card",
        "compromised_card",
        "lost_or_stolen_phone",
        "pin_blocked",
        "passcode_forgotten",
    ),
    "top-ups": ("top_up_failed", "pending_top_up", "top_up_reverted", "top_up_limits", "automatic_top_up"),
    "transfers": ("failed_transfer", "pending_transfer", "transfer_timing", "cancel_transfer", "declined_transfer"),
    "disputes": ("request_refund", "Refund_not_showing_up", "transaction_charged_twice", "card_payment_not_recognised"),
    "cash": ("atm_support", "card_swallowed", "cash_withdrawal_charge", "declined_cash_withdrawal"),
    "exchange": ("exchange_rate", "exchange_via_app", "fiat_currency_support", "card_payment_wrong_exchange_rate"),
    "identity": ("verify_my_identity", "unable_to_verify_identity", "why_verify_identity", "verify_source_of_funds"),
}
EACH = 25


def main() -> None:
    """Draw the same tickets again."""
    source, out = sys.argv[1:]
    with Path(source).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    draw = random.Random(4)
    drawn = [
        (row["text"], department)
        for department, intents in DEPARTMENTS.items()
        for row in draw.sample([row for row in rows if row["intent"] in intents], EACH)
    ]
    draw.shuffle(drawn)
    with Path(out).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("ticket", "message", "department"))
        writer.writerows((f"T-{1000 + number}", *row) for number, row in enumerate(drawn))


if __name__ == "__main__":
    main()
