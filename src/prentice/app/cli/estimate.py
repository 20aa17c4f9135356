"""`prentice estimate`: what logs cost, and what a small model could take over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from prentice.app.cli.options import user_errors

if TYPE_CHECKING:
    from prentice.estimation import Estimate, EstimateConfig
    from prentice.estimation.estimate import Finder
    from prentice.records import Episode
    from prentice.records.importing import Rejected


Logs = Annotated[
    list[str], typer.Argument(help="Files of logs, folders of them, a project's folder, a store, or a database URL.")
]
Days = Annotated[float | None, typer.Option(help="Days that the logs cover, where they hold no times.")]
Calls = Annotated[float | None, typer.Option(help="Calls in a month, where the logs are only some of them.")]
Prices = Annotated[
    list[str] | None,
    typer.Option(metavar="MODEL=IN,OUT", help="Your own price, in dollars per million tokens; may be repeated."),
]
Assume = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=A,B", help="A careful and a hopeful value to reckon with, such as taken=0.5,0.9."),
]
Format = Annotated[str | None, typer.Option("--as", help="The format of the files; default: told from them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything that was found as JSON.")]


def estimate(
    logs: Logs,
    days: Days = None,
    calls_per_month: Calls = None,
    price: Prices = None,
    assume: Assume = None,
    as_: Format = None,
    as_json: AsJson = False,
) -> None:
    """Say what logs cost, what of them a small model could learn, what is missing for it, and when it would pay.

    Nothing is stored and nothing is sent. Exit code: 0 done, 2 something to fix.
    """
    from prentice.app.cli.terminal import terminal_progress
    from prentice.estimation import estimate as reckon
    from prentice.estimation import parse_prices
    from prentice.pipeline.logs import read_places
    from prentice.progress import Silent
    from prentice.records.importing import LogOptions

    with user_errors():
        config, prices = _config(days, calls_per_month, assume or ()), parse_prices(price or ())
        progress = Silent() if as_json else terminal_progress()
        left_out = _LeftOut()
        read = left_out.episodes(read_places(logs, LogOptions(format=as_), progress))
        personal, unseen = _finder()
        found = reckon(read, config, prices=prices, personal=personal)
    if as_json:
        _print_json(found, left_out)
    else:
        _print(found, [*left_out.lines(), *unseen])


def _print_json(found: Estimate, left_out: _LeftOut) -> None:
    from json import dumps

    typer.echo(dumps(found.model_dump(mode="json") | {"left_out": left_out.reasons}, indent=2, ensure_ascii=False))


def _print(found: Estimate, beside: Sequence[str]) -> None:
    from rich.console import Console

    from prentice.app.cli.estimate_views import print_estimate

    print_estimate(found, beside, Console())


class _LeftOut:
    """Rows that are no episodes: how many for each reason, and the first of them."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        """Rows for each reason."""
        self._first: list[str] = []

    def episodes(self, rows: Iterable[Episode | Rejected]) -> Iterator[Episode]:
        """The episodes among `rows`."""
        from prentice.records.importing import Rejected

        for row in rows:
            if not isinstance(row, Rejected):
                yield row
                continue
            self.reasons[row.reason] += 1
            if len(self._first) < 3:
                self._first.append(str(row))

    def lines(self) -> list[str]:
        """What to say of them; nothing where there are none."""
        if not self.reasons:
            return []
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in self.reasons.most_common())
        more = self.reasons.total() - len(self._first)
        rest = [f"… and {more:,} more; all of them: prentice import STORE FILES --dry-run"] if more else []
        return [f"{self.reasons.total():,} rows left out: {reasons}", *self._first, *rest]


def _config(days: float | None, calls_per_month: float | None, assume: Sequence[str]) -> EstimateConfig:
    from prentice.config import build
    from prentice.errors import ConfigError
    from prentice.estimation import EstimateConfig, parse_assumptions

    if days is not None and calls_per_month is not None:
        raise ConfigError("--days and --calls-per-month both say how long a month is", "give one of them")
    fields = {"days": days, "calls_per_month": calls_per_month, "assumptions": parse_assumptions(assume)}
    return build(EstimateConfig, fields, "prentice estimate")


def _finder() -> tuple[Finder | None, list[str]]:
    """What finds personal data; without its libraries nothing, and a line that says so."""
    from prentice.errors import MissingExtraError
    from prentice.privacy import PrivacyConfig, Redactor

    try:
        redactor = Redactor(PrivacyConfig(mode="report"))
    except MissingExtraError as missing:
        return None, [f"personal data was not looked for: {missing}"]
    return lambda text: (found.kind for found in redactor.find(text)), []
