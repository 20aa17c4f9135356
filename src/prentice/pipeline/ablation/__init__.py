"""What made the student good? The same student trained on other rows, and on fewer: `prentice ablate`."""

from prentice.pipeline.ablation.config import AblateConfig

__all__ = ["AblateConfig"]
