"""Processes that train: each side lives in its own, so that neither's memory, threads or imports touch the other's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

Job = dict[str, Any]
Answer = dict[str, Any]
HERE = Path(__file__).parent


class Worker:
    """A process that answers jobs until it is closed.

    Args:
        script: of this folder; it reads paths of jobs on stdin and writes answers on stdout.
    """

    def __init__(self, script: str) -> None:
        self._script = script
        self._folder = tempfile.TemporaryDirectory()
        self._job, self._log = (Path(self._folder.name) / name for name in ("job.json", "log.txt"))
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, job: Job) -> Answer:
        """The answer to one job; a process that dies ends the benchmark with the last of what it said."""
        self._job.write_text(json.dumps(job), encoding="utf-8")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self._job}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            tail = self._log.read_text(encoding="utf-8", errors="replace")[-3000:]
            sys.exit(f"{self._script} ended with {self._process.wait()}:\n{tail}")
        answer: Answer = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()
        self._folder.cleanup()


def ask_once(script: str, job: Job) -> Answer:
    """One job in a fresh process, whose peak of memory is then the job's own."""
    with Worker(script) as worker:
        return worker.ask(job)
