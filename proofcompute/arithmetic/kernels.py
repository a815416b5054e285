"""Define the protocol of a compute backend: row-wise functions of the arithmetic (docs/spec/arithmetic.md).

The NumPy backend (:class:`proofcompute.arithmetic.definition.NumpyKernels`) *defines* every function here;
any other backend equals it byte for byte. Arrays are NumPy arrays on a CPU backend and opaque elsewhere;
shapes are written ``[n, d]`` with rows first. Inputs are C-contiguous and never modified; results are new
arrays.

An opaque array has ``shape``, ``dtype``, ``size``, ``ndim`` and ``len``; it can be sliced and assigned to by
leading rows, reshaped, viewed with another element type, copied, and asked for its bytes. All else goes
through :class:`proofcompute.arrays.Arrays`. A function's results are where its first array is. If that is
NumPy's memory, errors are raised at once. If it is a device's, the first of ``step``, ``host`` and
``tobytes`` that follows raises the error, with the operation's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from proofcompute.arithmetic.lattice import Lattice
from proofcompute.arithmetic.operands import Matrix
from proofcompute.arithmetic.primitive_functions import Primitives
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I8, I32, U64, Arrays, Span
from proofcompute.commitments.hasher import Hasher
from proofcompute.freivalds.checks import Checks
from proofcompute.freivalds.hint import MadeHint

__all__ = [
    "ONE",
    "PLAIN",
    "Arithmetic",
    "AttentionOptions",
    "GatePrologue",
    "Kernels",
    "Matrix",
    "NormPrologue",
    "Prologue",
    "Routing",
    "prepared",
]


@dataclass(frozen=True, eq=False)
class NormPrologue:
    """The prologue of a product whose rows are those of its input after an RMS norm."""

    weight: F32
    """[d] float32."""
    eps: np.float32


@dataclass(frozen=True)
class GatePrologue:
    """The prologue of a product whose rows are those of its input [n, 2 d] after the gate."""


Prologue = NormPrologue | GatePrologue | None
"""The operation on rows just before they are quantised for a product."""


ONE: Final = np.float32(1)
NONE: Final = np.float32(0)


@dataclass(frozen=True, eq=False)
class AttentionOptions:
    """Options of attention that most models do without."""

    limbs: int = 1
    """Limbs of the queries, 1 or 2."""
    softcap: np.float32 = NONE
    """c in tanh(score / c) * c, finite and positive; 0 for none."""
    sinks: F32 | None = None
    """[h] float32: a logit of each head that is in its softmax and has no value."""
    latent: int = 0
    """Not 0: the first ``latent`` columns of a head have a scale of their own, in queries and in keys, and
    are the values too; the other columns have the second scale."""
    ahead: int = 0
    """Positions after its own that a row may see; 0 in causal attention, at most :data:`MAX_ROWS`."""


PLAIN: Final = AttentionOptions()
"""Attention without options."""


@dataclass(frozen=True, eq=False)
class Routing:
    """How a router chooses experts."""

    top_k: int
    """The number of experts that a row uses."""
    score: str
    """``softmax`` of all logits, ``sigmoid``, or ``chosen``: softmax of the chosen logits."""
    normalise: bool
    """Whether the chosen scores are divided by their sum."""
    groups: int
    """Groups of equally many experts, one after the other."""
    top_groups: int
    """Groups from which experts may be chosen."""
    best: int
    """The number of its best scores that a group counts for, 1 or 2."""


class Arithmetic(Primitives, Protocol):
    """Row-wise functions of the canonical arithmetic."""

    # -- products ------------------------------------------------------------------------------------
    def quantise(self, x: F32, limbs: int, prologue: Prologue = None) -> tuple[I8, F32]:
        """Quantise rows [n, d], after ``prologue``, to int8 limbs [limbs, n, d] (high first) and scales [n].

        Raises NonFiniteError if any element is NaN or infinite.
        """
        ...

    def product(self, q: I8, w: I8) -> I32:
        """Return q [n, d] times the rows of w [m, d], d <= MAX_CONTRACTION: int32 [n, m]."""
        ...

    def rescale(self, acc: I32, shifts: Sequence[int], sx: F32, sw: F32, bias: F32 | None) -> F32:
        """Turn accumulator sets [sets, n, m] into float32 [n, m].

        The result is f32(sum of acc[i] << shifts[i], in int64) * (sx[t] * sw[j]), then + bias[j].
        """
        ...

    def linear(
        self, x: F32, w: Matrix, limbs: int, prologue: Prologue = None, residual: F32 | None = None
    ) -> F32:
        """Return the product of prepared rows with ``w``, added to the residual [n, m] if there is one.

        It equals the functions in sequence: ``prepared``, ``quantise``, ``product`` for every set,
        ``rescale``, ``add``.
        """
        ...

    def linear_with_hint(
        self,
        x: F32,
        w: Matrix,
        limbs: int,
        squares: Sequence[int],
        prologue: Prologue = None,
        residual: F32 | None = None,
        wanted: bool = True,
    ) -> MadeHint:
        """Return ``linear`` (None unless it is ``wanted``) and the product's hint, for at least one row.

        ``squares`` is the largest sum of squares of a row, for each limb of ``w``. The hint holds the sets of
        ``hint_sets``, packed by ``pack_set`` (:mod:`proofcompute.freivalds.sets`).
        """
        ...

    def experts(self, x: F32, w: Matrix, numbers: I32, limbs: int) -> F32:
        """Return ``linear`` of each row with a matrix of its own: [n r, m].

        ``numbers`` [n, r], on the host, say which of the matrices of ``w``; x has n r rows, or n that are
        each multiplied r times. Raises ExecutionError for a number without a matrix.
        """
        ...

    # -- rows ----------------------------------------------------------------------------------------
    def embed(self, q: I8, s: F32) -> F32:
        """Return table rows q [n, d] int8 times their scales s [n]: float32 [n, d]."""
        ...

    def rms_norm(self, x: F32, w: F32, eps: np.float32) -> F32:
        """Return x / sqrt(tree(x*x) / n + eps) * w for rows of [n, d], w [d]."""
        ...

    def layer_norm(self, x: F32, w: F32, b: F32, eps: np.float32) -> F32:
        """Return c / sqrt(tree(c*c) / n + eps) * w + b with c = x - tree(x) / n."""
        ...

    def positions(self, spans: Sequence[Span]) -> I32:
        """Return the positions of the rows of all spans, one after the other: int32 [n]."""
        ...

    def rope_rows(
        self, freqs: tuple[int, ...], spans: Sequence[Span], scale: np.float32 = ONE
    ) -> tuple[F32, F32]:
        """Return cosines and sines of the positions of all spans, one after the other: [n, r] each.

        ``freqs`` are r binary32 bit patterns; the angle is f32(position) * frequency, rounded once, and both
        tables are multiplied by ``scale``.
        """
        ...

    def rope(self, x: F32, cos: F32, sin: F32, heads: int, interleaved: bool, start: int = 0) -> F32:
        """Rotate each head of rows [n, heads * dh] by tables [n, r], start + 2 r <= dh; the rest is copied.

        Pair i of a head is columns start + (2i, 2i+1) if interleaved, else start + (i, i + r).
        (a, b) becomes (a*cos - b*sin, a*sin + b*cos).
        """
        ...

    def quantise_heads(self, x: F32, heads: int, limbs: int = 1, latent: int = 0) -> tuple[I8, F32]:
        """Quantise rows [n, heads * dh], one scale a head, to int8 [n, heads, dh] and scales [n, heads].

        Two limbs give int8 [n, heads, 2, dh], high first. If ``latent`` is not 0, the first ``latent``
        columns of a head and the others, at least one, are quantised apart: scales are [n, heads, 2].
        """
        ...

    def heads(
        self, x: F32, cos: F32, sin: F32, heads: int, kv_heads: int, interleaved: bool, limbs: int = 1
    ) -> tuple[F32, I8, F32, I8, F32]:
        """Prepare queries, keys and values side by side in rows [n, (heads + 2 kv_heads) * dh] for attention.

        Returns ``rope`` of the queries [n, heads * dh], ``quantise_heads`` of ``rope`` of the keys, and
        ``quantise_heads`` of the values.
        """
        ...

    def attention(
        self,
        q: F32,
        kq: I8,
        ks: F32,
        vq: I8 | None,
        vs: F32 | None,
        first: int,
        scale: np.float32,
        window: int,
        options: AttentionOptions = PLAIN,
    ) -> F32:
        """Return the attention of rows first..first+n over t >= first + n rows.

        q [n, h * dh] float32; kq [t, hk, dh] and vq [t, hk, e] int8, or [t, hk, 2, dh] and [t, hk, 2, e] in
        two limbs; ks, vs [t, hk] float32; h a multiple of hk. Row first+i may see positions
        max(0, first+i+1-window)..min(first+i+ahead, t-1) (window 0: all from 0). If ``options.latent`` is not
        0, ks is [t, hk, 2], there are no vq and vs, and e is ``latent``. Scores, softmax and mix are those of
        docs/spec/programs.md#attention. Returns [n, h * e].
        """
        ...

    def gate(self, x: F32) -> F32:
        """Return g / (1 + exp(-g)) * u, [n, f], for rows [n, 2 f] that hold g first and u second."""
        ...

    def gelu(self, x: F32) -> F32:
        """Return 0.5 * x * (1 + erf(x / sqrt 2)), as the definition computes it."""
        ...

    def relu(self, x: F32) -> F32:
        """Return x where x > 0, else +0."""
        ...

    def add(self, x: F32, y: F32) -> F32:
        """Return x + y."""
        ...

    def route(self, x: F32, how: Routing, correction: F32 | None) -> tuple[I32, F32]:
        """Return the experts that rows of logits [n, e] choose, and their shares: [n, top_k] each.

        ``correction`` [e] is added to the scores for the choice only. docs/spec/programs.md#route says how.
        Raises NonFiniteError if a score is NaN.
        """
        ...

    def mix(self, x: F32, shares: F32) -> F32:
        """Return sums of x [n, k, d] weighted by shares [n, k], over k by the halving tree: [n, d]."""
        ...

    def settle(self, x: F32) -> F32:
        """Return x + (+0.0), which turns -0 into +0. Raises NonFiniteError if any element is not finite."""
        ...

    def is_settled(self, x: F32) -> bool:
        """Return whether ``settle`` would succeed and change no bit: all elements are finite, none is -0."""
        ...

    def sample(self, logits: F32, history: I32, first: int, how: Sampling, draws: U64) -> I32:
        """Return the next tokens of rows first..first+n with logits [n, v]: int32 [n].

        Row first+i has seen tokens 0..first+i of history [t], t >= first + n. Its draw is the 128-bit integer
        of draws [n, 2], the low half first; temperature 0 ignores it.
        """
        ...


class Kernels(Arrays, Arithmetic, Lattice, Hasher, Checks, Protocol):
    """A whole backend."""

    name: str

    def weight(self, w: Matrix) -> Matrix:
        """Return a weight matrix with arrays of this backend; it is made once for each matrix."""
        ...

    def partition(self, sizes: Sequence[int]) -> Sequence[Kernels]:
        """Return the backend for each segment, given the bytes of its weights: this one, or a part of it."""
        ...


def prepared(prologue: Prologue, x: F32, k: Kernels) -> F32:
    """Return the rows that a product quantises: x after ``prologue``."""
    if prologue is None:
        return x
    return k.gate(x) if isinstance(prologue, GatePrologue) else k.rms_norm(x, prologue.weight, prologue.eps)
