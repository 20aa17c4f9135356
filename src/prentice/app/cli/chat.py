"""`prentice chat`: talk to one model, or to two without knowing which is which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prentice.app.cli.options import user_errors

if TYPE_CHECKING:
    from prentice.pipeline.chat import Chat


def chat(
    a: Annotated[
        str | None, typer.Argument(help="A model: local:NAME, openai:NAME, ...; or student or teacher of a project.")
    ] = None,
    b: Annotated[str | None, typer.Argument(help="A second one, to be compared blindly.")] = None,
    project: Annotated[Path | None, typer.Option(help="The project; default: the one in this folder.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Where it is kept, as of `prentice label`; default: the project, or here.")
    ] = None,
    author: Annotated[str | None, typer.Option(help="Whose words these are; default: your user name.")] = None,
    seed: Annotated[int, typer.Option(help="Decides who stands left and who right.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    free: Annotated[bool, typer.Option("--free", help="Leave the project's prompts away.")] = False,
) -> None:
    """Talk, and say what you think of the answers: that is feedback to learn from."""
    from prentice.app.cli.keyboard import at_a_terminal
    from prentice.app.cli.label import author_name
    from prentice.errors import DataError
    from prentice.pipeline.chat import Chat
    from prentice.pipeline.speakers import find_project, open_speaker
    from prentice.pipeline.stores import store_to_fill
    from prentice.progress import Silent
    from prentice.records import Sampling

    with user_errors():
        found = find_project(project)
        specs = [spec for spec in (a or ("student" if found else None), b) if spec]
        if not specs:
            raise DataError("chat with whom?", "name a model, such as local:smollm2-135m, or give --project FOLDER")
        name = author_name(author)
        if not at_a_terminal():
            raise DataError("chat takes keys, and this is no terminal", "run it in a terminal")
        place = store or str(found.folder if found else Path())
        speakers = [open_speaker(spec, found, Silent(), free=free) for spec in specs]
        with store_to_fill(place) as opened:
            if opened is None:
                raise DataError(f"{place}: no store")
            _talk(Chat(speakers, opened, name, seed, Sampling(max_tokens=max_tokens)), specs)


def _talk(chat: Chat, specs: Sequence[str]) -> None:
    import asyncio

    from rich.console import Console

    from prentice.app.cli.chat_screen import Talk

    async def close() -> None:
        for speaker in chat.speakers:
            await speaker.policy.close()

    # one loop for all calls: clients of providers belong to the loop they were first used in
    with asyncio.Runner() as runner:
        try:
            Talk(chat, Console(highlight=False), lambda text: runner.run(chat.say(text))).run(specs)
        finally:
            runner.run(close())
