"""Mutants of steps 1 to 6: receipt, request, challenge and the form of the opening."""

from __future__ import annotations

from adversary.mutants import (
    ANY_SCHEME,
    CANONICAL_RECEIPT,
    CELL,
    CELLS,
    CLAIM,
    FRAMES,
    HINT_LENGTH,
    OUTPUTS,
    PART_SIZE,
    PROMISES,
    PROOF_CUT,
    PROOF_LENGTH,
    RANGE_LENGTH,
    RECEIPTS,
    SHORTEST_FRAME,
    SHORTEST_HEAD,
    STATEMENT,
    STOP,
    C,
    L,
    M,
    Mutant,
    O,
    R,
    T,
    named,
    never,
)
from adversary.mutation import Edit

ANOTHER_REQUEST = (
    "check_request: 4: another request; if you asked more than once, give the one that was answered"
)

CLAIM_MUTANTS: dict[str, Mutant] = {
    # step 1
    "receipt in another encoding": Mutant(
        (RECEIPTS + "decoded: 1: str(e)",),
        (SHORTEST_HEAD, CANONICAL_RECEIPT),
        named("receipt in a longer encoding"),
    ),
    "receipt that decodes, but not to what was sent": Mutant(
        (RECEIPTS + "decoded: 1: str(e)",),
        (CANONICAL_RECEIPT,),
        named("receipt in a longer encoding"),
        setup=(SHORTEST_HEAD,),
    ),
    "receipt of another version": Mutant(
        (RECEIPTS + "decoded: 1: str(e)",),
        (never("encoding.wire", "found != version"), CANONICAL_RECEIPT),
        named("receipt of another version"),
    ),
    "opening of another version": Mutant(
        (CELLS + "check_head: 1: str(e)",),
        (never("encoding.wire", "found != version"),),
        named("head of another version"),
    ),
    "frame in another encoding": Mutant(
        (FRAMES + "Frames._next: 1: str(e)",),
        (SHORTEST_FRAME,),
        named("a frame's head in a longer encoding"),
    ),
    "part that holds more than is needed": Mutant(
        (CELLS + "_part: 1: str(e)",),
        (PROOF_LENGTH, RANGE_LENGTH, PROOF_CUT),
        named("a proof one digest long"),
    ),
    "rows of another width": Mutant(
        (CELLS + "_part: 1: str(e)",),
        (Edit(O, '"rows", group.size', '"rows"'),),
        named("rows with more bytes than they have"),
    ),
    "part larger than needed": Mutant(
        (FRAMES + "Frames._next: 1: str(e)",),
        (PART_SIZE,),
        named("bytes beyond what a part may hold"),
        setup=(HINT_LENGTH,),
    ),
    # step 2
    "node": Mutant(
        (RECEIPTS + "check_named: 2: signed by another node",),
        (Edit(C, "one_signer(node, request.node", "one_signer(node, None"),),
        named("signed by another node than the request names"),
    ),
    "node that the verifier expects": Mutant(
        (RECEIPTS + "check_named: 2: signed by another node",),
        (Edit(C, "one_signer(node, request.node", "one_signer(None, request.node"),),
        named("signed by another node than the verifier expects"),
    ),
    "node of the terms": Mutant(
        (RECEIPTS + "check_named: 2: signed by another node",),
        (Edit(C, "signer = check_pair(terms, signer)", "pass"),),
        named("signed by another node than the terms"),
    ),
    "signature": Mutant(
        (RECEIPTS + "check_signer: 2: the node's signature does not hold",),
        (never(M, "not signature_holds(message.node, message.signed_digest, message.signature)"),),
        named("signature of another receipt"),
    ),
    # step 3
    "model id": Mutant(
        (CLAIM + "check_receipt: 3: another model",),
        (never(C, "found.model_id != card.model_id"),),
        named("another model id"),
    ),
    "model id of a card": Mutant(
        (CLAIM + "check_card: 3: another model",),
        (never(C, "card.model_id != model_id"),),
        named("a card of another model"),
    ),
    "version of the arithmetic": Mutant(
        (RECEIPTS + "check_numerics: 3: another version of the arithmetic, which cannot be checked",),
        (never(M, "numerics != NUMERICS"),),
        named("another version of the arithmetic"),
    ),
    # step 4
    "hash suite": Mutant(
        (RECEIPTS + "check_request: 4: another hash suite",),
        (never(M, "receipt.suite != request.suite"),),
        named("another hash suite"),
    ),
    "request digest": Mutant(
        (RECEIPTS + ANOTHER_REQUEST,),
        (never(M, "receipt.request_digest != request.digest"),),
        named("replayed receipt"),
    ),
    # step 5
    "names of outputs": Mutant(
        (OUTPUTS + "other outputs than the program's",),
        (never(C, "names != program.outputs"),),
        named("an output that nothing checks"),
    ),
    "most tokens": Mutant(
        (OUTPUTS + "str(e)", STOP + "the answer has {} tokens where {} were allowed"),
        (never("protocol.stop", "len(tokens) > rule.max_tokens"),),
        named("answer longer than allowed"),
        setup=(never("protocol.stop", "reason is not None"),),
    ),
    "late stop": Mutant(
        (OUTPUTS + "str(e)", STOP + "the answer goes on after token {}, where it had to stop ({})"),
        (never("protocol.stop", "reason is not None"),),
        named("answer goes on after its end"),
    ),
    "early stop": Mutant(
        (OUTPUTS + "str(e)", STOP + "the answer ends after token {}, where it had to go on"),
        (
            Edit(
                "protocol.stop",
                'raise FormatError(f"the answer ends after token {len(tokens)}, where it had to go on")',
                'return "length"',
            ),
        ),
        named("answer cut short"),
    ),
    "tokens of the vocabulary": Mutant(
        (OUTPUTS + "str(e)",),
        (
            Edit(
                R,
                "if ids.size and not (0 <= int(ids.min()) and int(ids.max()) < size):",
                "if False:",
            ),
        ),
        named("token outside the vocabulary"),
    ),
    "row count": Mutant(
        (OUTPUTS + "wrong {}",), (never(C, "expected != found"),), named("another row count")
    ),
    "stop reason": Mutant(
        (OUTPUTS + "wrong {}",), (never(C, "expected != found"),), named("another stop reason")
    ),
    "tokens that have a logit": Mutant(
        (OUTPUTS + "str(e)",),
        (Edit(R, "size = program.index_limits.get(name)", "size = 300"),),
        named("token without a logit"),
    ),
    "end tokens that are ignored": Mutant(
        (OUTPUTS + "str(e)", STOP + "the answer ends after token {}, where it had to go on"),
        (Edit("protocol.stop", "and not rule.ignore_end:", "and True:"),),
        named("ended at an end token that is to be ignored"),
    ),
    "terms": Mutant(
        (PROMISES + "check_promise: 5: under other terms",),
        (never(T, "receipt.terms_digest != terms.digest"),),
        named("under other terms"),
    ),
    "retention of the terms": Mutant(
        (PROMISES + "require_retention: 5: the trace is kept too short a time",),
        (Edit(T, "require_retention(receipt, terms.retention)", "pass"),),
        named("kept for less than its terms say"),
    ),
    "retention that is wanted": Mutant(
        (PROMISES + "require_retention: 5: the trace is kept too short a time",),
        (never(T, "receipt.retention < seconds"),),
        named("kept for less than is wanted"),
    ),
    "deadline": Mutant(
        (PROMISES + "require_within: 10: no valid opening by the deadline",),
        (never(T, "waited > seconds"),),
        named("opened after the deadline of the terms"),
    ),
    "signature scheme": Mutant(
        (RECEIPTS + "decoded: 1: str(e)",), (ANY_SCHEME,), named("a signature scheme that nobody knows")
    ),
    "reserved signature scheme": Mutant(
        (RECEIPTS + "decoded: 1: str(e)",),
        (never("commitments.signing", "name in _RESERVED"),),
        named("a signature scheme that is reserved"),
        setup=(ANY_SCHEME,),
    ),
    # step 6
    "challenge's receipt": Mutant(
        (CLAIM + "check_challenge: 6: the challenge is for another receipt",),
        (never(C, "challenge.receipt_digest != claim.receipt.digest"),),
        named("receipt replaced after the challenge"),
    ),
    "segment of a cell": Mutant(
        (CELL, STATEMENT + "there is no segment {}, or it is another node's"),
        (never("protocol.statement", "cell.segment not in self.segments"),),
        named("a cell counted twice by a negative segment"),
    ),
    "rows of a cell": Mutant(
        (CELL, STATEMENT + "{}: rows are outside the trace"),
        (never("protocol.statement", "not self.first_rows[cell.segment] <= cell.a < cell.b <= self.rows"),),
        named("a cell before the first row of its segment"),
    ),
    "size of a cell": Mutant(
        (CELL, STATEMENT + "{}: more than {} rows"),
        (
            never(
                "protocol.statement", "cell.b - cell.a > (most := self.program.plans[cell.segment].cell_rows)"
            ),
        ),
        named("a cell of too many rows"),
    ),
    "opening's challenge": Mutant(
        (CELLS + "check_head: 6: the opening answers another challenge",),
        (
            Edit(
                L,
                "head.receipt_digest != claim.receipt.digest or head.challenge_digest != challenge.digest",
                "head.receipt_digest != claim.receipt.digest",
            ),
        ),
        named("opening of another challenge"),
    ),
    "opening's receipt": Mutant(
        (CELLS + "check_head: 6: the opening answers another challenge",),
        (
            Edit(
                L,
                "head.receipt_digest != claim.receipt.digest or head.challenge_digest != challenge.digest",
                "head.challenge_digest != challenge.digest",
            ),
        ),
        named("opening of another receipt"),
    ),
}
