"""A trace: the committed tensors of one request, row by row (design, sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proofcompute import hashing, merkle
from proofcompute.kernels import U8, Array, Kernels, Memory
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
        alike: dict[Any, list[int]] = {}
        for index, group in enumerate(program.committed):
            specs = [program.specs[name] for name in group.tensors]
            kind = (id(self._home(index)), *((s.shape, s.numpy) for s in specs))
            alike.setdefault(kind, []).append(index)
        self._alike = list(alike.values())
        """Groups whose leaves are hashed together: in one memory, of the same shapes and types."""
        self._leaves: list[list[U8]] = [[] for _ in self._alike]
        """Leaves of each of these of the rows hashed so far, [groups, n, 32] each."""

    def _home(self, index: int) -> Memory:
        return self._homes.get(self.program.committed[index].tensors[0], self.memory)

    def group(self, index: int, a: int, b: int) -> U8:
        """Leaf data of rows a..b of a committed group."""
        return join_rows(self.program, index, self.arrays, a, b, self._home(index))

    def _hash(self, suite: str, alike: list[int], a: int, b: int, kernels: Kernels) -> U8:
        """Leaves of rows a..b, [groups, b - a, 32]."""
        committed = [self.program.committed[i] for i in alike]
        tags = [hashing.tag(suite, "rows", group.name) for group in committed]
        rows = [[self.arrays[name][a:b] for name in group.tensors] for group in committed]
        return merkle.leaves_of_groups(suite, tags, rows, kernels)

    def hash_ahead(self, suite: str, rows: int, kernels: Kernels) -> None:
        """Hash the leaves of finished rows, in the request's suite, beside what is computed next.

        Does nothing until as many rows are finished as the backend finds worth it.
        """
        ahead = self.memory.ahead
        if not ahead or rows - self._hashed < ahead:
            return
        with self.memory.aside():
            for alike, leaves in zip(self._alike, self._leaves, strict=True):
                leaves.append(self._hash(suite, alike, self._hashed, rows, kernels))
        self._hashed = rows

    def seals(self, suite: str, rows: int, kernels: Kernels) -> list[bytes]:
        """Sealed roots of all groups, over their first ``rows`` rows. Trees in one memory grow together."""
        found: dict[int, tuple[list[int], list[U8]]] = {}
        for alike, done in zip(self._alike, self._leaves, strict=True):
            parts = list(done)
            if rows > self._hashed or not parts:
                parts.append(self._hash(suite, alike, self._hashed, rows, kernels))
            flat = kernels.beside([part.reshape(len(alike), -1) for part in parts])
            leaves = kernels.cut(flat, 0, rows * hashing.DIGEST).reshape(len(alike), rows, hashing.DIGEST)
            numbers, forest = found.setdefault(id(self._home(alike[0])), ([], []))
            numbers += alike
            forest.append(leaves)
        roots: dict[int, bytes] = {}
        for numbers, forest in found.values():
            made = merkle.roots(suite, kernels.join(forest), kernels)
            roots |= zip(numbers, made, strict=True)
        return [group_seal(self.program, suite, i, rows, roots[i]) for i in range(len(roots))]
