"""Whether a run fits where it shall compute, and what to set where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from prentice.training.estimate import Setup, hours, moments

ROOM = 0.95
"""Share of a machine's memory that may be reckoned with: what is tighter fails by what no formula knows."""
SHOWN = 3
MOST_GPUS = 64


@dataclass(frozen=True)
class Advice:
    """A change with which a run fits.

    Args:
        words: what to set.
        size: bytes of one process at its highest moment then.
        hours: that the run takes then.
    """

    words: str
    size: float
    hours: float


def fits(setup: Setup) -> bool:
    """Whether one process finds room."""
    return setup.startable and moments(setup)[0].size <= ROOM * setup.machine.memory


def advice(setup: Setup) -> list[Advice]:
    """Changes with which a run that does not fit would; those that change least first, `SHOWN` at most."""
    found: list[Advice] = []
    for words, changed in _changes(setup):
        smaller = next((each for each in _with_smaller_parts(changed) if fits(each)), None)
        if smaller is not None:
            cut = smaller.config.micro_tokens
            parts = [f"train.sft.micro_tokens = {cut}"] if cut != setup.config.micro_tokens else []
            found.append(Advice(" and ".join([*words, *parts]), moments(smaller)[0].size, hours(smaller)))
        if len(found) == SHOWN:
            break
    return found


def faster(setup: Setup) -> list[Advice]:
    """What makes a run that fits faster: on a GPU the narrow numbers that it is made for."""
    narrow = replace(setup, config=setup.config.model_copy(update={"precision": "bfloat16"}))
    if not setup.machine.gpu or setup.narrow or not fits(narrow):
        return []
    return [Advice('train.sft.precision = "bfloat16" is faster', moments(narrow)[0].size, hours(narrow))]


def _changes(setup: Setup) -> Iterator[tuple[list[str], Setup]]:
    config, gpu = setup.config, setup.machine.gpu
    methods = ["full", "lora", "qlora"] if gpu else ["full", "lora"]
    precisions = [config.precision, *(["bfloat16"] if gpu and not setup.narrow else [])]
    less = methods[methods.index(config.method) :] if config.method in methods else ["lora"]
    for method in less:
        for precision in precisions:
            changed = {"method": method, "precision": precision}
            yield _words(setup, changed), replace(setup, config=config.model_copy(update=changed))
    number = 2 * setup.machine.processes if setup.machine.sharded else 2
    while gpu and number <= MOST_GPUS:
        machine = setup.machine.together(number)
        work = setup.work.cut(config.micro_tokens, number / setup.machine.processes)
        yield [f"FSDP on {number} such GPUs (train.launch.accelerate)"], replace(setup, machine=machine, work=work)
        number *= 2


def _with_smaller_parts(setup: Setup) -> Iterator[Setup]:
    """The run, and the run with ever fewer tokens at once: the one setting that changes no result."""
    yield setup
    tokens = setup.config.micro_tokens
    while tokens // 2 >= setup.work.longest:
        tokens //= 2
        config = setup.config.model_copy(update={"micro_tokens": tokens})
        yield replace(setup, config=config, work=setup.work.cut(tokens))


def _words(setup: Setup, changed: dict[str, Any]) -> list[str]:
    return [f'train.sft.{key} = "{value}"' for key, value in changed.items() if getattr(setup.config, key) != value]
