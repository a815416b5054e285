"""The commands ``verdict ...``: verdicts about receipts that a quorum of auditors signs."""

from __future__ import annotations

import json as jsons
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.bundles import EvidenceFile, moment
from proofcompute.cli.console import Output
from proofcompute.cli.evidence_command import CardFile, KeyFile, ModelFile, PublicFile, bars, held_by
from proofcompute.cli.files import check_output, read_request
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Force, Json, Out, kernels
from proofcompute.cli.quorums import statement_fields
from proofcompute.errors import (
    EvidenceError,
    FormatError,
    InputError,
    LimitError,
    VerdictError,
    VerdictFault,
)

if TYPE_CHECKING:
    from proofcompute.verdicts import QuorumPolicy, SignedVerdict

__all__ = ["group"]

group = typer.Typer(
    help="Let a quorum of auditors sign what they found of a receipt, and check what a quorum signed.",
    rich_markup_mode=None,
)

DAY = 24 * 3600
PolicyFile = Annotated[
    Path, typer.Option("--policy", metavar="POLICY", help="The quorum's policy, JSON.", show_default=False)
]
VerdictFile = Annotated[
    Path, typer.Argument(metavar="VERDICT", help="A verdict of a quorum.", show_default=False)
]


@group.command()
def keygen(
    output: Out,
    name: Annotated[str, typer.Option(help="A name for people, which the policy shows.")] = "",
    force: Force = False,
    json: Json = False,
) -> None:
    """Make a secret key for verdicts, and OUTPUT.member, which a policy takes: the public key and a proof.

    The secret is for its owner alone and is never shown.
    """
    from proofcompute.bls.signatures import VerdictKey
    from proofcompute.encoding.files import write_atomic

    member = output.with_name(output.name + ".member")
    check_output(output, force=force, plain=True)
    check_output(member, force=force)
    key = VerdictKey.new()
    fields = {"name": name, "key": key.public.hex(), "proof": key.possession().hex()}
    key.save(output)
    write_atomic(member, jsons.dumps(fields, indent=2).encode() + b"\n")
    out = Output(json)
    out.say(f"{output}: secret; {member}: for policies")
    out.say(f"public key {key.public.hex()}")
    out.result({"secret": str(output), "member": str(member), **fields})


