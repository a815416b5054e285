"""Honest messages of one small run, made once: what the mutants are mutants of."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

import encoders
import synthetic
from importers.charsmap_writer import charsmap
from proofcompute.engine import Engine, Session
from proofcompute.errors import Cell
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.named_rules import NAMED_RULES
from proofcompute.models.text_parts import Part
from proofcompute.models.vocabulary import CONTROL, NORMAL, Vocabulary
from proofcompute.program.operations import Mix, Route, encode_program
from proofcompute.program.program import Program
from proofcompute.protocol.cells import public_challenge
from proofcompute.protocol.messages import Challenge, Generation, Request, Terms
from proofcompute.protocol.samples import Sample
from proofcompute.testing.models import byte_vocabulary
from proofcompute.testing.subject import Run
from proofcompute.verifier import Key
from proofcompute.verifier.policy import AuditPolicy

PUBLIC_CELLS = 3


@cache
def run() -> Run:
    """Four prompt tokens, three generated, sampled."""
    m = synthetic.model()
    return synthetic.prove(
        m,
        synthetic.request(m, "Hiya", max_tokens=3, sampling=synthetic.SAMPLED, node=synthetic.NODE.public),
    )


@cache
def other_run() -> Run:
    """Another request to the same model and node."""
    m = synthetic.model()
    return synthetic.prove(m, synthetic.request(m, "Ho", max_tokens=5, nonce=bytes([5] * 32)))


ATTEMPTS = [(bytes([i] * 32), bytes([i + 1] * 32)) for i in range(3)]
"""What the key of :func:`key_bytes` was used for."""


def key() -> Key:
    """Not used yet."""
    return synthetic.key()


@cache
def key_bytes() -> bytes:
    """The same key, used a few times."""
    return replace(key(), log=MemoryLog(ATTEMPTS)).encode()


@cache
def session() -> Session:
    return synthetic.node(synthetic.model()).run(run().request)


def generation() -> Generation:
    """The settings of the run's request."""
    found = session().request.generation
    assert found is not None
    return found


def fresh_session(request: Request, answer: list[int]) -> Session:
    engine = Engine(synthetic.model(), synthetic.KERNELS, node=synthetic.NODE.public)
    again = engine.add(request, answer)
    engine.run(again)
    return again


@cache
def challenge() -> Challenge:
    """A cell of each kind of segment; one of two rows."""
    return Challenge(run().receipt.digest, (Cell(0, 0, 2), Cell(1, 3, 4), Cell(3, 4, 6)))


@cache
def opening() -> bytes:
    return run().open(challenge())


@cache
def other_opening() -> bytes:
    return other_run().open(Challenge(other_run().receipt.digest, challenge().cells))


@cache
def public_opening() -> bytes:
    return run().open(public_challenge(run().claim, PUBLIC_CELLS))


@cache
def requests() -> tuple[bytes, ...]:
    m = synthetic.model()
    stops = Generation(7, synthetic.SAMPLED, bytes([3] * 32), ("\n\n", "é", "END"))
    plain = Request(m.model_id, (("x", bytes(8)), ("y", bytes(16))), bytes([1] * 32), suite="blake3")
    tokens = (("tokens", bytes(40)),)
    chat = Request(m.model_id, tokens, bytes([2] * 32), stops, "Grüße 👋", suite="keccak256")
    return (run().request.encode(), plain.encode(), chat.encode())


@cache
def receipts() -> tuple[bytes, ...]:
    return (run().receipt.encode(), other_run().receipt.encode())


@cache
def terms() -> tuple[bytes, ...]:
    made = (Terms.of(synthetic.NODE, base=b, rate=r, retention=t) for b, r, t in ((30, 250, 3600), (0, 1, 0)))
    return tuple(t.encode() for t in made)


@cache
def policies() -> tuple[bytes, ...]:
    made = AuditPolicy(0.02), AuditPolicy(0.02, 0.5, Sample(3, 256, 16)), AuditPolicy(0, 1, Sample(cells=3))
    return tuple(p.encode() for p in made)


