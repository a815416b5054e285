"""Keep rows that begin many requests, such as a system prompt, so that they are computed once.

Rows of a language model depend on nothing but the tokens up to them, so requests that begin alike have equal
rows and equal leaves, and a receipt is the same whether rows were copied or computed. Rows are kept in blocks
of :data:`ROWS`. A block is found by a hash of the scope, the suite and all tokens up to its end, so that it
stands for everything before it too.

Blocks that were not used for longest go first. A chain of blocks is always touched from its end to its
beginning, so that no block goes before those that follow it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.hashing import DIGEST
from proofcompute.engine.session import Session
from proofcompute.program.operations.sample import Sample
from proofcompute.program.program import Program
from proofcompute.protocol.buffers import Block

__all__ = ["ROWS", "PrefixCache", "Prefixes", "depends_on_tokens"]

ROWS: Final = 64
"""Rows of a block."""


def depends_on_tokens(program: Program) -> bool:
    """Return whether all committed rows are functions of the tokens up to them, and of nothing else.

    This holds if the one public input is the tokens and nothing is committed in a segment that looks at
    sampling settings or random numbers.
    """
    samples = [any(isinstance(node.op, Sample) for node in s.nodes) for s in program.segments]
    return program.feedback and not any(p.writes and samples[p.index] for p in program.plans)


@final
class PrefixCache:
    """Blocks of rows, at most ``most`` bytes of them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return self._nbytes

    def __len__(self) -> int:
        return len(self._blocks)

    @staticmethod
    def keys(scope: bytes, suite: str, tokens: bytes) -> list[bytes]:
        """Return the keys of all whole blocks of int32 tokens, little-endian."""
        key, found, size = hashlib.sha256(f"{suite} {len(scope)} ".encode() + scope).digest(), [], 4 * ROWS
        for end in range(size, len(tokens) + 1, size):
            key = hashlib.sha256(key + tokens[end - size : end]).digest()
            found.append(key)
        return found

    def find(self, keys: Sequence[bytes]) -> list[Block]:
        """Return the blocks of the longest known beginning of a chain."""
        known: list[bytes] = []
        for key in keys:
            if key not in self._blocks:
                break
            known.append(key)
        self._touch(known)
        return [self._blocks[key] for key in known]

    def put(self, keys: Sequence[bytes], block: Callable[[int], Block], nbytes: int) -> None:
        """Keep the beginning of a chain; ``block`` makes the block of a number, of ``nbytes`` bytes.

        Raises what ``block`` raises; blocks before that one are kept.
        """
        keys = keys[: self.most // max(1, nbytes)]
        try:
            for number, key in enumerate(keys):
                if key in self._blocks:
                    self._blocks.move_to_end(key)
                    continue
                while self._nbytes + nbytes > self.most:
                    self._drop()
                made = block(number)
                self._blocks[key] = made
                self._nbytes += made.nbytes
        finally:
            self._touch([key for key in keys if key in self._blocks])

    def _touch(self, keys: Sequence[bytes]) -> None:
        for key in reversed(keys):
            self._blocks.move_to_end(key)

    def _drop(self) -> None:
        _, block = self._blocks.popitem(last=False)
        self._nbytes -= block.nbytes

    def clear(self) -> None:
        """Drop all blocks."""
        self._blocks.clear()
        self._nbytes = 0


@final
class Prefixes:
    """The cache of an engine: which rows its sessions take from it, and which they leave in it."""

    def __init__(self, most: int, program: Program, dropped: frozenset[str] | None, kernels: Kernels) -> None:
        """``most`` bytes of rows of all tensors but those in ``dropped``."""
        self.cache = PrefixCache(most)
        self._kernels = kernels
        kept = sum(program.specs[n].nbytes for n in program.group_of if not dropped or n not in dropped)
        self._block = ROWS * (kept + DIGEST * len(program.committed))

    def use(self, session: Session) -> None:
        """Take the rows with which a session begins, as far as they are known.

        The last row of the prompt is computed in any case, since the answer's first token follows from it.
        """
        if not self.cache.most or not session.shares:
            return
        for block in self.cache.find(self._keys(session, session.prompt - 1)):
            session.trace.paste(session.request.suite, session.done, block)
            session.done += ROWS
            session.taken += ROWS

    def leave(self, session: Session) -> None:
        """Keep the rows that a session has computed."""
        if not self.cache.most or not session.shares or session.done < ROWS:
            return
        trace, suite = session.trace, session.request.suite

        def block(number: int) -> Block:
            return trace.copy(suite, number * ROWS, (number + 1) * ROWS, self._kernels)

        with suppress(MemoryError):  # they are kept to save time only
            self.cache.put(self._keys(session, session.done), block, self._block)

    def _keys(self, session: Session, rows: int) -> list[bytes]:
        (prompt,) = session.inputs.values()
        tokens = np.concatenate([prompt, np.array(session.answer, np.int32)])[:rows]
        return self.cache.keys(session.scope, session.request.suite, tokens.astype("<i4").tobytes())
