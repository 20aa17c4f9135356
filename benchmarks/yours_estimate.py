"""CPU-seconds of the default student for a token read and a token written: what docs/costs.md assumes.

Run on a quiet machine: python benchmarks/yours_estimate.py
Beside other work the threads wait for each other, and that is CPU time too.
"""

from __future__ import annotations

import asyncio
import random
from itertools import count
from statistics import median

from prentice.models.catalogue import resolve_gguf
from prentice.models.local import LocalModel
from prentice.records import Message, Request, Sampling

SIZES = ((30, 1), (300, 1), (1_000, 1), (2_000, 1), (30, 128), (1_000, 128))
"""Words asked, tokens answered."""
TRIES = 3
WORDS = ("the", "flight", "was", "booked", "by", "Mia", "who", "paid", "with", "a", "card", "and", "then", "asked")


async def call(model: LocalModel, words: int, tokens: int, seed: int) -> tuple[int, int, float]:
    """One call with words that no cache holds: tokens read afresh, tokens written, CPU-seconds."""
    rng = random.Random(seed)
    text = " ".join(rng.choice(WORDS) for _ in range(words))
    request = Request(function="measure", messages=(Message(role="user", content=text),))
    reply = await model.generate(request, Sampling(max_tokens=tokens))
    usage = reply.usage
    return (usage.input_tokens or 0) - (usage.cached_tokens or 0), usage.output_tokens or 0, reply.processing_s or 0.0


async def measure() -> None:
    """Print a line for each size; writing is what a long answer takes more than a short one."""
    model = LocalModel(resolve_gguf("smollm2-135m", offline=True), threads=2)
    seeds = count()  # one seed for all would make a short text the beginning of a long one, which the cache holds
    await call(model, 50, 4, next(seeds))
    reading: dict[int, float] = {}
    for words, tokens in SIZES:
        tries = [await call(model, words, tokens, next(seeds)) for _ in range(TRIES)]
        read, written, seconds = (median(values) for values in zip(*tries, strict=True))
        if tokens == 1:
            reading[words] = seconds
            print(f"{read:.0f} tokens read: {seconds / read:.4f} CPU-s a token")
        else:
            each = (seconds - reading[words]) / (written - 1)
            print(f"{written:.0f} tokens written after {read:.0f}: {each:.4f} CPU-s a token")
    await model.close()


if __name__ == "__main__":
    asyncio.run(measure())
