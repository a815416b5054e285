"""Carry requests, receipts and openings between Axon and Dendrite of Bittensor's SDK 10.

There are two exchanges, each a subclass of the SDK's Synapse, with the bytes of our messages in base64:
``ProofAnswer`` takes a request and brings its receipt, ``ProofOpening`` takes request, receipt and challenge
and brings the opening. What a validator sends are the fields that the body's hash covers, so Dendrite's
signature covers them, and Axon refuses a body that differs.

Nothing else in a Synapse is signed: not what a miner answers, not the status, not whose hotkey it says it
has. So a validator reads receipt and opening, and nothing else, and the node's own signature and the ten
steps decide. A request must address a node, or a miner could pass on the receipt of another one.

A miner checks what the SDK does, and one thing before it: the nonce, which is signed, must be of the last
seconds. The SDK's own check of that uses the timeout and the version that the sender states, which nobody
signed, and a miner that started again has forgotten the nonces that were used.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import import_module
from inspect import Parameter, Signature
from typing import Any, Final, NamedTuple, Protocol, Tuple  # noqa: UP035 - Axon compares with Tuple itself

from proofcompute.errors import InputError, ServiceError, VerificationError
from proofcompute.errors.extras import lacking
from proofcompute.limits import MAX_RECEIPT, MIB
from proofcompute.networks.bittensor.auth import MAX_AGE, SKEW, Refused
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.verifier import Verified
from proofcompute.verifier.auditor import CELLS, Auditor, Cells

__all__ = ["Exchanges", "attach", "audit", "exchanges", "sent"]

MAX_SENT: Final = 16 * MIB
"""The most bytes of a request, a receipt or a challenge that a miner reads; each is four thirds in base64."""
MAX_OPENING: Final = 256 * MIB
"""The most bytes of an opening that a validator reads."""


class Exchanges(NamedTuple):
    """The subclasses of Synapse; Axon and Dendrite name them in the paths of URLs."""

    answer: Any
    """ProofAnswer: ``request``, and ``receipt`` of the miner."""
    opening: Any
    """ProofOpening: ``request``, ``receipt``, ``challenge``, and ``opening`` of the miner."""


class Serves(Protocol):
    """What answers: a :class:`~proofcompute.Node`."""

    def answer(self, request: Request) -> Any:
        """Return an answer with its receipt."""
        ...

    def open(self, request: Request, receipt: bytes, challenge: Challenge) -> bytes:
        """Return the opening of a challenge."""
        ...


@cache
def exchanges() -> Exchanges:
    """Return the subclasses of Synapse. Raises UnsupportedError without SDK 10."""
    try:
        base = import_module("bittensor.core.synapse").Synapse
    except ModuleNotFoundError as e:
        raise lacking(e, "the Synapse of Bittensor's SDK 10") from e
    pydantic = import_module("pydantic")

    def made(name: str, asked: tuple[str, ...], answered: str) -> Any:
        # A frozen field is one that Dendrite does not overwrite by what the miner answers.
        limited = pydantic.Field(max_length=-(-MAX_SENT // 3) * 4, frozen=True, repr=False)
        fields = dict.fromkeys(asked, (str, limited))
        last = (str | None, pydantic.Field(default=None, repr=False))
        found = pydantic.create_model(name, __base__=base, **fields, **{answered: last})
        found.required_hash_fields = asked
        return found

    return Exchanges(
        made("ProofAnswer", ("request",), "receipt"),
        made("ProofOpening", ("request", "receipt", "challenge"), "opening"),
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes | None:
    """Return what a text encodes, or None if it is not the one form of anything in base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if _text(data) == text else None


# -- the miner --------------------------------------------------------------------------------------------


def _received(synapse: Any, field: str) -> bytes:
    data = _bytes(getattr(synapse, field))
    if data is None:
        raise InputError(f"the {field} of a synapse is not canonical base64")
    return data


def attach(axon: Any, node: Serves, allowed: Callable[[str], bool] | Collection[str]) -> None:
    """Let an Axon answer and open by a node, for hotkeys that may ask.

    Calls reach the node one after the other, from one thread of its own.

    Args:
        axon: ``bittensor.core.axon.Axon``, not started yet.
        node: whose receipts it gives.
        allowed: addresses of hotkeys, or what says so of an address, such as a look at the metagraph.
    """
    thread = ThreadPoolExecutor(1, "proofcompute-axon")
    kinds = exchanges()

    async def answer(synapse: Any) -> Any:
        request = Request.decode(_received(synapse, "request"))
        found = await asyncio.get_running_loop().run_in_executor(thread, node.answer, request)
        return synapse.model_copy(update={"receipt": _text(found.receipt)})

    async def open_(synapse: Any) -> Any:
        request = Request.decode(_received(synapse, "request"))
        receipt, challenge = _received(synapse, "receipt"), Challenge.decode(_received(synapse, "challenge"))
        work = partial(node.open, request, receipt, challenge)
        opening = await asyncio.get_running_loop().run_in_executor(thread, work)
        return synapse.model_copy(update={"opening": _text(opening)})

    _attach(axon, kinds.answer, answer, allowed)
    _attach(axon, kinds.opening, open_, allowed)


