"""The software: what is installed, and whether the engines load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from packaging.requirements import Requirement

from prentice.app.doctor.findings import Finding
from prentice.records import Record

OTHER_NAMES = frozenset({"all", "dev", "train", "llamacpp"})
"""Extras that hold nothing beside what other extras hold, or what only prentice's developers need."""
ANSWER_SECONDS = 120.0


def installed() -> list[Finding]:
    """What prentice itself and each of its extras need: names and versions, or the line that installs them."""
    needs = [Requirement(line) for line in metadata.requires("prentice") or []]
    own = [need for need in needs if _applies(need, "")]
    extras = [e for e in metadata.metadata("prentice").get_all("Provides-Extra") or [] if e not in OTHER_NAMES]
    brought = {extra: [n for n in needs if _applies(n, extra) and n not in own] for extra in extras}
    return [_needed("prentice", own), *(_needed(f"prentice[{extra}]", parts) for extra, parts in brought.items())]


def _applies(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def _needed(name: str, needs: Sequence[Requirement]) -> Finding:
    versions = {need.name: _version(need.name) for need in needs}
    wrong = [
        need.name if (version := versions[need.name]) is None else f"{need.name}{need.specifier}, not {version}"
        for need in needs
        if (version := versions[need.name]) is None or not need.specifier.contains(version, prereleases=True)
    ]
    if not wrong:
        return _good(name, ", ".join(f"{package} {version}" for package, version in versions.items()))
    step = f'pip install "{name}"'
    bad = name in ("prentice", "prentice[local]")
    return Finding(topic=name, state="bad" if bad else "absent", text=f"lacks {', '.join(wrong)}: {step}", step=step)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


class Torch(Record):
    """What torch says of itself."""

    threads: int
    gpu: str | None
    cuda: str | None
    """The CUDA release it was built for."""


_ASK_TORCH = """
import json, torch
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
if torch.backends.mps.is_available():
    gpu = "Apple (MPS)"
print(json.dumps({"threads": torch.get_num_threads(), "gpu": gpu, "cuda": torch.version.cuda}))
"""


def llamacpp() -> Finding:
    """Whether llama.cpp loads."""
    return engine("llama.cpp", "xllamacpp", "import xllamacpp", lambda _: _good("llama.cpp", "loads"))


def torch() -> Finding:
    """Whether torch loads, and what it computes on."""
    names = [(distribution.name or "").lower() for distribution in metadata.distributions()]
    cuda_packages = sum(name.startswith("nvidia-") for name in names)
    return engine(
        "torch", "torch", _ASK_TORCH, lambda said: computes_on(Torch.model_validate_json(said), cuda_packages)
    )


def computes_on(torch: Torch, cuda_packages: int) -> Finding:
    """What torch computes on; a CUDA build where there is no GPU is gigabytes that nothing will use.

    Args:
        cuda_packages: how many packages of NVIDIA's are installed.
    """
    if torch.gpu is not None:
        return _good("torch", f"loads, GPU {torch.gpu}")
    here = f"loads, CPU with {torch.threads} threads"
    if torch.cuda is None and not cuda_packages:
        return _good("torch", here)
    return Finding(
        topic="torch",
        state="absent",
        text=f"{here}; a CUDA build ({cuda_packages} packages of NVIDIA's) and no GPU: gigabytes that nothing uses",
        step="docs/install.md says how to get the CPU build of torch",
    )


def engine(topic: str, package: str, code: str, read: Callable[[str], Finding]) -> Finding:
    """Run a line of Python in a process of its own: a library built for another processor ends the one that loads it.

    Args:
        topic: what the finding is about.
        package: what has to be installed for it.
        read: makes a finding of what the line printed.
    """
    if _version(package) is None:
        return Finding(topic=topic, state="absent", text="not installed")
    command = [sys.executable, "-c", code]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        text = f"did not load within {ANSWER_SECONDS:.0f} s: is the machine busy?"
        return Finding(topic=topic, state="absent", text=text)
    if ended.returncode == 0:
        return read(ended.stdout)
    said = ended.stderr.strip().splitlines() or [f"its process ended with code {ended.returncode}"]
    step = f"pip install --force-reinstall --no-deps {package}"
    return Finding(topic=topic, state="bad", text=f"does not load: {said[-1]}", step=step)


def _good(topic: str, text: str) -> Finding:
    return Finding(topic=topic, state="good", text=text)
