"""prentice turns a job that a large language model does today into a small model that you own."""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prentice.pipeline import run

__all__ = ["__version__", "run"]


def __getattr__(name: str) -> Any:
    # `prentice.run(...)` without loading the pipeline for those who only want a record
    if name == "run":
        from prentice.pipeline import run

        return run
    raise AttributeError(f"module 'prentice' has no attribute {name!r}")
