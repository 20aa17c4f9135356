"""Training in several processes: accelerate starts them, each runs `worker`, and this one looks on.

Several machines, GPUs, FSDP: whatever accelerate's own configuration file says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from prentice.errors import ConfigError, TrainingError
from prentice.progress import Progress, Silent
from prentice.records import Checkpoint, ModelSource
from prentice.runs import read_record, write_atomic
from prentice.training.config import LaunchConfig, SFTConfig
from prentice.training.hardware import launched
from prentice.training.preference.config import PreferenceConfig
from prentice.training.preference.train import check_preferences
from prentice.training.run import RECORD
from prentice.training.sft import check_examples
from prentice.training.start import SomeTokens
from prentice.training.worker import ERROR, Fault, Job

LOG, JOB = "processes.log", "job.json"
LOOK_EVERY_S = 0.5
_SILENT = Silent()


def train_in_processes(
    config: SFTConfig | PreferenceConfig,
    launch: LaunchConfig,
    *,
    dataset: Path,
    base: Path,
    out: Path,
    source: ModelSource,
    serving_tokens: SomeTokens | None = None,
    progress: Progress = _SILENT,
) -> Checkpoint:
    """As `train_sft` or `train_preference`, by several processes; any number of them goes on where another stood.

    Args:
        config: of the method; it says which one.
        launch: how many, or accelerate's configuration.
    Raises: TrainingError as these, or with the last words of a process that ended otherwise; ConfigError if
        there is no such configuration file, or it asks for what is not done here.
    """
    if launch.accelerate and not Path(launch.accelerate).is_file():
        raise ConfigError(
            f"train.launch.accelerate = {launch.accelerate!r}: no such file",
            "write one with `accelerate config --config_file FILE`",
        )
    processes, _ = launched(launch, Path())
    if isinstance(config, PreferenceConfig):
        rows = check_preferences(config, dataset, base, serving_tokens)
    else:
        rows = check_examples(config, dataset, base, serving_tokens)
    out.mkdir(parents=True, exist_ok=True)
    (out / ERROR).unlink(missing_ok=True)
    on_cpu = not torch.cuda.is_available()
    job = Job(config=config, dataset=dataset, base=base, out=out, source=source, on_cpu=on_cpu)
    write_atomic(out / JOB, job.model_dump_json())
    progress.say(f"training in {processes} processes; they write to {out / LOG}")
    with _started(launch, processes, out, on_cpu=on_cpu) as process:
        _look_on(process, out, round(rows * config.epochs), progress)
    if process.returncode:
        raise _fault(out)
    for name in (JOB, LOG):
        (out / name).unlink()
    return read_record(Checkpoint, out / RECORD)


@contextmanager
def _started(launch: LaunchConfig, processes: int, out: Path, *, on_cpu: bool) -> Iterator[subprocess.Popen[bytes]]:
    """The processes, ended with the block whatever happens in it."""
    options = ["--config_file", launch.accelerate]
    if not launch.accelerate:
        options = ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no"]
        options += ["--dynamo_backend", "no", *(["--cpu"] if on_cpu else ["--multi_gpu"])]
        options += ["--main_process_port", "0"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", "prentice.training.worker"]
    threads = max(1, (os.cpu_count() or 1) // max(1, processes))
    env = {"OMP_NUM_THREADS": str(threads), **os.environ}
    with (out / LOG).open("wb") as log:
        process = _start([*command, str(out / JOB)], env, log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _start(command: list[str], env: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def _look_on(process: subprocess.Popen[bytes], out: Path, visits: int, progress: Progress) -> None:
    """Follow the curve that the first process writes, until all have ended."""
    seen = 0
    with progress.bar("training", visits, "rows") as bar:
        while process.poll() is None:
            time.sleep(LOOK_EVERY_S)
            lines = _curve(out)
            for line in lines[seen:]:
                bar.advance(line["rows"], loss=f"{line['loss']:.3f}")
            seen = max(seen, len(lines))


def _curve(out: Path) -> list[dict[str, float]]:
    path = out / "curve.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _fault(out: Path) -> TrainingError:
    if (out / ERROR).exists():
        fault = Fault.model_validate_json((out / ERROR).read_text(encoding="utf-8"))
        return TrainingError(fault.problem, fault.hint)
    words = [line for line in (out / LOG).read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = next((line for line in reversed(words) if "Error" in line), words[-1] if words else "it said nothing")
    return TrainingError(f"a process of the training ended early: {last.strip()}", f"read {out / LOG}")
