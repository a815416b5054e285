"""A trace: the committed tensors of one request, row by row (design, sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proofcompute import hashing, merkle
from proofcompute.kernels import U8, Array, Memory
from proofcompute.numerics.memory import HOST
from proofcompute.program import Program

__all__ = ["Trace", "group_leaves", "group_seal", "join_rows", "split_rows", "trace_root"]

HashRows = Callable[[str, bytes, U8], U8]


def join_rows(
    program: Program, group: int, arrays: dict[str, Array], a: int, b: int, memory: Memory = HOST
) -> U8:
    """Leaf data of rows a..b of a group: the little-endian rows of its tensors side by side, [b-a, w]."""
    return memory.beside([arrays[name][a:b] for name in program.committed[group].tensors])


def split_rows(program: Program, group: int, data: U8, memory: Memory = HOST) -> dict[str, Array]:
    """The inverse of :func:`join_rows`: arrays [n, *shape] by tensor name."""
    out: dict[str, Array] = {}
    at = 0
    for name in program.committed[group].tensors:
        spec = program.specs[name]
        flat = memory.cut(data, at, at + spec.nbytes).reshape(-1).view(spec.numpy)
        out[name] = flat.reshape((data.shape[0], *spec.shape))
        at += spec.nbytes
    return out


def group_leaves(program: Program, suite: str, group: int, rows: U8, hash_rows: HashRows) -> U8:
    """Merkle leaves of a group's leaf data, [n, 32]."""
    tag = hashing.tag(suite, "rows", program.committed[group].name)
    return merkle.leaves(suite, tag, rows, hash_rows)


def group_seal(program: Program, suite: str, group: int, size: int, root: bytes) -> bytes:
    """The sealed root of one group: binds its name and its number of rows."""
    return hashing.seal(suite, "rows", program.committed[group].name, size, root)


def trace_root(suite: str, seals: list[bytes]) -> bytes:
    """Digest over the sealed roots of all committed groups, in program order."""
    return hashing.message_digest(suite, "trace", b"".join(seals))


class Trace:
    """Growing buffers of committed and public tensors of one request, and their Merkle trees."""

    def __init__(
        self,
        program: Program,
        capacity: int,
        memory: Memory = HOST,
        homes: Mapping[str, Memory] | None = None,
    ) -> None:
        """``homes`` says which part of a backend with several devices holds a tensor."""
        self.program = program
        self.capacity = capacity
        self.memory = memory
        self.arrays: dict[str, Array] = {}
        self._homes = homes or {}
        for name in (*program.group_of, *(n for n, _ in program.inputs)):
            spec = program.specs[name]
            memory = self._homes.get(name, self.memory)
            memory.operation = f"{capacity} rows of {name}"
            self.arrays[name] = memory.zeros((capacity, *spec.shape), spec.numpy)
            memory.operation = ""
        self._hashed = 0
        self._leaves: list[list[U8]] = [[] for _ in program.committed]

    def group(self, index: int, a: int, b: int) -> U8:
        """Leaf data of rows a..b of a committed group."""
        home = self._homes.get(self.program.committed[index].tensors[0], self.memory)
        return join_rows(self.program, index, self.arrays, a, b, home)

    def hash_ahead(self, suite: str, rows: int, hash_rows: HashRows) -> None:
        """Hash the leaves of finished rows, in the request's suite, beside what is computed next.

        Does nothing until as many rows are finished as the backend finds worth it.
        """
        ahead = self.memory.ahead
        if not ahead or rows - self._hashed < ahead:
            return
        with self.memory.aside():
            for index, leaves in enumerate(self._leaves):
                data = self.group(index, self._hashed, rows)
                leaves.append(group_leaves(self.program, suite, index, data, hash_rows))
        self._hashed = rows

    def tree(self, suite: str, index: int, rows: int, hash_rows: HashRows) -> merkle.Tree:
        """Merkle tree over the first ``rows`` rows of a committed group, in the request's suite."""
        parts = list(self._leaves[index])
        if rows > self._hashed or not parts:
            data = self.group(index, self._hashed, rows)
            parts.append(group_leaves(self.program, suite, index, data, hash_rows))
        return merkle.Tree(suite, self.memory.join(parts)[:rows], hash_rows, self.memory.join)

    def seals(self, suite: str, rows: int, hash_rows: HashRows) -> list[bytes]:
        """Sealed roots of all groups."""
        return [
            group_seal(self.program, suite, i, rows, self.tree(suite, i, rows, hash_rows).root)
            for i in range(len(self.program.committed))
        ]
