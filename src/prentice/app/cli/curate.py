"""`prentice curate`: keep the work that proved good."""

from __future__ import annotations

from prentice.app.cli.options import Folder, Overrides, user_errors
from prentice.app.cli.stage import run_one


def curate(project: Folder, set_: Overrides = None) -> None:
    """Make a dataset of the teacher's episodes: keep, rank, dedupe, balance, split. The ledger accounts for each."""
    with user_errors():
        run_one("curate", project, set_)
