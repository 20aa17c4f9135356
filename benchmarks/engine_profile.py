"""Where a step's time goes, and how near it comes to the machine's own rate of matrix products."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import engine_ours
import engine_rows
from engine_counts import RANK, step_flops
from engine_race import ROWS, ours_job
from engine_rows import BATCH, Workload
from engine_tokens import checked
from prentice.progress import Bar
from prentice.training.batches import shares
from prentice.training.config import SFTConfig
from prentice.training.forest import plant
from prentice.training.shapes import shape_of
from side_by_side import quiet_or_exit

SIDE, PRODUCTS = 2048, 9
"""Of the square matrices whose product gives the machine's rate, and how many are timed."""
REST = "Python and all between"
VOCABULARY = 49_152
PRODUCTS_OF = frozenset({"mm", "addmm", "addmm_"})
KINDS = {
    "matrix products of the layers": PRODUCTS_OF,
    "attention": {
        *("bmm", "baddbmm", "_softmax", "_softmax_backward_data", "masked_fill_"),
        *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward"),
    },
    "moving and gathering": {"index_select", "index_add_", "gather", "index", "cat", "copy_", "clone"},
}
"""Kind of work → the operations that do it, where nothing else says what they are for."""
Row = dict[str, Any]


def profile_rows() -> list[Row]:
    """The share of the machine's rate that a step reaches, and the kinds of work that a step is made of."""
    workload = engine_rows.ner(ROWS)
    quiet_or_exit()
    job = ours_job(workload) | {"skip": 1, "epochs": 3}
    before = _matrix_rate()
    plain = engine_ours.run(job)
    rate = median([before, _matrix_rate()])
    shape = shape_of(str(workload.base))
    needed = step_flops(shape, plain["positions"], plain["supervised"]) / plain["seconds"]
    clock = Profiled()
    engine_ours.run(job, clock)
    kinds = _kinds(clock, _planting(workload) * len(clock.marks[1:]))
    note = f"float32, {torch.get_num_threads()} threads; a step of {BATCH} WNUT-17 rows needs that many operations "
    return [
        {
            "name": "matrix_rate_share",
            "ours": needed / rate,
            "rival": None,
            "ratio": None,
            "unit": "share",
            "n": plain["steps"],
            "gflops_needed_per_s": needed / 1e9,
            "gflops_of_the_machine": rate / 1e9,
            "note": note + f"a second over the rate of a {SIDE} x {SIDE} product; attention's own not counted",
        },
        *(_kind_row(name, share, len(clock.marks) - 1) for name, share in kinds.items()),
    ]


def _kind_row(name: str, share: float, steps: int) -> Row:
    slug = "_".join(name.lower().replace(",", "").split())
    return {
        "name": f"profile_{slug}",
        "ours": share,
        "rival": None,
        "ratio": None,
        "unit": "share",
        "n": steps,
        "note": f"{name}: of a step's time under torch.profiler, which itself slows what consists of many small parts",
    }


def _matrix_rate() -> float:
    """Operations a second of a large product; the first of them is warm-up."""
    torch.manual_seed(0)
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    seconds = []
    for _ in range(PRODUCTS + 1):
        begin = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - begin)
    return 2 * SIDE**3 / median(seconds[1:])


class Profiled(engine_ours.Clock):
    """A clock that profiles the loop, warm-up step and all."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0) -> Iterator[Bar]:
        """The loop, profiled."""
        with (
            profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler,
            super().bar(title, total, unit, done) as bar,
        ):
            yield bar
        self.events = list(profiler.events() or ())


def _kinds(clock: Profiled, planting: float) -> dict[str, float]:
    """Kind of work → share of the loop's seconds."""
    whole = clock.marks[-1][0] - clock.marks[0][0]
    spent: defaultdict[str, float] = defaultdict(float)
    for event in clock.events:
        spent[_kind(event)] += event.self_cpu_time_total / 1e6
    spent.pop(REST, None)
    spent["planting the forest"] = planting
    spent[REST] = max(0.0, whole - sum(spent.values()))
    return {kind: seconds / whole for kind, seconds in sorted(spent.items(), key=lambda item: -item[1])}


def _kind(event: Any) -> str:
    """What an operation is for, by its name, the sizes it worked on, and what called it."""
    if not event.name.startswith("aten::"):
        return REST
    if any("optimizer.step" in caller.lower() for caller in _callers(event)):
        return "optimizer"
    name, sizes = event.name.removeprefix("aten::"), {n for shape in event.input_shapes or () for n in shape}
    if VOCABULARY in sizes and name not in {"index_select", "embedding"}:
        return "vocabulary"
    if name in PRODUCTS_OF and RANK in sizes:
        return "adapters"
    found = [kind for kind, names in KINDS.items() if name in names]
    return found[0] if found else "norms, activations and the like"


def _callers(event: Any) -> Iterator[str]:
    parent = event.cpu_parent
    while parent is not None:
        yield parent.name
        parent = parent.cpu_parent


def _planting(workload: Workload) -> float:
    """Seconds a step takes to lay its rows out; plain Python, of which the profiler sees nothing."""
    rows = [row.item for row in checked(workload)[:BATCH]]
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        for part in shares(rows, SFTConfig().on(gpu=False).micro_tokens, 1)[0]:
            plant([r.row for r in part])
        seconds.append(time.perf_counter() - begin)
    return median(seconds)
