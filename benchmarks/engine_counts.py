"""What a LoRA step must compute, counted: floating-point operations of the matrix products, attention left out."""

from __future__ import annotations

from prentice.training.shapes import Shape

RANK = 16


def step_flops(shape: Shape, positions: int, scored: int, *, head_passes: int = 2) -> float:
    """Operations of the steps that compute these positions.

    A frozen matrix costs two per weight and position on the way there, and as much on the way back to its inputs; an
    adapter twice that on the way back, since it is trained. Both scale with `positions`.

    Args:
        shape: of the model.
        positions: tokens that go through the layers.
        scored: positions that are projected onto the vocabulary.
        head_passes: products of the projection's size for each of those: there and back, and one more where the logits
            are computed twice.
    """
    body = 2 * 2 * shape.layers * shape.layer
    adapters = 2 * 3 * shape.adapters(RANK)
    head = 2 * head_passes * shape.hidden * shape.vocabulary
    # of the last layer's network only those positions are needed that are projected
    network = 3 * (4 * shape.hidden * shape.intermediate + 6 * RANK * (shape.hidden + shape.intermediate))
    return float(positions * (body + adapters) + scored * head - (positions - scored) * network)