@group.command()
def policy(
    members: Annotated[
        list[Path],
        typer.Argument(metavar="MEMBER...", help="Files of members, from keygen.", show_default=False),
    ],
    output: Out,
    threshold: Annotated[int, typer.Option(min=1, help="The fewest signers of a verdict.")],
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    days: Annotated[int, typer.Option(min=1, help="Days from now for which the policy is valid.")] = 365,
    longest: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="For how long one verdict may hold.")
    ] = 30 * DAY,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a quorum's policy: whose signatures count, how many it takes, and until when.

    The proofs of possession are checked. Who relies on the policy checks by other means whose keys these are.
    """
    from proofcompute.encoding.files import read_limited
    from proofcompute.limits import MAX_POLICY
    from proofcompute.verdicts import QuorumPolicy
    from proofcompute.verdicts.policy import Member

    check_output(output, force=force)
    now = int(time.time())
    made = QuorumPolicy.of(
        [Member.from_json(read_limited(path, MAX_POLICY, "member")) for path in members],
        name=name,
        threshold=threshold,
        valid_from=now,
        valid_until=now + days * DAY,
        longest=longest,
    )
    made.check_possession()
    made.save(output)
    out = Output(json)
    out.say(f"{output}: {threshold} of {len(members)}, until {moment(1000 * made.valid_until)}")
    out.say(f"policy {made.digest.hex()}")
    out.result({"policy": str(output), "digest": made.digest.hex(), "keys": len(members)})


@group.command()
def sign(
    evidence: EvidenceFile,
    output: Out,
    policy: PolicyFile,
    secret: Annotated[
        Path, typer.Option("--secret", metavar="SECRET", help="Your key for verdicts.", show_default=False)
    ],
    key: KeyFile = None,
    model: ModelFile = None,
    card: CardFile = None,
    public: PublicFile = None,
    request: Annotated[
        Path | None, typer.Option("--request", help="The request, if the evidence does not disclose it.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="SIGNED", help="Sign the statement of this signed verdict, if you find the same."
        ),
    ] = None,
    seconds: Annotated[
        int | None, typer.Option(min=0, help="For how long the verdict holds; else as long as allowed.")
    ] = None,
    own_word: Annotated[
        bool, typer.Option("--own-word", help="Sign silence or a refusal, which you saw yourself.")
    ] = False,
    force: Force = False,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Decide again what evidence says, and sign what you found, for a quorum.

    The first auditor chooses when the verdict begins and ends; the others give its output with --like. Exit
    status 1: another statement than yours, or the evidence is invalid; 2: there is nothing to sign.
    """
    from proofcompute.bls.signatures import VerdictKey
    from proofcompute.protocol.bundle import open_bundle
    from proofcompute.verdicts import QuorumPolicy, sign_verdict
    from proofcompute.verifier.judging import verify_evidence
    from proofcompute.verifier.quorums import statement_of

    check_output(output, force=force)
    expect(evidence, "evidence")
    expect(secret, "verdict key")
    rules, signer = QuorumPolicy.load(policy), VerdictKey.load(secret)
    holds = held_by(key, model, card, public)
    rules.place_of(signer.public)  # before the long work
    first = None if like is None else _signed(like)
    begin, end = _times(rules, seconds) if first is None else _times_of(first)
    asked = None if request is None else read_request(request)
    with ExitStack() as stack:
        try:
            bundle = stack.enter_context(open_bundle(evidence))
        except (FormatError, LimitError) as e:
            raise EvidenceError(str(e)) from e
        with bars() as shown:
            found = verify_evidence(bundle, holds, kernels=kernels(device), request=asked, progress=shown)
        statement = statement_of(
            found, bundle.evidence, rules, valid_from=begin, valid_until=end, own_word=own_word
        )
    if first is not None and first.statement != statement:
        raise VerdictError(
            VerdictFault.MIXED,
            f"you found {statement.outcome}, and not what {like} says: {first.statement.outcome}",
        )
    made = sign_verdict(signer, rules, statement)
    made.save(output)
    out = Output(json)
    out.say(f"{output}: {statement.outcome}, checked by {statement.check}")
    out.result({"signed": str(output), "signer": made.key.hex(), **statement_fields(statement)})


@group.command()
def combine(
    signed: Annotated[
        list[Path],
        typer.Argument(metavar="SIGNED...", help="Outputs of sign, by members.", show_default=False),
    ],
    output: Out,
    policy: PolicyFile,
    force: Force = False,
    json: Json = False,
) -> None:
    """Join what several auditors signed to the verdict of the quorum. Exit status 1: it makes none."""
    from proofcompute.verdicts import QuorumPolicy
    from proofcompute.verdicts import combine as joined

    check_output(output, force=force)
    rules = QuorumPolicy.load(policy)
    made = joined(rules, [_signed(path) for path in signed])
    made.save(output)
    out = Output(json)
    out.say(f"{output}: {made.statement.outcome}, signed by {len(made.signers)} of {len(rules.members)}")
    names = [rules.members[n].key.hex() for n in made.signers]
    out.result({"verdict": str(output), "signers": names, **statement_fields(made.statement)})


