"""What a run may compute on: this machine as it is found, or an accelerator by its published figures."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from prentice.errors import ConfigError, UnknownNameError
from prentice.training.config import LaunchConfig

Precision = Literal["float32", "bfloat16"]
TERA, GB = 1e12, 1e9
REACHED_HERE, REACHED_THERE = 0.5, 0.35
"""Share of the rate of its matrix products that a run reaches: on a CPU as measured with SmolLM2 on two cores, LoRA and
full, 700 to 3 000 tokens at once; on an accelerator assumed, since published rates are reached by nobody."""
LIBRARIES = 0.55 * GB
"""What a process holds beside the model: the interpreter, torch, transformers, and what these load later (measured)."""
CUDA = 1.0 * GB
"""What CUDA and its libraries take of a GPU's memory before a tensor is made."""
KEPT_HERE, KEPT_THERE = 0.3, 0.1
"""Freed memory that an allocator keeps from others, as a share of a step's activations: glibc's as measured; a GPU's
assumed."""
LEFT = 0.7
"""Of all that a step or the comparison took, what glibc still holds when the state is saved (measured)."""


SPREAD = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP")
"""Of accelerate's ways to spread a run, those that are done here."""
ENOUGH = 4096
"""Rows and columns of a matrix above which its product gets no faster."""


@dataclass(frozen=True)
class Accelerator:
    """One GPU by its data sheet.

    Args:
        memory_gb: in 10^9 bytes.
        bfloat16: 10^12 operations a second in dense matrix products, accumulated in float32.
        float32: the same, without TF32, which torch leaves off.
        source: the document.
    """

    memory_gb: float
    bfloat16: float
    float32: float
    source: str


ACCELERATORS: Mapping[str, Accelerator] = {
    "h100": Accelerator(80, 989, 67, "NVIDIA H100 data sheet, SXM"),
    "h200": Accelerator(141, 989, 67, "NVIDIA H200 data sheet, SXM"),
    "b200": Accelerator(180, 2250, 75, "NVIDIA HGX B200 data sheet"),
    "a100": Accelerator(80, 312, 19.5, "NVIDIA A100 data sheet, 80 GB"),
    "a100-40gb": Accelerator(40, 312, 19.5, "NVIDIA A100 data sheet, 40 GB"),
    "l40s": Accelerator(48, 362, 91.6, "NVIDIA L40S data sheet"),
    "l4": Accelerator(24, 121, 30.3, "NVIDIA L4 data sheet"),
    "a10": Accelerator(24, 125, 31.2, "NVIDIA A10 data sheet"),
    "rtx4090": Accelerator(24, 165, 82.6, "NVIDIA Ada architecture white paper"),
    "rtx3090": Accelerator(24, 71, 35.6, "NVIDIA GA102 architecture white paper"),
    "mi300x": Accelerator(192, 1307, 163.4, "AMD Instinct MI300X data sheet"),
}


@dataclass(frozen=True)
class Machine:
    """Where a run would compute.

    Args:
        name: how it is called.
        memory: bytes that one process can have: of its GPU, or its part of what is free.
        rates: operations a second of one process's matrix products, by precision as far as known.
        rated: where they are from.
        gpu: whether it is one.
        processes: that train together.
        sharded: whether they share the weights out among them (FSDP), instead of holding a copy each.
    """

    name: str
    memory: float
    rates: Mapping[Precision, float]
    rated: str
    gpu: bool
    processes: int = 1
    sharded: bool = False

    @property
    def reached(self) -> float:
        """Share of the rate that a run reaches."""
        return REACHED_THERE if self.gpu else REACHED_HERE

    @property
    def overhead(self) -> float:
        """Bytes that are taken before there is a model."""
        return CUDA if self.gpu else LIBRARIES

    @property
    def left(self) -> float:
        """Share of what a moment took that the allocator still holds after it."""
        return KEPT_THERE if self.gpu else LEFT

    @property
    def kept(self) -> float:
        """Freed memory that the allocator keeps, as a share of a step's activations."""
        return KEPT_THERE if self.gpu else KEPT_HERE

    def together(self, processes: int) -> Machine:
        """So many of it, with FSDP."""
        return replace(self, processes=processes, sharded=True)


