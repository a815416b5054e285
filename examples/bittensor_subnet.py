"""A subnet of Bittensor in small, with one validator: `python examples/bittensor_subnet.py`.

Eight miners run a network for whoever asks. Three of them cheat: one has other weights, one computes half of
its answers with other weights, and one alters the last layer of every fourth answer. The validator signs what
it asks with its hotkey (btauth/1), and audits two cells of each answer that it gets. After as many audits as
the plan says, the cheats have no weight: whoever was contradicted gets none.

Without arguments every answer is computed, proved and checked. `--simulations N` repeats only the draws of
answers and cells, since what a check finds of a drawn cell is certain, and says in how many of N the cheats
weigh less than one per cent.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import proofcompute as pc
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.client.detection import share_ruled_out
from proofcompute.errors import VerificationError
from proofcompute.models.model import Model
from proofcompute.networks.bittensor.auth import Nonces, authenticate, core, signed_headers
from proofcompute.networks.bittensor.weights import Score, audits_needed, chain_weights, score_to_weights
from proofcompute.testing import reweighted

ROWS, SEGMENTS, CELLS = 5, 2, 2
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Cheat:
    """How a miner cheats: which share of its answers it alters, and in which segments."""

    share: float
    segments: frozenset[int]

    @property
    def found(self) -> float:
        """The probability that the cells of an audit hit an altered cell."""
        missed, right, cells = 1.0, ROWS * (SEGMENTS - len(self.segments)), ROWS * SEGMENTS
        for i in range(CELLS):
            missed *= (right - i) / (cells - i)
        return 1 - missed


CHEATS = {
    2: Cheat(1.0, frozenset({0, 1})),
    4: Cheat(0.5, frozenset({0, 1})),
    7: Cheat(0.25, frozenset({1})),
}
"""The miners that cheat, by UID, of the UIDs 0 to 7."""
MINERS = 8


def planned() -> int:
    """Return how many audits of each miner find all three cheats with the confidence."""
    each = CONFIDENCE ** (1 / len(CHEATS))
    return max(audits_needed(cheat.share, cheat.found, each) for cheat in CHEATS.values())


def build() -> Model:
    """Build a network of two segments."""
    rng = np.random.default_rng(0)
    b = pc.ProgramBuilder()
    h = b.relu(b.linear(b.input("x", 24), rng.standard_normal((32, 24)).astype(np.float32)))
    b.cut(h)
    b.output(b.linear(h, rng.standard_normal((6, 32)).astype(np.float32), name="y"))
    return b.model()


def altered(model: Model, segments: frozenset[int]) -> Model:
    """Return a model that says it is this one and has other weights in some segments."""
    names = [n for n, w in model.weights.items() if isinstance(w, Matrix)]
    changed = {names[i] for i in segments}
    return reweighted(model, lambda n, w: replace(w, q=np.roll(w.q, 1, axis=1)) if n in changed else w)


@dataclass
class Miner:
    """A node with a hotkey, which answers whom it can tell."""

    hotkey: Any
    node: pc.Node
    other: pc.Node | None
    share: float
    rng: random.Random
    nonces: Nonces = field(default_factory=Nonces)
    used: dict[bytes, pc.Node] = field(default_factory=dict)

    def _asked(self, headers: dict[str, str], target: str, body: bytes) -> None:
        authenticate(
            headers, body, method="POST", target=target, me=self.hotkey.ss58_address, nonces=self.nonces
        )

    def answer(self, headers: dict[str, str], request: pc.Request) -> bytes:
        """Answer a signed request, as it is or altered."""
        self._asked(headers, "/answer", request.encode())
        cheats = self.other is not None and self.rng.random() < self.share
        node = self.other if cheats and self.other is not None else self.node
        receipt = node.answer(request).receipt
        self.used[receipt] = node
        return receipt

    def open(
        self, headers: dict[str, str], request: pc.Request, receipt: bytes, challenge: pc.Challenge
    ) -> bytes:
        """Open the cells of a signed challenge."""
        self._asked(headers, "/v1/proofs/open", challenge.encode())
        return self.used[receipt].open(request, receipt, challenge)


def audits(model: Model, rng: random.Random) -> Callable[[int], bool]:
    """Return what audits an answer of a miner, by its UID, and says whether it holds."""
    keys = core().Keypair
    auditor = pc.Auditor(pc.keygen(model, pc.kernels_for("numpy")))
    validator = keys.create_from_seed(rng.randbytes(32), core().CRYPTO_SR25519)
    miners = []
    for uid in range(MINERS):
        cheat, identity = CHEATS.get(uid), pc.NodeIdentity.new()
        other = None if cheat is None else pc.Node(altered(model, cheat.segments), identity, device="numpy")
        hotkey = keys.create_from_seed(rng.randbytes(32), core().CRYPTO_SR25519)
        honest = pc.Node(model, identity, device="numpy")
        share = 0.0 if cheat is None else cheat.share
        miners.append(Miner(hotkey, honest, other, share, random.Random(rng.random())))
    samples = np.random.default_rng(1).standard_normal((ROWS, 24)).astype(np.float32)

    def audit(uid: int) -> bool:
        miner = miners[uid]

        def signed(target: str, body: bytes) -> dict[str, str]:
            receiver = miner.hotkey.ss58_address
            return signed_headers(validator, method="POST", target=target, body=body, receiver=receiver)

        request = pc.array_request(model, samples, node=miner.node.public)
        receipt = miner.answer(signed("/answer", request.encode()), request)
        challenge = auditor.challenge(request, receipt, CELLS)
        headers = signed("/v1/proofs/open", challenge.encode())
        opening = miner.open(headers, request, receipt, challenge)
        try:
            auditor.check(request, receipt, challenge, opening)
        except VerificationError:
            return False
        return True

    return audit


def drawn(rng: random.Random) -> Callable[[int], bool]:
    """Return what draws answers and cells as the audits do, and computes nothing."""
    cells = [(segment, row) for segment in range(SEGMENTS) for row in range(ROWS)]

    def audit(uid: int) -> bool:
        cheat = CHEATS.get(uid)
        if cheat is None or rng.random() >= cheat.share:
            return True
        return not any(segment in cheat.segments for segment, _ in rng.sample(cells, CELLS))

    return audit


def validate(audit: Callable[[int], bool], number: int) -> dict[int, float]:
    """Audit every miner so often, and return their weights."""
    scores = {}
    for uid in range(MINERS):
        right = sum(audit(uid) for _ in range(number))
        low = 1 - share_ruled_out(number, CONFIDENCE) if right == number else 0.0
        scores[uid] = Score(low=low, high=1.0, contradicted=right < number, work=float(number))
    return score_to_weights(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--simulations", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    number = planned()
    print(f"{number} audits of each miner are planned")
    if given.simulations:
        below = 0
        for i in range(given.simulations):
            weights = validate(drawn(random.Random(f"{given.seed} {i}")), number)
            below += sum(weights[uid] for uid in CHEATS) < 0.01
        print(f"cheats weigh less than 1 % in {below} of {given.simulations} simulations")
        if below < CONFIDENCE * given.simulations:
            raise SystemExit("the plan does not hold")
        return
    weights = validate(audits(build(), random.Random(given.seed)), number)
    for uid, weight in weights.items():
        print(f"miner {uid}{' (cheats)' if uid in CHEATS else ''}: {weight:.3f}")
    print("the chain is given", *chain_weights(weights))
    if sum(weights[uid] for uid in CHEATS) >= 0.01:
        raise SystemExit("cheats have weight; this happens in one of twenty runs")


if __name__ == "__main__":
    main()
