"""`prentice rollout`: a policy plays cases; the episodes go to the store, and to a file where one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from prentice.app.cli.options import DryRun, Folder, Overrides, user_errors


def rollout(
    project: Folder,
    policy: Annotated[str | None, typer.Option(help="Who plays; default: the project's teacher.")] = None,
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which cases.")] = "train",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first so many; of training cases `rollout.cases`."),
    ] = None,
    role: Annotated[Literal["teacher", "base"], typer.Option(help="Role the episodes are recorded under.")] = "teacher",
    out: Annotated[Path | None, typer.Option(help="Also write the episodes there, as JSONL (.gz to compress).")] = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
) -> None:
    """Let a policy play cases; what is stored is not played again. Further settings: `rollout` in prentice.toml."""
    from prentice.app.cli.terminal import terminal_progress
    from prentice.pipeline import Project
    from prentice.pipeline.record import Recorder

    with user_errors():
        recorder = Recorder(Project(project, set_ or ()), policy=policy, split=split, limit=limit, role=role)
        if dry_run:
            typer.echo(recorder.forecast())
            return
        n = recorder.record(out, terminal_progress())
        typer.echo(f"{n:,} episodes" + (f" in {out}" if out else ""))
