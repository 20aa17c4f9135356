"""The student before any training: its weights, and the file as which it would be served."""

from __future__ import annotations

from pathlib import Path

from prentice.errors import PrenticeError
from prentice.models import catalogue
from prentice.pipeline.project import Project
from prentice.progress import Progress
from prentice.records import digest
from prentice.runs import claimed


def trainable_base(project: Project, progress: Progress) -> tuple[catalogue.Model, Path]:
    """The project's base and the folder of its float weights.

    Raises: PrenticeError if it cannot be trained.
    """
    base = catalogue.get(project.base, offline=project.config.offline, progress=progress)
    if base.safetensors is None:
        raise PrenticeError(f"student {base.name!r} cannot be trained: it comes as GGUF only", "choose another base")
    return base, base.safetensors


def base_gguf(project: Project, base: catalogue.Model, progress: Progress) -> Path:
    """The untrained base as it would be served, made from the weights that are trained."""
    from prentice.training.export import export

    assert base.safetensors is not None
    config, home = project.config.export, project.home / "bases"
    out = home / f"{base.name}-{config.quantization}-{digest(base.source)[:12]}"
    with claimed(home, wait=True):  # another process may be making it
        if not (out / "export.json").exists():
            export(config, checkpoint=None, base=base.safetensors, out=out, rows=(), progress=progress)
    return next(out.glob("*.gguf"))
