"""Builds programs by hand, operation by operation.

::

    b = ProgramBuilder()
    image = b.input("image", (28, 28, 1))
    h = b.relu(b.conv(image, w1, b1, strides=2, pads=1))
    b.cut(h)
    h = b.mean(h, (0, 1))
    b.output(b.softmax(b.linear(h, w2), name="classes"))
    model = b.model()

A builder makes an ordinary :class:`~proofcompute.program.program.Program` and its quantised weights
(docs/spec/programs.md). Rows are samples; every tensor has a type and the shape of one row; each row depends
on the same row of the inputs only. The operations between two cuts form a segment; the tensors named at a cut
are committed, and only these, the inputs and constants can be used after it. An audit opens rows at cuts and
recomputes the operations between them, so cut where few numbers are alive.
"""

from __future__ import annotations

from typing import final

from proofcompute.models.building.arguments import checked
from proofcompute.models.building.networks import Networks
from proofcompute.models.building.tensor import Tensor

__all__ = ["ProgramBuilder", "Tensor"]


@final
@checked
class ProgramBuilder(Networks):
    """Collects operations and weights, then makes the program and the model.

    Args:
        context: the most rows of one request.
        device: the backend that quantises the weights; the result does not depend on it.

    Every operation takes a ``name`` for its result, or generates one. Methods raise InputError (of which
    FormatError and LimitError are kinds) if a tensor, a weight or a name does not fit, or an argument has
    another type than its annotation says.
    """
