"""A dataset in words: what was kept, what was dropped and why, and what it cannot teach."""

from __future__ import annotations

from prentice.records import Manifest

_NAMED = 10
"""Replies without rows that are named; the manifest holds them all."""


def summary(manifest: Manifest) -> tuple[str, ...]:
    """Say, one line each, what a dataset keeps, each reason with its count, and the replies it has no row for."""
    ledger = manifest.ledger
    lines = [f"kept {ledger.kept} of {ledger.rows_in} rows{_share(ledger.kept, ledger.rows_in)}: {_splits(manifest)}"]
    if manifest.demonstrations:
        lines.append(f"of these {manifest.demonstrations} with a reply that was demonstrated")
    lines += _dropped(manifest)
    without = manifest.replies_without_rows
    if without:
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        lines.append(f"no kept row for {len(without)} of the choices: {', '.join(without[:_NAMED])}{more}")
    return tuple(lines)


def pairs_summary(manifest: Manifest, what: str) -> tuple[str, ...]:
    """The same of pairs or thumbs.

    Args:
        what: `pairs` or `thumbs`.
    """
    ledger, rows = manifest.ledger, sum(manifest.splits.values())
    lines = [
        f"{rows:,} {what} of {ledger.kept:,} among {ledger.rows_in:,} replies"
        f"{_share(ledger.kept, ledger.rows_in)}: {_splits(manifest)}"
    ]
    if manifest.demonstrations:
        lines.append(f"of these {manifest.demonstrations:,} with a reply that somebody wrote instead")
    return (*lines, *manifest.notes, *_dropped(manifest))


def _splits(manifest: Manifest) -> str:
    return ", ".join(f"{count} {name}" for name, count in manifest.splits.items())


def _dropped(manifest: Manifest) -> list[str]:
    ledger = manifest.ledger
    ordered = sorted(ledger.dropped.items(), key=lambda item: (-item[1], item[0]))
    return [f"dropped {count}{_share(count, ledger.rows_in)}: {reason}" for reason, count in ordered]


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.0f} %)" if whole else ""
