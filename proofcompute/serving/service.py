"""Hold what a service serves: models with their runners, keys, limits, receipts and numbers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import cached_property
from typing import Any, Final, ParamSpec, Protocol, TypeVar, final

from proofcompute.arithmetic.devices import kernels_for, warm_up
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Keep
from proofcompute.errors import InputError, MismatchError
from proofcompute.limits import KIB
from proofcompute.models.model import Model
from proofcompute.openai import Json, model_object
from proofcompute.protocol.messages import Challenge, Receipt, Terms
from proofcompute.prover.admission import RunnerLimits
from proofcompute.prover.opening import Ending, Hearer
from proofcompute.prover.reporting import RunnerState
from proofcompute.prover.runner import Runner
from proofcompute.prover.ticket import Ticket
from proofcompute.public.openings import ProofMaker
from proofcompute.public.publishing import Published, check_leaves, load_published
from proofcompute.serving.clients import ApiKeys, Client, Clients, Nonces, addresses_of
from proofcompute.serving.metrics import Metrics, ModelMetrics
from proofcompute.serving.rate import busy_rate, stated
from proofcompute.serving.receipts import Receipts
from proofcompute.serving.refusals import Refusal
from proofcompute.serving.settings import ServiceLimits, Settings
from proofcompute.serving.turns import Turns
from proofcompute.serving.waste import Opened, Waste
from proofcompute.tokens import Prompter
from proofcompute.tokens.embedding import Embedder, embeds

__all__ = ["Served", "Service"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_PREPARING = 2
"""Threads that read bodies and make requests of them."""
_SMALL: Final = 256 * KIB
"""Most bytes of a body that these threads read; larger ones have a thread, so that nobody waits for them."""
_LEAVES: Final = 4
"""Random positions of each code that are computed from the weights when a service is loaded."""
_DRAIN_AGAIN = 10.0
"""Seconds after which a client may ask again while the service stops: another one may run then."""


@final
class Served:
    """One model that is served."""

    def __init__(self, name: str, runner: Runner, published: Published | None = None) -> None:
        """Serve a model; raises MismatchError if what is published is of another model."""
        card = runner.model.card
        self.name = name
        self.runner = runner
        self.prompter = Prompter(card) if card.program.feedback and card.vocabulary is not None else None
        """None if the model is not a language model."""
        self.embedder = Embedder(card) if embeds(card) else None
        """None if the model gives no embeddings of texts."""
        opener = runner.opener
        self._maker = None if published is None else ProofMaker(published, runner.model, opener.kernels)

    def proof(self, receipt: Receipt, challenge: Challenge) -> tuple[Hearer | None, Ending | None]:
        """Return what makes the public proof that a challenge asks for; nothing if it asks for none.

        Raises InputError or LimitError if the node makes no such proof.
        """
        if challenge.proof is None:
            return None, None
        if self._maker is None:
            raise InputError("this node makes no public proofs of this model; see its terms")
        return self._maker.begin(receipt, challenge)

    @property
    def model_id(self) -> bytes:
        """The model id."""
        return self.runner.model.model_id

    @cached_property
    def card(self) -> bytes:
        """The model's card, encoded."""
        return self.runner.model.card.encode()


class Kept(Protocol):
    """Requests and receipts of calls, as two frames, by the receipt's digest."""

    def get(self, digest: bytes) -> bytes | None:
        """Return the frames of a call; None if they are not kept."""


def _by_model(published: Sequence[Published], terms: Terms | None) -> dict[bytes, Published]:
    """Return what is published of each model. Raises InputError if terms promise proofs by other codes."""
    found = {one.key.card.model_id: one for one in published}
    if len(found) < len(published):
        raise InputError("two public keys are of the same model; proofs are made by one of them")
    if terms is not None and set(terms.proofs) - {one.key.public_id for one in published}:
        raise InputError("the terms promise public proofs by codes that are not here")
    return found


