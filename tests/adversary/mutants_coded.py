"""Mutants of public proofs without weights, and the attacks that pass without each check."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO, cast

from adversary.mutants import VERIFY, Mutant, V
from adversary.mutation import Edit
from proofcompute.public import evaluation
from proofcompute.public.holder import CodedHolder
from proofcompute.public.proof import Proof, ProofHead, write_proof
from proofcompute.public.proving import coded_challenge, verify_proof
from proofcompute.public.sums import Sums
from proofcompute.public.transcript import Proved, absorbed, begun
from proofcompute.verifier import Verified, check_receipt
from proofcompute.verifier.verify import audit
from public.world import KERNELS, POSITIONS, SECURITY, answered, changed, model, published, request

KIND = "w8a16"


class TwoFaced:
    """A file of which a part reads differently from the second time on that its beginning is read."""

    def __init__(self, first: bytes, second: bytes, start: int) -> None:
        self._faces, self._start, self._readings = (io.BytesIO(first), io.BytesIO(second)), start, 0

    def _face(self) -> BinaryIO:
        return self._faces[min(1, max(0, self._readings - 1))]

    def tell(self) -> int:
        return self._face().tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        for face in self._faces:
            face.seek(offset, whence)
        self._readings += whence == 0 and offset == self._start
        return self.tell()

    def read(self, size: int = -1) -> bytes:
        data = self._face().read(size)
        for face in self._faces:
            face.seek(self._face().tell())
        return data


@dataclass(frozen=True)
class CodedCase:
    """A proof as its verifier reads it."""

    first: bytes
    second: bytes
    start: int

    def verify(self) -> Verified:
        stream = cast(BinaryIO, TwoFaced(self.first, self.second, self.start))
        (found,) = verify_proof(
            published(KIND).key, [request(KIND)], stream, kernels=KERNELS, security=SECURITY
        )
        return found


def rows_known_first() -> CodedCase:
    """What is hashed is not what is checked, so whoever can change the file knows the random rows first."""
    one, key = answered(KIND), published(KIND).key
    honest = one.opening.read()
    shown = changed(honest, len(honest) // 2)
    claim = check_receipt(key, one.request, one.receipt, None)
    challenge = coded_challenge(claim, one.cells)
    digest = absorbed(Proved(claim, challenge, io.BytesIO(shown))).digest
    transcript = begun(key.public_id, POSITIONS, [digest])
    sums = Sums(key, transcript.challenge("rows").read(32))
    holder = CodedHolder(key, sums, 0, POSITIONS)
    audit(holder, one.request, claim, challenge, io.BytesIO(honest), kernels=KERNELS, progress=None)
    made = evaluation.prove(
        transcript,
        [sums],
        lambda plane: plane.matrix(model(KIND).matrix(plane.weight)),
        published(KIND).trees,
        POSITIONS,
        KERNELS,
    ).encode()
    faces = []
    for opening in (shown, honest):
        out = io.BytesIO()
        head = ProofHead(key.public_id, POSITIONS, (one.cells,), (digest,))
        write_proof(out, head, [one.receipt], [(io.BytesIO(opening), len(opening))], made)
        faces.append(out.getvalue())
    start = faces[1].index(honest[:64])
    assert Proof.read(io.BytesIO(faces[1])).openings[0].read(64) == honest[:64]
    return CodedCase(faces[0], faces[1], start)


CODED_MUTANTS: dict[str, Mutant] = {
    "coded hints are those hashed": Mutant(
        (VERIFY + "_check_opening: 6: the opening is not the one that was read before",),
        (Edit(V, "if known not in (None, end.frames):", "if known not in (known, end.frames):"),),
        rows_known_first,
    ),
}
