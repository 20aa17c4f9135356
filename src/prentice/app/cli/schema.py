"""`prentice schema`: the JSON schema of prentice.toml, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prentice.app.cli.options import user_errors


def schema(
    out: Annotated[Path | None, typer.Argument(help="File to write; without it, it is printed.")] = None,
) -> None:
    """The JSON schema of prentice.toml. An editor reads it where the file begins with `#:schema ./FILE`."""
    from prentice.pipeline.schema import schema_text
    from prentice.runs import write_atomic

    with user_errors():
        if out is None:
            typer.echo(schema_text(), nl=False)
        else:
            write_atomic(out, schema_text())
