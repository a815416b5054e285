"""Make keys, and codes for public proofs, of large models in shards (docs/guides/scaling.md#keys-and-codes).

A key has an entry for each weight, which takes that weight only. So weights are dealt out in shards of about
equal bytes. Codes for public proofs join rows of many weights: a shard is a code, and reads the weights whose
planes are in it. Both give what one process gives, byte for byte.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import U8
from proofcompute.encoding import wire
from proofcompute.errors import ProofcomputeError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_KEY
from proofcompute.models.file import ModelFile
from proofcompute.program.types import WeightSpec
from proofcompute.public.publishing import RHO, Published, code_digests, code_weights, joined
from proofcompute.scaling.executor import Executor, Failed
from proofcompute.verifier.key import Entry, Key, decode_entry, encode_entry
from proofcompute.verifier.keymaking import check_columns, entry_of
from proofcompute.verifier.partial import SEED

__all__ = ["keygen_sharded", "publish_sharded", "shards"]

_R = TypeVar("_R")

_EACH: Final = 4
"""Shards for each worker, so that none waits long for the last one."""


def shards(weights: Sequence[WeightSpec], count: int) -> list[tuple[str, ...]]:
    """Return the names of weights in at most ``count`` shards of about equal bytes, the largest first."""
    sizes, held = [0] * count, [list[str]() for _ in range(count)]
    for spec in sorted(weights, key=lambda s: (-s.rows * s.row_bytes, s.name)):
        least = sizes.index(min(sizes))
        sizes[least] += spec.rows * spec.row_bytes
        held[least].append(spec.name)
    return [tuple(names) for names in held if names]


# -- keys ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, repr=False)
class _KeyShard:
    """The weights of a shard, and the secret seed from which a key is made."""

    model: str
    names: tuple[str, ...]
    seed: bytes
    columns: int
    device: str


def _key_shard(shard: _KeyShard) -> list[tuple[str, bytes]]:
    """Make the entries of a shard."""
    file, kernels = ModelFile.open(shard.model), kernels_for(shard.device)
    found = []
    for name in shard.names:
        entry = entry_of(file, file.card.program.weight[name], shard.seed, shard.columns, kernels)
        found.append((name, wire.encode(encode_entry(entry))))
    return found


def keygen_sharded(
    executor: Executor,
    model: StrPath,
    *,
    workers: int,
    columns: int = 2,
    seed: bytes | None = None,
    device: str = "cpu",
) -> Key:
    """Make a private key of a model file, as :func:`proofcompute.keygen` does, by several workers.

    Workers see the secret of the key, so they must be machines of the auditor's own, and so must what carries
    items to them. Each reads its weights from the file.

    Raises what :func:`proofcompute.keygen` raises, and WorkerLost if workers died too often.
    """
    path = path_of(model)
    file = ModelFile.open(path)
    check_columns(file, columns, seed)
    secret = secrets.token_bytes(SEED) if seed is None else seed
    weights = file.card.program.weights
    items = {
        str(number): _KeyShard(str(path), names, secret, columns, device)
        for number, names in enumerate(shards(weights, _EACH * workers))
    }
    entries: dict[str, Entry] = {}
    for _, found in executor.run(_key_shard, items):
        for name, data in _require(found):
            value = wire.decode(data, limit=MAX_KEY, what="entry of a key")
            entries[name] = decode_entry(file.card.program.weight[name], value, columns)
    return Key.of(file.card, secret, columns, [entries[spec.name] for spec in weights])


# -- codes ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _CodeShard:
    """A code of a model."""

    model: str
    code: int
    rho: int
    device: str


def _code_shard(shard: _CodeShard) -> U8:
    """Make the digests of a code."""
    return code_digests(ModelFile.open(shard.model), kernels_for(shard.device), shard.code, rho=shard.rho)


def publish_sharded(executor: Executor, model: StrPath, *, rho: int = RHO, device: str = "cpu") -> Published:
    """Publish a model file, as :func:`proofcompute.public.publishing.publish` does, a code for each worker.

    Raises what that raises, and WorkerLost if workers died too often.
    """
    path, kernels = path_of(model), kernels_for(device)
    file = ModelFile.open(path)
    codes = code_weights(file.card.program, rho)
    items = {str(code): _CodeShard(str(path), code, rho, device) for code in range(len(codes))}
    digests: dict[int, U8] = {}
    for name, found in executor.run(_code_shard, items):
        digests[int(name)] = _require(found)
    return joined(file, kernels, [digests[code] for code in range(len(codes))], rho=rho)


def _require(found: _R | Failed) -> _R:
    """Return a result. Raises the error of a shard that failed."""
    if isinstance(found, Failed):
        if isinstance(found.error, ProofcomputeError | MemoryError | OSError):
            raise found.error
        raise ProofcomputeError(f"a shard failed: {found.error}") from found.error
    return found
