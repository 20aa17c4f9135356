"""Says so when pip brought torch's CUDA build to a machine without an NVIDIA GPU: gigabytes that nothing will use."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata


def main() -> None:
    """Print the warning to standard error, if it is due."""
    cuda = [d.name for d in metadata.distributions() if (d.name or "").lower().startswith("nvidia-")]
    if cuda and shutil.which("nvidia-smi") is None:
        sys.stderr.write(
            f"warning: {len(cuda)} CUDA packages were installed, but there is no NVIDIA GPU here; "
            "README.md, 'Install', says how to get the CPU build of torch\n"
        )


if __name__ == "__main__":
    main()
