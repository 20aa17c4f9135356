"""prentice turns a job that a large language model does today into a small model that you own."""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prentice.pipeline import run
    from prentice.pipeline.inprocess import feedback, record, stop_recording
    from prentice.serving.client import episode

__all__ = ["__version__", "episode", "feedback", "record", "run", "stop_recording"]

_PLACES = {
    "run": "prentice.pipeline",
    "record": "prentice.pipeline.inprocess",
    "feedback": "prentice.pipeline.inprocess",
    "stop_recording": "prentice.pipeline.inprocess",
    "episode": "prentice.serving.client",
}


def __getattr__(name: str) -> Any:
    # `prentice.run(...)` without loading the pipeline for those who only want a record
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'prentice' has no attribute {name!r}")
