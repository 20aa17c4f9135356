"""Counting in bounded memory. What is kept depends on hashes alone, so the order of the calls does not matter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")

_ALL = 2**64


def key_of(*parts: bytes) -> int:
    """64 bits that stand for these bytes; the same in every process."""
    hashed = blake2b(digest_size=8)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return int.from_bytes(hashed.digest(), "big")


class Sample(Generic[T]):
    """Something kept for each key: for all of them, or beyond `most` keys for those with the smallest hashes.

    A key that is kept has been kept since it was first seen, so what is counted for it is complete.

    Args:
        most: keys kept; whenever there are more, the half of all possible keys with the larger hashes is let go.
        fresh: what is kept for a new key.
    Source: Wegman's adaptive sampling; Flajolet (1990), Computing 43:391-400.
    """

    def __init__(self, most: int, fresh: Callable[[], T]) -> None:
        self._most, self._fresh = most, fresh
        self._kept: dict[int, T] = {}
        self._below = _ALL

    def of(self, key: int) -> T | None:
        """What is kept for `key`; None for a key that is not kept."""
        if key >= self._below:
            return None
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._fresh()
            while len(self._kept) > self._most:
                self._below //= 2
                self._kept = {k: v for k, v in self._kept.items() if k < self._below}
        return found if key < self._below else None

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[T]:
        return iter(self._kept.values())

    @property
    def share(self) -> float:
        """The share of all possible keys that is kept: 1 as long as nothing was let go."""
        return self._below / _ALL

    @property
    def distinct(self) -> int:
        """How many keys there were; exact while `share` is 1, else estimated."""
        return round(len(self._kept) / self.share)


class Histogram:
    """Whole numbers in buckets: exact below 100, above it to within 1 %, then rounded."""

    _EXACT = 100
    _WIDTH = math.log(1.02)

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def add(self, value: int) -> None:
        """Count one number, 0 or more."""
        beyond = 0 if value < self._EXACT else 1 + int(math.log(value / self._EXACT) / self._WIDTH)
        self._buckets[value if not beyond else self._EXACT - 1 + beyond] += 1

    def quantile(self, share: float) -> int:
        """The smallest number that `share` of all do not exceed (nearest rank); 0 where there are none."""
        rank, seen = share * self._buckets.total(), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return self._middle(bucket)
        return 0

    def _middle(self, bucket: int) -> int:
        beyond = bucket - self._EXACT
        return bucket if beyond < 0 else round(self._EXACT * math.exp((beyond + 0.5) * self._WIDTH))
