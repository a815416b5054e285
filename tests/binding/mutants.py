"""What is removed from the checks of responses, and which of the wrong vectors then passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adversary.mutation import Edit
from binding.embedding_mutants import EMBEDDING_MUTANTS
from binding.mutant import SAME, Mutant, left_out, never
from binding.serving import DAY, NONCE, claim_of, proof, read, served
from binding.setting import Told, card, checked, prompter
from proofcompute.errors import FormatError, InputError
from proofcompute.openai import check_completion
from proofcompute.protocol.claim import Claim
from synthetic import NODE

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "openai.json").read_text())
P, S, C, T = "openai.proof", "openai.sent", "openai.checking", "openai.streaming"


def told(case: Any) -> Told:
    """What a client knows in a case of the vectors."""
    sent, texts = case["sent"], VECTORS["texts"]
    return Told(
        case["endpoint"],
        texts[case["body"]].encode(),
        None if case["nonce"] is None else bytes.fromhex(case["nonce"]),
        None if case["node"] is None else bytes.fromhex(case["node"]),
        date.fromisoformat(case["today"]),
        texts[sent].encode() if isinstance(sent, int) else [texts[i].encode() for i in sent],
    )


def named(name: str) -> Callable[[], object]:
    """A wrong response of the vectors, checked as a client does."""
    (case,) = (c for c in VECTORS["wrong_responses"] if c["name"] == name)
    return lambda: checked(told(case))


def limited(name: str, constant: str, least: int) -> Callable[[], object]:
    """A right response of the vectors under a limit that is too small for it, as if it were too large."""
    (case,) = (c for c in VECTORS["responses"] if c["name"] == name)

    def attack() -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"proofcompute.{constant}", least)
            return checked(told(case))

    return attack


def key_twice() -> object:
    """A response in which a reader that keeps the first of two keys finds another text."""
    (case,) = (c for c in VECTORS["responses"] if c["name"] == "one choice")
    right = told(case)
    assert isinstance(right.sent, bytes)
    return checked(right._replace(sent=right.sent.replace(b'"content":', b'"content":"Pay.","content":')))


def token_without_text() -> object:
    """An answer with a token that the vocabulary lacks, by a model that has more logits."""
    call = read(prompt="x", max_tokens=2)
    (request,) = call.requests(prompter(), nonce=NONCE, date=DAY, node=NODE.public)
    claim = claim_of(request, [97, 98])
    (response,) = served(call, [claim], [request], ())
    assert isinstance(response, dict)
    outputs = ((claim.receipt.outputs[0][0], np.array([97, 260], "<i4").tobytes()),)
    beyond = Claim(replace(claim.receipt, outputs=outputs), claim.statement)
    sent = {**response, "proofcompute": proof(0, beyond.receipt.encode()).encode()}
    check_completion(card(), call, [request], [beyond], sent)
    return sent


STREAM = "openai/streaming:StreamCheck."
IF_PROOF = "if sent.get(FIELD) is not None:"
DIFFERENT = Edit(P, "if proof != replace(first, choice=i, receipt=proof.receipt):", "if False:")


def same(module: str, call: str, attack: str, **more: Any) -> Mutant:
    """A comparison with what follows from the receipts."""
    return Mutant(SAME, left_out(module, call), named(attack), **more)


MUTANTS: dict[str, Mutant] = {
    # reading
    "strict JSON": Mutant(
        "openai/sent:read_response: 1: response: {}",
        Edit(S, "except (FormatError, LimitError) as e:", "except ZeroDivisionError as e:"),
        key_twice,
        escapes=FormatError,
    ),
    "objects": Mutant(
        "openai/sent:sent_object: 1: response: {} is not an object",
        never(S, "not isinstance(value, dict)"),
        named("whole: message a text"),
        escapes=AttributeError,
    ),
    "fields that nothing binds": Mutant(
        "openai/sent:sent_object: 5: response: {} has the field {}, which nothing binds",
        never(S, "name not in known and field not in (None, [])"),
        named("whole: a call of a tool"),
    ),
    "texts": Mutant(
        "openai/sent:sent_text: 1: response: {} is not a text",
        never(S, "not isinstance(value, str)"),
        named("stream: content a list"),
        escapes=TypeError,
    ),
    "integers": Mutant(
        "openai/sent:sent_int: 1: response: {} is not an integer from {} to {}",
        never(S, "isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most"),
        named("whole: created a text"),
    ),
    "arrays": Mutant(
        "openai/sent:sent_list: 1: response: {} is not an array of at most {}",
        never(S, "not isinstance(value, list) or len(value) > most"),
        named("stream: two choices in a chunk"),
    ),
    # the proof field
    "receipts of all choices": Mutant(
        "openai/proof:decode_proofs: 1: response: another number of receipts than choices",
        never(P, "len(receipts) != n"),
        named("one receipt for two"),
        escapes=ValueError,
    ),
    "the node that is wanted": Mutant(
        "openai/proof:check_proofs: 2: answered by another node",
        never(P, "node is not None and first.node != node"),
        named("another node than is wanted"),
    ),
    "the model that is trusted": Mutant(
        "openai/proof:check_proofs: 3: another model",
        never(P, "first.model_id != model_id"),
        named("another model id"),
    ),
    "who drew the nonce": Mutant(
        "openai/proof:check_proofs: 4: a nonce by somebody else",
        never(P, "first.nonce_by != by"),
        named("a nonce by the node, said to be the client's"),
    ),
    "the client's nonce": Mutant(
        "openai/proof:check_proofs: 4: another nonce",
        never(P, "nonce is not None and first.nonce != nonce"),
        named("the client's nonce was not used"),
    ),
    "the date": Mutant(
        "openai/proof:check_proofs: 4: a date that is not today",
        never(P, "abs(first.date - today) > DAYS"),
        named("a date two days ago"),
    ),
    "one field for all choices": Mutant(
        "openai/proof:check_proofs: 4: choice {} says something else than choice 0",
        DIFFERENT,
        named("stream: another path for the second choice"),
    ),
    "a proof field": Mutant(
        "openai/proof:_fields: 1: response: proofcompute is not an object",
        never(P, "not isinstance(value, dict)"),
        named("no proof field"),
        escapes=AttributeError,
    ),
    "fields of a proof": Mutant(
        "openai/proof:_fields: 1: response: proofcompute lacks {}, or has it without being known",
        never(P, "value.keys() != wanted"),
        named("proof field with more"),
    ),
    "client or node": Mutant(
        "openai/proof:_decoded: 1: response: proofcompute.nonce_by is neither client nor node",
        Edit(P, 'if by not in ("client", "node"):', "if False:"),
        named("a nonce by somebody else"),
    ),
    "the path of openings": Mutant(
        "openai/proof:_decoded: 1: response: proofcompute.open is not a path on the node",
        never(P, "len(path) > _MAX_PATH or not _PATH.fullmatch(path)"),
        named("proof field: open 3"),
    ),
    "digits": Mutant(
        "openai/proof:_hex: 1: response: {} does not have 64 lower-case hexadecimal digits",
        never(P, "not _HEX.fullmatch(text)"),
        named("proof field: nonce 4"),
    ),
    "the form of a date": Mutant(
        "openai/proof:_date: 1: response: proofcompute.date is not a day in the form 2026-01-31",
        never(P, "found is None or found.isoformat() != text"),
        named("proof field: date 3"),
    ),
    "the size of a receipt": Mutant(
        "openai/proof:_receipt: 1: response: {} is longer than a receipt can be",
        never(P, "len(text) > 4 * (MAX_RECEIPT // 3 + 1)"),
        limited("one choice", "openai.proof.MAX_RECEIPT", 30),
    ),
    "canonical base64": Mutant(
        "openai/proof:_receipt: 1: response: {} is not in canonical base64",
        never(P, "not found or _base64(found) != text"),
        named("bits behind the end of a receipt"),
    ),
    # whole responses
    "the text": Mutant(
        "openai/checking:check_text: 5: response: {} is not what the receipt's tokens print",
        never(C, "text != found"),
        named("whole: another text"),
    ),
    "tokens that have a text": Mutant(
        "openai/checking:check_text: 5: response: {}",
        Edit(C, "except InputError as e:", "except ZeroDivisionError as e:"),
        token_without_text,
        escapes=InputError,
    ),
    "object": same(C, 'check_same("object", kind, sent.get("object"))', "whole: another object"),
    "model": same(C, 'check_same("model", call.model, sent.get("model"))', "whole: another model's name"),
    "total": same(
        C, 'check_same(f"{what}.total_tokens", prompt + completion, total)', "whole: a total that is no sum"
    ),
    "finish reason": same(
        C,
        "check_same(what, FINISH_REASONS[claim.receipt.stop_reason], found)",
        "whole: finish reason length",
    ),
    "id": same(C, 'check_same("id", wanted, identity, 4)', "whole: another id"),
    "fingerprint": same(
        C, 'check_same("system_fingerprint", model, print_, 3)', "whole: another fingerprint"
    ),
    "number of choices": same(
        C,
        'check_same("the number of choices", call.n, len(choices))',
        "whole: a choice more",
        escapes=ValueError,
    ),
    "order of choices": same(
        C, 'check_same(f"choices[{i}].index", i, choice.get("index"))', "whole: index 1"
    ),
    "usage": same(
        C,
        'check_same("usage", usage_of(claims), check_usage(sent.get("usage"), "usage"))',
        "whole: more tokens in the answer",
    ),
    "role": same(
        C,
        'check_same(f"{what}.message.role", "assistant", message.get("role"))',
        "whole: role of a tool",
    ),
    # streams
    "the end of a stream": Mutant(
        STREAM + "push: 5: response: a chunk after the usage",
        Edit(T, "if self._usage is not None:\n            raise", "if False:\n            raise"),
        named("stream: the usage twice"),
    ),
    "chunks without a choice": Mutant(
        STREAM + "_take_usage: 5: response: a chunk without a choice, which was not asked for",
        never(T, "not self._call.include_usage or any(c.proof is None for c in self._choices)"),
        named("plain stream: a usage that was not asked for"),
    ),
    "a proof with the usage": Mutant(
        STREAM + "_take_usage: 5: response: a proof field without a choice",
        Edit(
            T,
            IF_PROOF + '\n            raise VerificationError(5, "response: a proof field without',
            'if False:\n            raise VerificationError(5, "response: a proof field without',
        ),
        named("stream: a proof with the usage"),
    ),
    "the end of a choice": Mutant(
        STREAM + "_take: 5: response: choice {} goes on after its end",
        never(T, "choice.proof is not None"),
        named("stream: an end twice"),
    ),
    "the size of a text": Mutant(
        STREAM + "_take: 1: response: choice {} has more than {} characters",
        never(T, "choice.size > MAX_TEXT"),
        limited("a plain stream", "openai.streaming.MAX_TEXT", 2),
    ),
    "a proof too early": Mutant(
        STREAM + "_take: 5: response: a proof field before the end of its choice",
        Edit(
            T,
            IF_PROOF + '\n                raise VerificationError(5, "response: a proof field before',
            'if False:\n                raise VerificationError(5, "response: a proof field before',
        ),
        named("stream: a proof too early"),
    ),
    "usage that was asked for": Mutant(
        STREAM + "_count: 5: response: a usage that was not asked for",
        never(T, "not self._call.continuous_usage"),
        named("plain stream: a usage in a chunk that was not asked for"),
    ),
    "tokens that count forwards": Mutant(
        STREAM + "_count: 5: response: text without a token, or fewer tokens than before",
        never(T, "not before[0] < usage.completion <= MAX_ROWS"),
        named("stream: tokens that count backwards at the end"),
        setup=(
            left_out(
                T, 'check_same("usage.completion_tokens at the end of a choice", len(tokens), choice.stated)'
            ),
        ),
    ),
    "a stream that is broken off": Mutant(
        STREAM + "close: 5: response: choice {} has no end",
        never(T, "choice.proof is None"),
        named("stream: a choice without an end"),
        setup=(never(T, "not self._call.include_usage or any(c.proof is None for c in self._choices)"),),
        escapes=AttributeError,
    ),
    "usage at the end": Mutant(
        STREAM + "close: 5: response: the usage is missing",
        never(T, "self._call.include_usage and self._usage is None"),
        named("stream: no usage"),
    ),
    "tokens so far": Mutant(
        "openai/streaming:_check_counts: 5: response: {} tokens do not print what a chunk shows with them",
        never(T, "k > len(tokens) or size != end"),
        named("stream: more tokens so far"),
    ),
    "tokens at the end of a choice": same(
        T,
        'check_same("usage.completion_tokens at the end of a choice", len(tokens), choice.stated)',
        "stream: fewer tokens at the end of a choice",
    ),
    "one id": same(
        T, 'check_same("the id of a chunk", self._head[0], head[0], 4)', "stream: another id in the middle"
    ),
    "one fingerprint": same(
        T,
        'check_same("the fingerprint of a chunk", self._head[1], head[1], 3)',
        "stream: another fingerprint in the middle",
    ),
    "id of a stream": same(T, 'check_same("id", wanted, identity, 4)', "stream: another id everywhere"),
    "fingerprint of a stream": same(
        T, 'check_same("system_fingerprint", model, print_, 3)', "stream: another fingerprint everywhere"
    ),
    "the choice of a proof": same(
        T,
        'check_same("the choice of a proof field", index, choice.proof.choice)',
        "stream: numbers of two choices swapped",
        setup=(DIFFERENT,),
    ),
    "role in a chunk": same(
        T, 'check_same("delta.role", "assistant", delta["role"])', "stream: role of a tool"
    ),
    "one prompt": same(
        T,
        'check_same("usage.prompt_tokens of a chunk", self._prompt, usage.prompt)',
        "stream: another prompt's tokens in one chunk",
    ),
    "tokens of the prompt": same(
        T,
        'check_same("usage.prompt_tokens", claims[0].statement.prompt, self._prompt)',
        "stream: another prompt's tokens in every chunk",
    ),
    "usage of a stream": same(
        T, 'check_same("usage", usage_of(claims), self._usage)', "stream: one token less at the end"
    ),
    **EMBEDDING_MUTANTS,
}
