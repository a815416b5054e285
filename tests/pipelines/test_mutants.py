"""Every check of what a stage gives to a client matters: with it the node is named, without it it is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import httpx2
import numpy as np
import pytest

import synthetic
from adversary.mutation import PIPELINES, Edit, apply, raised_at, sites
from pipelines.forgetful import Changed, audited, opener, stage
from pipelines.line import IDENTITIES, MIDDLE, PIPELINE, ask, links, request
from proofcompute.arrays import Array
from proofcompute.client import pipeline as asking
from proofcompute.client.pipeline import ask_pipeline
from proofcompute.client.stages import HttpStage
from proofcompute.errors import InputError, ProofcomputeError, ServiceError, VerificationError
from proofcompute.limits import MAX_RECEIPT
from proofcompute.protocol.boundaries import Handed
from proofcompute.protocol.messages import Pipeline
from proofcompute.protocol.stage_calls import StepResult
from proofcompute.prover.stages import StageAnswer, StageNode
from proofcompute.testing import random_network, sample_request

MODEL = synthetic.model()
ASKED, REACHED, REOPENED = "client.pipeline", "client.stages", "client.reopening"
LAST = 2
Change = Callable[[StageAnswer], StageAnswer]
Attack = Callable[[pytest.MonkeyPatch], object]


class Twisted:
    """A stage's node, of whose answers one thing is changed."""

    def __init__(self, inner: Any, change: Change, roots: Callable[[Any], Any] = list) -> None:
        self.inner, self.change, self.roots = inner, change, roots

    def step(self, digest: bytes, end: int, tokens: Sequence[int], handed: Sequence[Handed]) -> StageAnswer:
        return self.change(self.inner.step(digest, end, tokens, handed))

    def finish(self, digest: bytes, outputs: Mapping[str, Array]) -> Any:
        return self.roots(self.inner.finish(digest, outputs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def same(found: StageAnswer) -> StageAnswer:
    return found


def twisted(at: int, change: Change = same, **more: Any) -> Attack:
    """Ask three stages, of which one changes what it gives."""

    def attack(patch: pytest.MonkeyPatch) -> object:
        nodes: list[Any] = list(links())
        nodes[at] = Twisted(nodes[at], change, **more)
        return ask(nodes)

    return attack


def handed(change: Callable[[dict[int, bytes]], dict[int, bytes]]) -> Change:
    return lambda found: found._replace(handed=change(dict(found.handed)))


def emitted(change: Callable[[Array], Array]) -> Change:
    return lambda found: found._replace(emitted={name: change(x) for name, x in found.emitted.items()})


def a_token_in_the_prompt(patch: pytest.MonkeyPatch) -> object:
    """A token after the first of several steps over the prompt."""
    patch.setattr(asking, "CHUNK", 4)
    name = MODEL.program.outputs[0]
    nodes: list[Any] = list(links())
    nodes[LAST] = Twisted(nodes[LAST], lambda found: found._replace(emitted={name: np.zeros(1, np.int32)}))
    return ask(nodes)


def nothing_at_all(patch: pytest.MonkeyPatch) -> object:
    """A network that is no decoder, whose last stage gives no rows."""
    model = random_network([8, 16, 16, 4])
    pipeline = Pipeline.of([1, 3], [IDENTITIES[0].public, IDENTITIES[1].public])
    nodes: list[Any] = [
        StageNode(model.part(pipeline.segments(i)), IDENTITIES[i], pipeline, i, device=synthetic.KERNELS)
        for i in range(2)
    ]
    nodes[1] = Twisted(nodes[1], lambda found: found._replace(emitted={}))
    return ask_pipeline(model, replace(sample_request(model, 5), node=pipeline.digest), pipeline, nodes)


def nothing_for_ever(patch: pytest.MonkeyPatch) -> object:
    """The last stage emits no token, and the client asks again and again."""
    nodes: list[Any] = list(links("emits nothing", LAST))
    steps = iter(range(50))

    def counted(found: StageAnswer) -> StageAnswer:
        if next(steps, None) is None:
            raise ServiceError("it was asked for ever")
        return found

    nodes[LAST] = Twisted(nodes[LAST], counted)
    return ask(nodes)


def handed_again(change: Callable[[Any], Any]) -> Attack:
    """Open what all stages have forgotten; the first one hands something else on than it did."""

    def attack(patch: pytest.MonkeyPatch) -> object:
        nodes: list[Any] = [Changed(stage(0), "rows", change), stage(1), stage(2)]
        return audited(opener(nodes, kept=False), MIDDLE)

    return attack


def over_http(*result: bytes, call: str = "step") -> Attack:
    """Call the node of a stage, which answers with these bytes."""

    def attack(patch: pytest.MonkeyPatch) -> object:
        stage = HttpStage("http://stage", MODEL.program)
        stage.close()
        stage._client = httpx2.Client(
            base_url="http://stage",
            transport=httpx2.MockTransport(lambda _: httpx2.Response(200, content=iter(result))),
        )
        with stage:
            if call == "sign":
                return stage.sign(bytes(32), [])
            return stage.step(bytes(32), 1, (), ())

    return attack


@dataclass(frozen=True)
class Mutant:
    """One check."""

    site: str
    """Where it raises: the beginning of its name."""
    step: int
    edits: tuple[Edit, ...]
    """What removes it."""
    attack: Attack
    node: int | None = None
    """The stage that is named."""
    behind: bool = False
    """Whether an honest stage that reads the rows stops the attack too."""


def never(module: str, condition: str) -> Edit:
    return Edit(module, f"if {condition}:", "if False:")


GIVEN = "tuple(sorted(found.handed)) != plan.hands or not set(found.emitted) <= set(plan.emits)"
AGAIN = "[len(part) for part in found] != [(b - a) * program.group_bytes(g) for g in plan.hands]"
ROWS = "rows.dtype != spec.numpy or rows.shape[1:] != spec.shape or many"
MUTANTS = {
    "a group left out": Mutant(
        "client/pipeline:_Run.require: 1: stage {} gave other groups",
        1,
        (never(ASKED, GIVEN),),
        twisted(MIDDLE, handed(lambda rows: {})),
        MIDDLE,
    ),
    "another's group": Mutant(
        "client/pipeline:_Run.require: 1: stage {} gave other groups",
        1,
        (never(ASKED, GIVEN),),
        twisted(MIDDLE, handed(lambda rows: {**rows, 0: next(iter(rows.values()))})),
        MIDDLE,
    ),
    "an output of another stage": Mutant(
        "client/pipeline:_Run.require: 1: stage {} gave other groups",
        1,
        (never(ASKED, GIVEN),),
        twisted(
            MIDDLE,
            lambda found: found._replace(emitted={MODEL.program.outputs[0]: np.zeros(1, np.int32)}),
        ),
        MIDDLE,
    ),
    "two tokens at once": Mutant(
        "client/pipeline:_Run.require: 1: stage {} gave rows that {} has not",
        1,
        (never(ASKED, ROWS),),
        twisted(LAST, emitted(lambda x: np.concatenate([x, x]))),
        LAST,
    ),
    "tokens of another type": Mutant(
        "client/pipeline:_Run.require: 1: stage {} gave rows that {} has not",
        1,
        (never(ASKED, ROWS),),
        twisted(LAST, emitted(lambda x: x.astype(np.int64))),
        LAST,
    ),
    "fewer rows": Mutant(
        "client/pipeline:_Run.require: 1: stage {} gave other rows than were asked",
        1,
        (never(ASKED, "len(data) != (end - grown.size) * program.group_bytes(group)"),),
        twisted(MIDDLE, handed(lambda rows: {g: data[:-4] for g, data in rows.items()})),
        MIDDLE,
    ),
    "other rows than it signs": Mutant(
        "client/pipeline:_Run.require: 7: stage {} signed another root",
        7,
        (never(ASKED, "grown.root() != root"),),
        lambda patch: ask(links("hands on other rows than it signs")),
        MIDDLE,
        behind=True,
    ),
    "a token in the prompt": Mutant(
        "client/pipeline:_Run.compute: 5: a token was emitted before",
        5,
        (never(ASKED, "done < known"),),
        a_token_in_the_prompt,
        LAST,
    ),
    "no token, for ever": Mutant(
        "client/pipeline:_Run.compute: 5: no stage emitted",
        5,
        (Edit(ASKED, "elif done == known:", "elif False:"),),
        nothing_for_ever,
    ),
    "what is no token": Mutant(
        "client/pipeline:_Run.ends: 5: a stage emitted what is no token",
        5,
        (Edit(ASKED, "check_indices(self.program, {self.program.inputs[0][0]: last})", "pass"),),
        lambda patch: ask(links("emits a token after the last", LAST)),
        LAST,
    ),
    "no rows": Mutant(
        "client/pipeline:_Run.signed: 5: stage {} emitted nothing",
        5,
        (never(ASKED, "any(not self.emitted[name] for name in plan.emits)"),),
        nothing_at_all,
        1,
    ),
    "a root left out": Mutant(
        "client/pipeline:_Run.signed: 1: stage {} gave {} roots",
        1,
        (never(ASKED, "len(found) != len(plan.writes)"),),
        twisted(MIDDLE, roots=lambda found: list(found)[:-1]),
        MIDDLE,
    ),
    "fewer rows, once more": Mutant(
        "client/reopening:StageOpener._asked: 1: stage {} gave other rows",
        1,
        (never(REOPENED, AGAIN),),
        handed_again(lambda found: tuple(part[:-4] for part in found)),
        0,
    ),
    "no groups, once more": Mutant(
        "client/reopening:StageOpener._asked: 1: stage {} gave other rows",
        1,
        (never(REOPENED, AGAIN),),
        handed_again(lambda found: ()),
        0,
    ),
    "other rows, once more": Mutant(
        "client/reopening:StageOpener._asked: 7: stage {} hands on other rows",
        7,
        (never(REOPENED, "grown[group].root() != self._roots[group]"),),
        handed_again(lambda found: tuple(bytes([part[0] ^ 1]) + part[1:] for part in found)),
        0,
    ),
    "an output that there is not": Mutant(
        "client/stages:HttpStage.step: 1: a stage emitted what is no output",
        1,
        (never(REACHED, "name not in self._program.outputs"),),
        over_http(StepResult(b"", {}, {"made up": b""}).encode()),
    ),
    "more than a receipt": Mutant(
        "client/stages:_read: 1: a stage sent more than {} bytes",
        1,
        (never(REACHED, "size > most"),),
        over_http(bytes(MAX_RECEIPT + 1), call="sign"),
    ),
    "what is no result": Mutant(
        "client/stages:_decoded: 1: what a stage sent cannot be read",
        1,
        (
            Edit(
                REACHED,
                'raise VerificationError(1, f"what a stage sent cannot be read: {e}") from e',
                "raise",
            ),
        ),
        over_http(b"\xff"),
    ),
}


@pytest.mark.parametrize("name", list(MUTANTS))
def test_an_attack_is_stopped_where_it_must_be(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    with pytest.raises(VerificationError) as caught:
        mutant.attack(monkeypatch)
    assert caught.value.step == mutant.step
    assert any(site.startswith(mutant.site) for site in raised_at(caught.value, PIPELINES))
    if mutant.node is not None:
        assert caught.value.node == IDENTITIES[mutant.node].public


@pytest.mark.parametrize("name", list(MUTANTS))
def test_without_the_check_it_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack passes, or somebody else is at fault, or nobody is."""
    mutant = MUTANTS[name]
    apply(monkeypatch, mutant.edits)
    named = None if mutant.node is None else IDENTITIES[mutant.node].public
    found: object = None
    try:
        mutant.attack(monkeypatch)
    except VerificationError as e:
        found = (e.step, e.node)
    except (ProofcomputeError, ValueError, IndexError, KeyError, TypeError) as e:
        found = e  # what a node sent must never be an error of the caller, or none of ours
    assert (found == (mutant.step, named)) == mutant.behind


def test_every_check_has_a_mutant() -> None:
    for file in PIPELINES:
        for site in sites(file):
            assert any(site.name.startswith(m.site) for m in MUTANTS.values()), site.name


def test_a_node_that_sends_byte_by_byte_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes before the time-out of a read, which begins anew with it."""
    now = iter(range(1, 1000, 100))
    monkeypatch.setattr("proofcompute.client.stages.time", SimpleNamespace(monotonic=lambda: next(now)))
    with pytest.raises(ServiceError, match="too slowly"):
        over_http(*[b"\x83"] * 9)(monkeypatch)


def test_there_is_a_link_to_each_stage() -> None:
    with pytest.raises(InputError, match="2 links to 3 stages"):
        ask_pipeline(MODEL, request(), PIPELINE, links()[:2])
