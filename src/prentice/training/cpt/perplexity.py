"""How well texts are foreseen: perplexity before and after, with an interval over the documents."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from prentice.statistics import CONFIDENCE, quantile
from prentice.training.gauge import Gauge
from prentice.training.items import Item

DRAWS = 2000
"""Samples of the bootstrap."""
KINDS = {"domain": "held-out documents", "general": "held-out general text"}
"""Texts that are measured: name in figures → in words."""


@dataclass(frozen=True)
class Measured:
    """Texts as a model has foreseen them.

    Args:
        tokens: predicted, of each document.
        before, after: sum of the log-probabilities of each document's tokens, in nats.
    """

    tokens: Sequence[int]
    before: Sequence[float]
    after: Sequence[float]

    def figures(self) -> dict[str, float]:
        """Perplexities, their ratio and how much was measured.

        Perplexity is exp of the mean negative log-probability per token, all documents together. The interval of the
        ratio: percentiles of a bootstrap over documents, whose tokens depend on each other (Efron and Tibshirani, 1993,
        section 13.3); none where there is but one document.
        """
        ratio = self._ratio(range(len(self.tokens)))
        found = {
            "perplexity_before": perplexity(self.tokens, self.before),
            "perplexity_after": perplexity(self.tokens, self.after),
            "perplexity_ratio": ratio,
            "documents": float(len(self.tokens)),
            "tokens": float(sum(self.tokens)),
        }
        if len(self.tokens) > 1:
            found["perplexity_ratio_low"], found["perplexity_ratio_high"] = self._interval()
        return found

    def _ratio(self, documents: Sequence[int]) -> float:
        gained = sum(self.after[d] - self.before[d] for d in documents)
        return _exp(-gained / sum(self.tokens[d] for d in documents))

    def _interval(self) -> tuple[float, float]:
        chance, everyone = random.Random(0), range(len(self.tokens))
        drawn = [self._ratio(chance.choices(everyone, k=len(everyone))) for _ in range(DRAWS)]
        return quantile(drawn, (1 - CONFIDENCE) / 2), quantile(drawn, (1 + CONFIDENCE) / 2)


def perplexity(tokens: Sequence[int], sums: Sequence[float]) -> float:
    """exp of the mean negative log-probability per token, at most e^700.

    Args:
        tokens: of each document.
        sums: of the log-probabilities of each document's tokens, in nats.
    """
    return _exp(-sum(sums) / sum(tokens))


def _exp(nats: float) -> float:
    """exp, as far as a record can hold it."""
    return math.exp(max(-700.0, min(nats, 700.0)))


def perplexity_gauge(texts: Mapping[str, Sequence[Sequence[Item]]]) -> Gauge | None:
    """What a run does to the perplexity of each kind of text.

    Args:
        texts: by kind, the rows of each document.
    Returns: None where there are none.
    """
    if not texts:
        return None

    def figures(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
        befores, afters = iter(before), iter(after)
        found: dict[str, float] = {}
        for kind, documents in texts.items():
            tokens = [predicted(document) for document in documents]
            measured = Measured(tokens, _sums(befores, documents), _sums(afters, documents))
            found |= {f"{kind}_{name}": value for name, value in measured.figures().items()}
        return found

    return Gauge([item for documents in texts.values() for item in chain(*documents)], figures)


def outcome(figures: Mapping[str, float]) -> list[str]:
    """What a run has done to each kind of text, a line each; what could not be measured is said too."""
    return [_line(kind, figures) for kind in KINDS]


def _line(kind: str, figures: Mapping[str, float]) -> str:
    known = {key.removeprefix(f"{kind}_"): value for key, value in figures.items() if key.startswith(f"{kind}_")}
    if not known:
        return f"{KINDS[kind]}: none, so its perplexity is not known"
    before, after, ratio = (known[f"perplexity_{name}"] for name in ("before", "after", "ratio"))
    line = (
        f"{KINDS[kind]} ({known['documents']:,.0f}, {known['tokens']:,.0f} tokens): perplexity {before:.2f} before, "
        f"{after:.2f} after, {ratio:.3f} of before"
    )
    if "perplexity_ratio_low" not in known:
        return line
    return f"{line} (95 %: {known['perplexity_ratio_low']:.3f} to {known['perplexity_ratio_high']:.3f})"


def predicted(rows: Iterable[Item]) -> int:
    """How many tokens of these rows are predicted."""
    return sum(len(item.row.reply) for item in rows)


def _sums(scores: Iterator[float], documents: Sequence[Sequence[Item]]) -> list[float]:
    """The scores of each document's rows, which come one after the other."""
    return [sum(islice(scores, len(document))) for document in documents]