@final
class Service:
    """A node that serves models over HTTP; :func:`proofcompute.serving.application` makes the application.

    Args:
        models: the models by name; or runners that have been started, of the same identity, which are neither
            started nor closed here.
        identity: the key pair that signs.
        kernels: the backend that computes.
        terms: the node's signed terms; None: it states none.
        limits: how much is taken from clients, and how long they are waited for.
        runner: what is computed at a time, for each model.
        rows: most rows of all requests to a model in one step.
        chunk: most rows of one request in one step.
        keep: what stays of the rows that were computed.
        trace_bytes: most bytes of traces that are kept for openings, for each model.
        prefixes: most bytes of the cache of prefixes, for each model; 0: none.
        shared_prefixes: whether clients share rows of prompts that begin alike.
        keys: the keys that clients must show; None: anybody may ask.
        proxies: addresses of proxies whose header X-Forwarded-For names the client.
        kept: where requests and receipts of calls are that came otherwise than over HTTP.
        published: public keys of models with the trees over their codes, at most one of each model; openings
            end with public proofs then, if challenges ask for them. Terms promise no others.

    Raises InputError if public proofs are promised that cannot be made, and MismatchError for a public key of
    a model that is not served.
    """

    def __init__(
        self,
        models: Mapping[str, Model | Runner],
        identity: NodeIdentity,
        kernels: Kernels,
        *,
        terms: Terms | None = None,
        limits: ServiceLimits | None = None,
        runner: RunnerLimits | None = None,
        rows: int = 512,
        chunk: int = 256,
        keep: Keep = Keep.ALL,
        trace_bytes: int = 1 << 30,
        prefixes: int = 0,
        shared_prefixes: bool = False,
        keys: ApiKeys | None = None,
        proxies: frozenset[str] = frozenset(),
        kept: Sequence[Kept] = (),
        published: Sequence[Published] = (),
    ) -> None:
        self.kept = tuple(kept)
        self.identity = identity
        self.public = identity.public
        self.terms = terms
        self.limits = limits or ServiceLimits()
        self.keys = keys
        self.proxies = addresses_of(proxies)
        self._shared_prefixes = shared_prefixes
        self.metrics = Metrics()
        self.receipts = Receipts(self.limits.receipts)
        self.clients = Clients(self.limits.client_requests, self.limits.client_rows)
        self.challengers = Clients(self.limits.client_openings, 1)
        self.turns = Turns(self.limits.openings, self.limits.turns)
        least = 2 * max(self.limits.body, self.limits.proof_body)  # a body must fit, beside others
        self.waste = Waste(max(self.limits.waste, least), self.limits.waste_rate)
        self.nonces = Nonces()
        self.opened = Opened()
        self.created = int(time.time())
        self.draining = False
        """Whether new requests are refused because the service is about to stop."""
        self.active = 0
        """Requests that are answered now, whatever they ask for."""
        self.body_bytes = 0
        """Bytes of the bodies of all requests that are read or answered now."""
        self.models: dict[str, Served] = {}
        self._by_id: dict[bytes, Served] = {}
        self._lent = {name for name, model in models.items() if isinstance(model, Runner)}
        """The models whose runners others start and close."""
        codes = _by_model(published, terms)
        for name, model in models.items():
            if isinstance(model, Runner):
                made = model
            else:
                made = Runner(
                    model,
                    identity,
                    device=kernels,
                    terms=terms,
                    limits=runner,
                    rows=rows,
                    chunk=chunk,
                    keep=keep,
                    trace_bytes=trace_bytes,
                    prefixes=prefixes,
                    events=ModelMetrics(self.metrics, name),
                )
            served = self.models[name] = Served(name, made, codes.get(made.model.model_id))
            self._by_id.setdefault(made.model.model_id, served)
            self.metrics.watch(name, made)
        if codes.keys() - self._by_id.keys():
            raise MismatchError("a public key is of a model that is not served here")
        self._stack = AsyncExitStack()
        self._preparing = ThreadPoolExecutor(_PREPARING, "proofcompute-prepare")
        self._reading = ThreadPoolExecutor(1, "proofcompute-read")
        self._opening = ThreadPoolExecutor(self.limits.openings, "proofcompute-open")
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    def load(settings: Settings) -> Service:
        """Load identity, keys, models and kernels, and measure the terms' rate if it is not given.

        Raises InputError if a file cannot be used, and DeviceError if there is no such device.
        """
        identity = NodeIdentity.load(settings.identity)
        keys = None if settings.api_keys is None else ApiKeys.load(settings.api_keys)
        kernels = kernels_for(settings.device)
        if kernels.name == "numba":  # else a first request waits for it, or an opening is late
            warm_up()
        models = {name: Model.load(path) for name, path in settings.models}
        published = [load_published(path, kernels) for path in settings.published]
        by_id = {model.model_id: model for model in models.values()}
        for one in published:  # proofs by other codes would contradict this node
            if (coded := by_id.get(one.key.card.model_id)) is not None:
                check_leaves(one, coded, kernels, _LEAVES)
        rate = settings.rate
        if rate is None:
            rate = min(
                stated(busy_rate(model, kernels, min(settings.rows, settings.chunk)))
                for model in models.values()
            )
        return Service(
            models,
            identity,
            kernels,
            terms=Terms.of(
                identity,
                base=settings.base,
                rate=rate,
                retention=settings.retention,
                proofs=[one.key.public_id for one in published],
            ),
            limits=settings.limits,
            runner=settings.runner,
            rows=settings.rows,
            chunk=settings.chunk,
            keep=settings.keep,
            trace_bytes=settings.trace_bytes,
            prefixes=settings.prefixes,
            shared_prefixes=settings.shared_prefixes,
            keys=keys,
            proxies=settings.proxies,
            published=published,
        )

    # -- starting and stopping ---------------------------------------------------------------------------
    async def start(self) -> None:
        """Start the runners."""
        for name, served in self.models.items():
            if name not in self._lent:
                await self._stack.enter_async_context(served.runner)
            if served.prompter is not None:
                self._stack.push_async_callback(asyncio.to_thread, served.prompter.close)
                await asyncio.to_thread(served.prompter.ready)
            if served.embedder is not None:
                await asyncio.to_thread(served.embedder.ready)

    async def drain(self) -> bool:
        """Refuse new requests, wait until the others are answered, and return whether they were in time."""
        self.draining = True
        for served in self.models.values():
            served.runner.refuse()
        end = time.monotonic() + self.limits.drain_seconds
        while self.active and time.monotonic() < end:
            await asyncio.sleep(0.05)
        return not self.active

    async def close(self) -> None:
        """Stop the runners; requests that still run fail."""
        self.draining = True
        await self._stack.aclose()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for threads in (self._preparing, self._reading, self._opening):
            threads.shutdown(wait=False, cancel_futures=True)

    @property
    def status(self) -> str:
        """``ok``, ``draining``, or ``failed`` if the device of any model has failed."""
        states = {served.runner.state for served in self.models.values()}
        if RunnerState.FAILED in states:
            return "failed"
        return "draining" if self.draining or RunnerState.STOPPED in states else "ok"

    @property
    def failed(self) -> bool:
        """Whether no model can be served any more."""
        return all(served.runner.state is RunnerState.FAILED for served in self.models.values())

    # -- what requests need ------------------------------------------------------------------------------
    def model(self, name: str) -> Served:
        """Return a model by its name or its model id (hex). Raises Refusal (404) if there is none."""
        found = self.models.get(name)
        if found is None and len(name) == 64:
            try:
                found = self._by_id.get(bytes.fromhex(name))
            except ValueError:
                found = None
        if found is None:
            raise Refusal.of(404, "there is no such model here; see /v1/models", "model_not_found")
        return found

    def model_of(self, receipt: Receipt) -> Served:
        """Return the model that a receipt names. Raises InputError if it is not served."""
        found = self._by_id.get(receipt.model_id)
        if found is None:
            raise InputError("the receipt is of a model that is not served here")
        return found

    def prefix_scope(self, client: Client) -> bytes:
        """Return what separates the prompts of clients in the cache of prefixes.

        A prompt whose beginning is there is answered sooner, so by the time clients that share it can guess
        what others asked.
        """
        return b"" if self._shared_prefixes else client.scope

    def describe(self, served: Served) -> dict[str, Json]:
        """Return the object of a model in OpenAI's form."""
        return model_object(served.name, served.model_id, self.created)

    async def prepare(self, nbytes: int, call: Callable[_P, _R], *args: _P.args, **named: _P.kwargs) -> _R:
        """Call a function on a thread that reads bodies of so many bytes; large ones wait for each other."""
        threads = self._preparing if nbytes <= _SMALL else self._reading
        return await asyncio.get_running_loop().run_in_executor(threads, lambda: call(*args, **named))

    async def open(self, call: Callable[_P, _R], *args: _P.args, **named: _P.kwargs) -> _R:
        """Call a function on a thread that makes openings."""
        return await asyncio.get_running_loop().run_in_executor(self._opening, lambda: call(*args, **named))

    def require_open(self) -> None:
        """Raise Refusal (503) if no new requests are taken."""
        if self.draining:
            raise Refusal.of(
                503, "the node is about to stop", "draining", kind="server_error", wait=_DRAIN_AGAIN
            )

    def give_up(self, client: Client, ticket: Ticket) -> None:
        """Cancel what a client left, and keep the receipt of what was computed until then."""
        ticket.cancel()
        self._later(self._keep_rest(client, ticket))

    async def _keep_rest(self, client: Client, ticket: Ticket) -> None:
        outcome = (await asyncio.gather(ticket.answer(), return_exceptions=True))[0]
        if not isinstance(outcome, BaseException):
            for request in (ticket.request, outcome.request):
                self.receipts.keep(client, request.digest, outcome.receipt)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
