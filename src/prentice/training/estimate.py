"""What a run will need, reckoned before anything loads: memory, hours, disk.

The formulas follow what the engine does: what autograd keeps for the way back was read off its saved tensors, products
are counted as torch counts them. Tests hold both against runs. This module knows numbers only: neither torch nor rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from prentice.training.compared import LONGEST, MOST_ROWS, compared
from prentice.training.config import SFTConfig
from prentice.training.hardware import Machine
from prentice.training.shapes import Shape

CHUNK = 128
"""Positions that the engine projects onto the vocabulary at once (`engine.CHUNK`)."""
WIDE, NARROW = 4, 2
"""Bytes of a float32 and of a bfloat16."""
FOUR_BITS = 0.516
"""Bytes of a weight in NF4 with constants in 8 bits: 0.127 bits of constants a weight (arXiv:2305.14314, section 3)."""
QUANTIZED = {"q8_0": 34 / 32, "f16": 2.0, "bf16": 2.0, "f32": 4.0}
"""Bytes of a weight in a GGUF file; a block of 32 in q8_0 carries a scale of 2 bytes."""
SMALL = 128 * 256
"""Pairs of a row up to which attention on a CPU keeps its weights (`attention.SMALL`)."""
SUPERVISED = 0.25
"""Share of a row's tokens that are its reply, where no dataset says."""
COMPARISON = "the comparison with a padded batch, before the first step"
_KEPT = "freed, but kept by the allocator"


@dataclass(frozen=True)
class Part:
    """Rows that are computed together.

    Args:
        nodes: tokens computed, a shared prefix once.
        supervised: tokens projected onto the vocabulary.
        queries, keys: what attention gathers for the fused kernel, padding included.
        scores: pairs whose weights are computed as plain products, and once more on the way back.
        fused: pairs that a fused kernel computes.
    """

    nodes: float = 0
    supervised: float = 0
    queries: float = 0
    keys: float = 0
    scores: float = 0
    fused: float = 0

    def __add__(self, other: Part) -> Part:
        return Part(*(mine + theirs for mine, theirs in zip(self.values, other.values, strict=True)))

    def times(self, factor: float) -> Part:
        """So many of it."""
        return Part(*(value * factor for value in self.values))

    @property
    def values(self) -> tuple[float, ...]:
        """In the order of the fields."""
        return self.nodes, self.supervised, self.queries, self.keys, self.scores, self.fused


@dataclass(frozen=True)
class Work:
    """What there is to compute, whatever computes it.

    Args:
        rows, val_rows: rows to train and to validate on.
        tokens: of all training rows, nothing shared.
        epoch, validation: one pass over them, in the parts in which they are computed.
        largest: the part that holds most memory.
        parts: that a step is made of.
        longest: tokens of the longest row.
        compared: rows that are compared with a padded batch before the first step.
        compared_longest: tokens of the longest of them.
    """

    rows: int
    val_rows: int
    tokens: int
    epoch: Part
    validation: Part
    largest: Part
    parts: float
    longest: int
    compared: int
    compared_longest: int

    def cut(self, tokens: int, times: float = 1) -> Work:
        """About as it would be with at most `tokens` computed at once, by `times` as many processes."""
        step = self.largest.nodes * self.parts / times
        nodes = min(self.largest.nodes, max(self.longest, min(tokens, step)))
        return replace(self, largest=self.largest.times(nodes / self.largest.nodes), parts=max(1.0, step / nodes))


