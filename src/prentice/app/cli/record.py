"""`prentice record`: change `base_url`, and every call is on record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prentice.app.cli.options import Overrides, user_errors


def record(
    project: Annotated[Path, typer.Argument(help="Where records go: a project, or any folder.")] = Path(),
    upstream: Annotated[
        str | None, typer.Option(help="Who answers: a URL of OpenAI's form, or a model such as local:NAME.")
    ] = None,
    host: Annotated[str, typer.Option(help="What to bind to; beyond this machine only with keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8787,
    set_: Overrides = None,
) -> None:
    """Stand between an application and its model, and record every call: the application changes its base_url.

    Episodes, cases and functions come from headers (X-Prentice-Episode, …) or from the body's field "prentice".
    """
    with user_errors():
        from prentice.pipeline.recording import Recording, check_installed

        check_installed()
        from prentice.serving.access import Access
        from prentice.serving.endpoint import make_app
        from prentice.serving.serve import bind, serve

        overrides = [*(set_ or ()), *([f'record.upstream="{upstream}"'] if upstream else [])]
        recording = Recording.of(project, overrides)
        access = Access(recording.home, host)
        server = recording.upstream(own_key=access.by_key)
        bound = bind(host, port)
        recorder = recording.recorder(server.name)
        url = f"http://{host}:{bound.getsockname()[1]}/v1"
        _say(url, recording.config.upstream, access.by_key)
        serve(make_app(server, recorder, access, recording.config), bound, recording.config.client_timeout_s)


def _say(url: str, upstream: str, by_key: bool) -> None:
    key = "a key of this endpoint" if by_key else "the key that you use today"
    typer.echo(f"recording {upstream}\n  export OPENAI_BASE_URL={url}\n  with {key}; Ctrl-C ends it", err=True)