def _attach(
    axon: Any,
    kind: Any,
    forward: Callable[[Any], Awaitable[Any]],
    allowed: Callable[[str], bool] | Collection[str],
) -> None:
    """Attach what answers one kind of synapse, with what is checked before it."""

    async def verify(synapse: Any) -> None:
        nonce = None if synapse.dendrite is None else synapse.dendrite.nonce
        if nonce is None or not -SKEW * 1e9 <= time.time_ns() - nonce <= MAX_AGE * 1e9:
            raise Refused("stale", "the request's nonce is too old, or of the future")
        await axon.default_verify(synapse)

    def blacklist(synapse: Any) -> tuple[bool, str]:
        # The signature is checked after this, so that the hotkey is whose it says.
        hotkey = None if synapse.dendrite is None else synapse.dendrite.hotkey
        known = hotkey is not None and (allowed(hotkey) if callable(allowed) else hotkey in allowed)
        return not known, "this hotkey may not ask here"

    # Axon knows by signatures what a function takes; the annotations of this module are texts to it.
    parameter = Parameter("synapse", Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
    returned: tuple[tuple[Any, Any], ...] = (
        (forward, kind),
        (blacklist, Tuple[bool, str]),  # noqa: UP006
        (verify, None),
    )
    for function, what in returned:
        function.__signature__ = Signature([parameter], return_annotation=what)
    axon.attach(forward_fn=forward, blacklist_fn=blacklist, verify_fn=verify)


# -- the validator ----------------------------------------------------------------------------------------


def sent(synapse: Any, field: str, limit: int) -> bytes:
    """Return the bytes that a miner put into a field of a synapse.

    Raises ServiceError if there are none, which proves nothing, and VerificationError (step 1) if there are
    too many, or they are not canonical base64.
    """
    text = getattr(synapse, field)
    if not isinstance(text, str):
        status, said = synapse.dendrite.status_code, str(synapse.dendrite.status_message)
        raise ServiceError(f"the miner sent no {field} (status {status}: {said[:200]!r})")
    if len(text) > -(-limit // 3) * 4:
        raise VerificationError(1, f"the {field} of a synapse has more than {limit} bytes")
    data = _bytes(text)
    if data is None:
        raise VerificationError(1, f"the {field} of a synapse is not canonical base64")
    return data


async def audit(
    dendrite: Any,
    axon: Any,
    auditor: Auditor,
    request: Request,
    cells: Cells = CELLS,
    *,
    timeout: float = 60.0,
) -> tuple[bytes, Verified]:
    """Ask a miner, audit its answer, and return the receipt with what was verified.

    Args:
        dendrite: ``bittensor.core.dendrite.Dendrite`` of the validator.
        axon: what says where the miner is and which hotkey it has: ``AxonInfo`` of the metagraph.
        auditor: who checks, for the model that the miner must run.
        request: what is asked; it must address a node, whose key the caller knows to be the miner's.
        cells: what is audited, as :meth:`.Auditor.challenge` takes it.
        timeout: seconds for each of the two exchanges.

    Raises InputError for a request that addresses nobody, ServiceError if the miner sent nothing,
    VerificationError if a step fails, and the other errors of :meth:`.Auditor.check`.
    """
    if not request.node:
        raise InputError("a request to a miner addresses its node, or the receipt may be another miner's")
    kinds, asked = exchanges(), _text(request.encode())

    async def exchange(synapse: Any, field: str, limit: int) -> bytes:
        said = await dendrite.call(axon, synapse, timeout=timeout, deserialize=False)
        return sent(said, field, limit)

    receipt = await exchange(kinds.answer(request=asked), "receipt", MAX_RECEIPT)
    challenge = await asyncio.to_thread(auditor.challenge, request, receipt, cells)
    start = time.monotonic()
    whole = kinds.opening(request=asked, receipt=_text(receipt), challenge=_text(challenge.encode()))
    opening = await exchange(whole, "opening", MAX_OPENING)
    waited = time.monotonic() - start
    found = await asyncio.to_thread(auditor.check, request, receipt, challenge, opening, waited=waited)
    return receipt, found
