"""One of several processes that train together: `accelerate launch -m prentice.training.worker JOB`.

The job is a file: what to train, on what, and where to. Whoever wrote it has checked the rows. The first process
writes checkpoint and curve; what goes wrong in any of them is left in the job's folder, for people and for `launch`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from pydantic import BaseModel, ConfigDict

from prentice.errors import PrenticeError
from prentice.records import ModelSource
from prentice.runs import write_atomic
from prentice.training.config import SFTConfig
from prentice.training.preference.config import PreferenceConfig

ERROR = "error.json"


class Job(BaseModel):
    """A run that several processes share; paths as every one of them sees them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: SFTConfig | PreferenceConfig
    dataset: Path
    base: Path
    out: Path
    source: ModelSource
    on_cpu: bool


class Fault(BaseModel):
    """An error that is the user's to fix, on its way from one process to another."""

    problem: str
    hint: str


def work(job: Job) -> None:
    """This process's part of the run."""
    from prentice.training.preference.train import train_preference
    from prentice.training.run import Links
    from prentice.training.sft import train_sft

    links = Links(accelerator=_accelerator(job.on_cpu))
    where: dict[str, Any] = {"dataset": job.dataset, "base": job.base, "out": job.out, "source": job.source}
    try:
        if isinstance(job.config, PreferenceConfig):
            train_preference(job.config, **where, links=links)
        else:
            train_sft(job.config, **where, links=links)
    except PrenticeError as error:
        write_atomic(job.out / ERROR, Fault(problem=error.problem, hint=error.hint).model_dump_json())
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _accelerator(on_cpu: bool) -> Accelerator:
    accelerator = Accelerator(cpu=on_cpu)
    if on_cpu and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        # accelerate asks for accelerators before it shards, and trains whole copies without a word where there are
        # none; torch shards on processors as well
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        accelerator.state.distributed_type = DistributedType.FSDP
    return accelerator


if __name__ == "__main__":
    work(Job.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