@group.command()
def verify(
    verdict: VerdictFile,
    policy: PolicyFile,
    receipt: Annotated[Path, typer.Option(metavar="RECEIPT", help="The receipt it must be about.")],
    at: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="Check it at this time; else at the clock's.")
    ] = None,
    used: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep used verdicts here, and refuse a second of the same subject."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check a quorum's verdict about a receipt: offline, with the policy and nothing else.

    Exit status 0: the quorum says this; 1: rejected, with the rule that is broken; 2: your files cannot be
    used. What the quorum says is in the output: it may be that the node was right.
    """
    from proofcompute.encoding.files import read_limited
    from proofcompute.limits import MAX_VERDICT
    from proofcompute.verdicts import Expected, QuorumPolicy, verify_verdict
    from proofcompute.verdicts.quorum import decoded
    from proofcompute.verdicts.used import remembered

    rules, about = QuorumPolicy.load(policy), _receipt(receipt)
    expect(verdict, "quorum verdict")
    found = decoded(read_limited(verdict, MAX_VERDICT, "quorum verdict"))
    with remembered(used) as (subjects, remember):
        statement = verify_verdict(
            rules,
            found,
            Expected(
                receipt_digest=about.digest,
                request_digest=about.request_digest,
                now=time.time() if at is None else at,
                used=subjects,
            ),
        )
        remember(statement.subject)
    out = Output(json)
    out.say(f"verified: {len(found.signers)} of {len(rules.members)} say: {statement.outcome}")
    names = [rules.members[n].name or rules.members[n].key.hex() for n in found.signers]
    out.facts(
        {
            "policy": rules.name or rules.digest.hex(),
            "signers": "\n".join(names),
            "checked by": statement.check,
            "receipt": statement.receipt_digest.hex(),
            "holds until": moment(1000 * statement.valid_until),
        }
    )
    keys = [rules.members[n].key.hex() for n in found.signers]
    out.result({"verified": True, "signers": keys, **statement_fields(statement)})


@group.command()
def attach(
    verdict: VerdictFile, evidence: EvidenceFile, output: Out, force: Force = False, json: Json = False
) -> None:
    """Put a quorum's verdict into a bundle of evidence, for verify-evidence --policy."""
    from proofcompute.protocol.bundle import open_bundle
    from proofcompute.verdicts import QuorumVerdict

    check_output(output, force=force)
    expect(verdict, "quorum verdict")
    expect(evidence, "evidence")
    found = QuorumVerdict.load(verdict)
    with open_bundle(evidence) as bundle:
        bundle.with_verdict(found.encode()).save(output)
    out = Output(json)
    out.say(f"{output}: with the verdict {found.statement.outcome}")
    out.result({"evidence": str(output), **statement_fields(found.statement)})


@group.command()
def calldata(verdict: VerdictFile, policy: PolicyFile, json: Json = False) -> None:
    """Print what a contract gives to the precompiled contracts of EIP-2537 to check a verdict, as hex."""
    from proofcompute.verdicts import QuorumPolicy, QuorumVerdict, precompile_inputs

    expect(verdict, "quorum verdict")
    found = QuorumVerdict.load(verdict)
    made = precompile_inputs(QuorumPolicy.load(policy), found)
    fields: dict[str, object] = {
        "digest": found.statement.digest.hex(),
        "keys": made.keys.hex(),
        "fields": [field.hex() for field in made.fields],
        "mapped": made.mapped.hex(),
        "pairing": made.pairing.hex(),
    }
    out = Output(json)
    out.facts({name: "\n".join(v) if isinstance(v, list) else v for name, v in fields.items()})
    out.result(fields)


def _times(policy: QuorumPolicy, seconds: int | None) -> tuple[int, int]:
    begin = max(int(time.time()), policy.valid_from)
    end = begin + (policy.longest if seconds is None else seconds)
    return begin, min(end, policy.valid_until)


def _times_of(first: SignedVerdict) -> tuple[int, int]:
    return first.statement.valid_from, first.statement.valid_until


def _signed(path: Path) -> SignedVerdict:
    """Read what another auditor signed; if it does not decode, that is the other's fault."""
    from proofcompute.verdicts import SignedVerdict

    expect(path, "signed verdict")
    try:
        return SignedVerdict.load(path)
    except (FormatError, LimitError) as e:
        raise VerdictError(VerdictFault.MALFORMED, f"{path}: {e}") from e


def _receipt(path: Path) -> Any:
    from proofcompute.cli.receipts import signed_receipt

    try:
        return signed_receipt(path)
    except (FormatError, LimitError) as e:
        raise InputError(f"the receipt does not decode: {e}") from e
