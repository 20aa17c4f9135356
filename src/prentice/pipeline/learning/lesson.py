"""What a training method is told by the project, and what the project has to know of the method."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from prentice.errors import PrenticeError
from prentice.models.catalogue import Model
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import Checkpoint

if TYPE_CHECKING:
    from prentice.training.start import SomeTokens


@dataclass(frozen=True)
class Lesson:
    """One method at work in a project.

    Args:
        base: what the student is before it, with float weights.
        gguf: a model with the same tokenizer as it would be served: its tokens are compared with those trained on.
        dataset: folder of the curated dataset, for methods that need it.
        out: the checkpoint's folder.
    """

    project: Project
    base: Model
    gguf: Path
    dataset: Path
    out: Path
    progress: Progress

    @property
    def weights(self) -> Path:
        """The transformers folder of `base`."""
        if self.base.safetensors is None:
            raise PrenticeError(f"student {self.base.name!r} cannot be trained: it comes as GGUF only")
        return self.base.safetensors

    @contextmanager
    def serving_tokens(self) -> Iterator[SomeTokens]:
        """How the server would tokenise a text, as long as the block lasts."""
        from prentice.models.local import LocalModel

        server = LocalModel(self.gguf, threads=1, context=512)
        try:
            yield server.tokens
        finally:
            asyncio.run(server.close())


@dataclass(frozen=True)
class Link:
    """One method of the chain.

    Args:
        inputs: all that the checkpoint depends on besides base and dataset; hashed to know whether to train again.
        learn: trains; the same call after a kill goes on where it stood, and what is finished is not done again.
    """

    inputs: Callable[[Project], JsonValue]
    learn: Callable[[Lesson], Checkpoint]
    rows: bool = True
    """Whether it learns from the curated dataset; else it may run before there is one."""