def accelerators(spec: str) -> Machine:
    """The machine that `h100`, or `8xh100` for eight with FSDP, names.

    Raises: UnknownNameError with the names that are known.
    """
    found_in = re.fullmatch(r"(?:([1-9]\d*)x)?(.+)", spec.lower())
    number, name = (found_in[1] or "1", found_in[2]) if found_in else ("1", "")
    if name not in ACCELERATORS:
        raise UnknownNameError(
            f"no accelerator named {spec!r}", f"known: {', '.join(ACCELERATORS)}; several: 8x{next(iter(ACCELERATORS))}"
        )
    found = ACCELERATORS[name]
    return Machine(
        name=name,
        memory=found.memory_gb * GB,
        rates={"float32": found.float32 * TERA, "bfloat16": found.bfloat16 * TERA},
        rated=f"published: {found.source}",
        gpu=True,
        processes=int(number),
        sharded=int(number) > 1,
    )


def launched(launch: LaunchConfig, folder: Path) -> tuple[int, bool]:
    """How many processes a configuration starts, and whether they share the weights out (FSDP).

    Args:
        folder: where `launch.accelerate` is seen from.
    Raises: ConfigError if that file cannot be read, or asks for what the engine does not do.
    """
    if not launch.accelerate:
        return launch.processes, False
    from accelerate.commands.config.config_args import load_config_from_file

    try:
        settings = load_config_from_file(str(folder / launch.accelerate))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"train.launch.accelerate = {launch.accelerate!r}: {str(error).splitlines()[0]}") from error
    if refusal := _refusal(settings):
        raise ConfigError(f"train.launch.accelerate = {launch.accelerate!r}: {refusal[0]}", refusal[1])
    return int(settings.num_processes), settings.distributed_type.value == "FSDP"


def _refusal(settings: Any) -> tuple[str, str] | None:
    """What in accelerate's settings would change what is learnt, or is not done here, and what to write instead."""
    kind = settings.distributed_type.value
    if kind not in SPREAD:
        return f"distributed_type {kind} is not done here", f"known: {', '.join(SPREAD)}"
    version = (settings.fsdp_config or {}).get("fsdp_version", 1)
    if kind == "FSDP" and int(version) != 2:
        return f"fsdp_config.fsdp_version is {version}", "set it to 2: the first version cannot share out adapters"
    if settings.mixed_precision not in (None, "no"):
        return f"mixed_precision is {settings.mixed_precision!r}", 'set it to "no", and train.sft.precision as you want'
    return None


def this_machine(precision: Precision, width: int, inner: int, processes: int = 1, *, sharded: bool = False) -> Machine:
    """The machine that this runs on, its rate measured: takes a second or two.

    Args:
        width, inner: of the student's largest linear layer, since small products are slower.
        processes: that train together; without GPUs they share its cores and memory.
    """
    import psutil
    import torch

    gpu = torch.cuda.is_available()
    share, device = (1, "cuda") if gpu else (processes, "cpu")
    # a GPU could do with the other one, and is quick to measure
    wanted: tuple[Precision, ...] = ("float32", "bfloat16") if gpu else (precision,)
    rates = {each: _measured(each, min(width, ENOUGH), min(inner, ENOUGH), device) / share for each in wanted}
    return Machine(
        name=torch.cuda.get_device_name() if gpu else f"this machine, {torch.get_num_threads()} cores",
        memory=(torch.cuda.mem_get_info()[0] if gpu else psutil.virtual_memory().available) / share,
        rates=rates,
        rated="measured now",
        gpu=gpu,
        processes=processes,
        sharded=sharded,
    )


def _measured(precision: Precision, width: int, inner: int, device: str, seconds: float = 1.0) -> float:
    """Operations a second of x @ w, x (1024, width), w (width, inner): the median of what fits into `seconds`."""
    import torch

    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    x = torch.randn(1024, width, device=device).to(dtype)
    w = torch.randn(width, inner, device=device).to(dtype)
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 4 or time.perf_counter() - begun < seconds:
        before = time.perf_counter()
        y = x @ w
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - before)
        del y
    # the first ones load code and wake cores
    typical = sorted(times[2:])[len(times[2:]) // 2]
    return 2 * 1024 * width * inner / typical