@cache
def cards() -> tuple[bytes, ...]:
    return (synthetic.model().card.encode(),)


@cache
def challenges() -> tuple[bytes, ...]:
    many = tuple(Cell(s, a, a + 1) for s in range(4) for a in range(0, 90, 3))
    return (challenge().encode(), Challenge(bytes(32), many, hints=False, tables=False).encode())


@cache
def programs() -> tuple[bytes, ...]:
    """A decoder, and what it has not: every operation is in one of the two."""
    made = (synthetic.model().program, built(), encoders.model().program)
    return tuple(encode_program(program) for program in made)


def built() -> Program:
    """A program with the operations that a decoder of the Llama kind has not."""
    b, ones = ProgramBuilder(context=8, device="numpy"), np.ones(4, np.float32)
    x, numbers = b.input("x", (4, 4)), b.input("numbers", 4, "i32")
    h = b.softmax(b.layer_norm(b.pool("mean", x, (2, 2), strides=1, pads=1)[:4, :4], ones, ones))
    eye = np.eye(4, dtype=np.float32)
    h = b.experts(b.contract(h, x, limbs=1), numbers, np.stack([eye, eye]))
    chosen, shares = b.apply_all(Route(2, "sigmoid", 1, 2, 1), h[0], names=("chosen", "shares"))
    h = h + b.apply(Mix(), b.take(h, chosen), shares)
    b.cut(h)
    gates = np.ones((16, 4), np.float32)
    y, last, _ = b.lstm(b.silu(b.gelu(b.relu(h))), gates, gates)
    z, _ = b.gru(y, gates[:12], gates[:12], start=last)
    (total,), sums = b.scan(lambda s, r: ([s + b.cumulate("sum", r, 0)], [s]), [last], [z])
    order = b.order(b.take(b.put(z, numbers, y, "add"), numbers) + b.cast(b.position(), "f32"), 0)
    b.output(
        b.concat([b.reduce("max", b.cast(order, "f32"), 0), total, sums[0][0], b.constant(ones) + last], 0)
    )
    return b.program()


@cache
def vocabularies() -> tuple[bytes, ...]:
    """Byte-level BPE with merges, SentencePiece's BPE and Unigram with byte tokens, and WordPiece."""
    letters = [b"a", b"b", b"c", b"ab", b"abc", b"<s>", b"</s>"]
    bpe = Vocabulary(
        "bpe", tuple(letters), bytes([NORMAL] * 5 + [CONTROL] * 2), NAMED_RULES["deepseek-v3"].splitters,
        (Part("nfc"),), ((0, 1), (3, 2)), bos=5, eos=6, end_ids=(5, 6), before=(5,), ignore_merges=True,
    )  # fmt: skip
    tokens, types = (b"<unk>", b"</s>", b"\n", b"x", b" y", b"y"), bytes([2, 3, 6, 1, 1, 1])
    spm = Vocabulary(
        "bpe", tokens[:5], types[:5], (),
        (Part("prepend", ("▁",)), Part("replace", (" ", "▁"))), eos=1, unknown=0, end_ids=(1,),
        fuse_unknown=True, strip_space=True, finding=bytes([1, 5, 0, 25, 0]),
    )  # fmt: skip
    unigram = Vocabulary(
        "unigram", tokens, types, (Part("whitespace_split"), Part("metaspace", ("always", 1))),
        (Part("charsmap", (charsmap({"ﬁ": "fi"}),)),), scores=(0, 0, 0, 0xBFF << 52, 0xC00 << 52, 1 << 63),
        eos=1, unknown=0, end_ids=(1,), after=(1,), strip_space=True,
    )  # fmt: skip
    words = Vocabulary(
        "wordpiece", (b"[UNK]", b"[CLS]", b" a", b"b"), bytes([2, 3, 1, 1]), (Part("bert"),),
        (Part("bert", (1, 1, 2, 1)),), unknown=0, before=(1,), longest_word=100, strip_space=True,
    )  # fmt: skip
    return tuple(v.encode() for v in (bpe, spm, unigram, words, byte_vocabulary()))