def assumed_work(config: SFTConfig, rows: int, tokens: int, processes: int = 1) -> Work:
    """Rows that nobody has seen: all of one length, nothing shared, a quarter of it supervised."""
    together = max(1, min(math.ceil(config.batch / processes), max(config.micro_tokens, tokens) // tokens, rows))
    pairs = float(tokens * tokens)
    # the last token of a row predicts nothing, so it is not computed
    attention = (0, 0, pairs, 0) if pairs <= SMALL else (tokens - 1, tokens - 1, 0, pairs)
    row = Part(tokens - 1, SUPERVISED * tokens, *attention)
    return Work(
        rows=rows,
        val_rows=0,
        tokens=rows * tokens,
        epoch=row.times(rows),
        validation=Part(),
        largest=row.times(together),
        parts=min(config.batch, rows) / processes / together,
        longest=tokens,
        compared=compared([tokens] * min(rows, MOST_ROWS))[0],
        compared_longest=min(tokens, LONGEST),
    )


@dataclass(frozen=True)
class Piece:
    """Bytes that one thing takes."""

    name: str
    size: float


@dataclass(frozen=True)
class Moment:
    """What lies in the memory of one process (one GPU) at a moment of the run."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> float:
        """Bytes of all of it."""
        return sum(piece.size for piece in self.pieces)


@dataclass(frozen=True)
class Setup:
    """A run that has not begun: a student of some shape, how it is trained, on what, and where."""

    shape: Shape
    config: SFTConfig
    work: Work
    machine: Machine

    @property
    def full(self) -> bool:
        """Whether all weights are trained."""
        return self.config.method == "full"

    @property
    def narrow(self) -> bool:
        """Whether products are computed in bfloat16."""
        return self.config.precision == "bfloat16"

    @property
    def width(self) -> int:
        """Bytes of a number in a product."""
        return NARROW if self.narrow else WIDE

    @property
    def trained(self) -> int:
        """Weights that the optimizer changes."""
        return self.shape.weights if self.full else self.shape.adapters(self.config.lora_rank)

    @property
    def frozen(self) -> float:
        """Bytes of the weights that stay as they are."""
        if self.config.method == "qlora":
            layers = self.shape.layers * self.shape.layer
            return layers * FOUR_BITS + (self.shape.weights - layers) * self.width
        return 0 if self.full else self.shape.weights * self.width

    @property
    def rate(self) -> float:
        """Operations a second of one process's products."""
        return self.machine.rates[self.config.precision]

    @property
    def startable(self) -> bool:
        """Whether the machine can do what the configuration asks: weights in 4 bits need a GPU."""
        return self.machine.gpu or self.config.method != "qlora"

    def shared_out(self, size: float) -> float:
        """Of `size` bytes, those that one process holds: with FSDP a part."""
        return size / self.machine.processes if self.machine.sharded else size


def moments(setup: Setup) -> list[Moment]:
    """The moments of a run that take most memory, the highest first."""
    best = (Piece("best weights so far, float32", setup.shared_out(setup.trained * WIDE)),)
    moving = (Piece("optimizer: two moments, float32", setup.shared_out(2 * setup.trained * WIDE)),)
    learnt = (*_held(setup), *moving, *(best if setup.work.val_rows else ()))
    found = [Moment("a step", (*learnt, *_step(setup)))]
    if not (setup.narrow and setup.machine.sharded):
        held = _held(_wide(setup) if setup.config.method == "lora" else setup)
        found.append(Moment(COMPARISON, (*held, *_compared(setup))))
    if setup.machine.gpu:
        # the fused update computes on copies of all it changes
        size = setup.shared_out(2 * setup.trained * WIDE)
        found.append(Moment("an update of the weights", (*learnt, Piece("gradients and what is made of them", size))))
    else:
        found.append(Moment("saving the state", (*learnt, *_saving(setup))))
    return sorted(found, key=lambda moment: -moment.size)


def _held(setup: Setup) -> tuple[Piece, ...]:
    """What is there from the first moment to the last."""
    shape, machine = setup.shape, setup.machine
    kind = "4 bits" if setup.config.method == "qlora" else setup.config.precision
    whose = "all" if setup.full else f"LoRA of rank {setup.config.lora_rank}"
    pieces = [
        Piece("CUDA itself" if machine.gpu else "Python and its libraries", machine.overhead),
        Piece(f"frozen weights, {kind}", setup.shared_out(setup.frozen)),
        Piece(f"trained weights ({whose}), float32", setup.shared_out(setup.trained * WIDE)),
    ]
    if machine.sharded:
        # the layer that computes and the one that is fetched meanwhile; the embeddings stay for the whole pass
        layer = (setup.frozen or setup.trained * WIDE) / shape.weights
        pieces.append(Piece("put together from all processes", layer * (2 * shape.layer + shape.embeddings)))
    return tuple(piece for piece in pieces if piece.size)


def _step(setup: Setup) -> tuple[Piece, ...]:
    part = setup.work.largest
    states = activations(setup, part)
    gradients = setup.shared_out(setup.trained * WIDE)
    if setup.work.parts <= 1:
        # while gradients are made, what they are made from is freed
        gradients = max(0.0, gradients - states)
    return (
        Piece(f"activations of {part.nodes:,.0f} tokens", states),
        Piece("gradients, float32", gradients),
        Piece("vocabulary, a few tokens at a time", _projection(setup, part)),
        _kept(setup, states),
    )


def activations(setup: Setup, part: Part) -> float:
    """Bytes kept from the way there for the way back, and one layer's gradients on that way."""
    shape = setup.shape
    attention = _flex(setup, part.nodes) if setup.machine.gpu else _blocks(shape, part)
    copies = setup.width * shape.layers * shape.layer if setup.full and setup.narrow else 0
    feed_forward = setup.width * part.nodes * (3 * shape.intermediate + 2 * shape.hidden)
    back = max(feed_forward, 2 * WIDE * shape.heads * part.scores)
    return shape.layers * (_token(setup) * part.nodes + attention) + copies + back


def _token(setup: Setup) -> float:
    """Bytes that one layer keeps of a token beside its attention.

    The two residual streams that its norms read, what enters its linear layers, and the stages of the gate.
    """
    shape, e = setup.shape, setup.width
    # norms compute in float32, and where they are trained they keep what they multiply
    streams = WIDE * shape.hidden * (4 if setup.full else 2)
    # autocast copies what enters each layer of float32 weights
    inputs = e * shape.hidden * (5 if setup.full and setup.narrow else 2)
    low = 0 if setup.full else setup.config.lora_rank * len(shape.linears)
    return streams + inputs + e * (shape.intermediate * (shape.matrices + 1) + shape.asked + low)


def _blocks(shape: Shape, part: Part) -> float:
    """What attention in blocks keeps in one layer, in float32.

    Of the plain products queries, keys and values as they came; of the fused kernel what was gathered for it, what came
    out, and its mask as floats.
    """
    plain = part.nodes * (shape.asked + 2 * shape.kept) if part.scores else 0
    gathered = 2 * shape.asked * part.queries + 2 * shape.kept * part.keys
    return WIDE * (plain + gathered + part.fused)


def _eager(shape: Shape, nodes: float, pairs: float) -> float:
    """What plain attention keeps in one layer: keys and values as often as queries share them, weights, a mask."""
    return WIDE * (3 * shape.asked * nodes + shape.heads * pairs) + pairs


def _flex(setup: Setup, nodes: float) -> float:
    """Attention in one fused kernel, of one layer: queries, keys, values, answers, and a sum for each query."""
    shape = setup.shape
    return nodes * (setup.width * 2 * (shape.asked + shape.kept) + WIDE * shape.heads)


def _projection(setup: Setup, part: Part) -> float:
    shape = setup.shape
    states = 2 * setup.width * part.supervised * shape.hidden
    weights = shape.vocabulary * shape.hidden * (WIDE + (NARROW if setup.narrow else 0)) if setup.full else 0
    return 3 * WIDE * CHUNK * shape.vocabulary + states + weights


def _compared(setup: Setup) -> tuple[Piece, ...]:
    """A few rows, padded to the longest, as everybody computes them; of bfloat16 in float32 too."""
    wide = _wide(setup)
    shape, work, trained = setup.shape, setup.work, setup.trained * WIDE
    nodes = work.compared * work.compared_longest
    states = shape.layers * (_token(wide) * nodes + _eager(shape, nodes, nodes * work.compared_longest))
    logits = 3 * WIDE * nodes * shape.vocabulary
    # those found so far; then the last one, in pieces and in one
    before = trained * (2 if setup.narrow else 1)
    return (
        Piece(f"activations of {nodes:,.0f} padded tokens", states),
        Piece("vocabulary at every token", logits),
        Piece("gradients that are compared", max(before, before + 2 * trained - states - logits)),
        _kept(setup, states + logits),
    )


def _saving(setup: Setup) -> tuple[Piece, ...]:
    """The state, whole, as bytes and once more: too large for the room that others have left in the heap."""
    state = 2 * setup.trained * WIDE * (4 if setup.work.val_rows else 3)
    freed = max(sum(piece.size for piece in pieces) for pieces in (_step(setup), _compared(setup)))
    return (Piece("the state, on its way to the disk", state), Piece(_KEPT, setup.machine.left * freed))


def _wide(setup: Setup) -> Setup:
    return replace(setup, config=setup.config.model_copy(update={"precision": "float32"}))


def _kept(setup: Setup, states: float) -> Piece:
    return Piece(_KEPT, setup.machine.kept * states)


def operations(setup: Setup, part: Part, *, learning: bool = True) -> float:
    """Operations (a product and a sum are two) to compute a part: its way there and, where it is learnt from, back."""
    shape = setup.shape
    layers, first = shape.layers * shape.layer, shape.hidden * (shape.asked + 2 * shape.kept)
    trained = 0 if setup.full else setup.trained
    pairs = 4 * shape.asked * (part.scores + part.fused) * shape.layers
    words = 2 * shape.vocabulary * shape.hidden * part.supervised
    there = 2 * (layers + trained) * part.nodes + pairs + words - _spared(setup, part, learning=learning)
    if not learning:
        return there
    # on the way back: gradients of what came in, but none below the first adapters; of the weights that are trained
    back = 2 * layers * (2 if setup.full else 1) + 4 * trained
    if not setup.full:
        back -= 2 * first + 2 * setup.config.lora_rank * 3 * shape.hidden
    # the vocabulary's slope is computed beside its values; its weights' gradient from logits computed again
    again = 0 if setup.machine.gpu else 2 * shape.asked * part.scores * shape.layers
    return there + back * part.nodes + 2 * pairs + again + words * (3 if setup.full else 1)


def _spared(setup: Setup, part: Part, *, learning: bool) -> float:
    """What the last layer leaves out: its gated network where no token is supervised (`last_layer.py`)."""
    shape, low = setup.shape, 0
    if shape.matrices != 3:
        return 0.0
    feed = 3 * shape.hidden * shape.intermediate
    if not setup.full:
        low = 3 * setup.config.lora_rank * (shape.hidden + shape.intermediate)
    back = 2 * feed * (2 if setup.full else 1) + 4 * low if learning else 0
    return (2 * (feed + low) + back) * max(0.0, part.nodes - part.supervised)


def run_operations(setup: Setup) -> float:
    """Operations of the whole run."""
    config, work = setup.config, setup.work
    total = config.epochs * operations(setup, work.epoch)
    total += math.ceil(config.epochs) * operations(setup, work.validation, learning=False)
    if config.weights == "importance":
        total += sum(operations(setup, part, learning=False) for part in (work.epoch, work.validation))
    return total


def hours(setup: Setup) -> float:
    """How long the steps and validations of a run take; what starts and ends it, and what is played, comes on top."""
    machine = setup.machine
    return run_operations(setup) / (setup.rate * machine.reached * machine.processes) / 3600


def disk(setup: Setup, quantization: str) -> list[Piece]:
    """Bytes that a run leaves, and those that it needs meanwhile.

    Args:
        quantization: of the GGUF files.
    """
    whole, trained = setup.shape.weights, setup.trained * WIDE
    gguf = whole * QUANTIZED[quantization]
    return [
        Piece("checkpoint" if setup.full else "checkpoint: the adapter", trained),
        Piece("state to go on from, while it trains", trained * (4 if setup.work.val_rows else 3)),
        Piece("merged weights, float32", whole * WIDE),
        Piece(f"the student as GGUF, {quantization}", gguf),
        Piece(f"its base as GGUF, {quantization}", gguf),
    ]
