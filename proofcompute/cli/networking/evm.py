"""The commands ``network evm ...``: verdicts for contracts, and calls of validation registries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.bundles import EvidenceFile
from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.networking.common import (
    Card,
    Chain,
    Contract,
    Envelope,
    Key,
    Model,
    judge,
    work_of,
    write,
)
from proofcompute.cli.networking.escrow import anchor, escrow
from proofcompute.cli.options import Device, Force, Json, Out
from proofcompute.encoding.files import read_limited
from proofcompute.errors import EnvelopeError

__all__ = ["group"]

group = typer.Typer(
    help="Sign verdicts for contracts (EIP-712), and write calls of ERC-8004 registries.",
    rich_markup_mode=None,
)
group.add_typer(escrow, name="escrow")
group.add_typer(anchor, name="anchor")

Uri = Annotated[
    str, typer.Option("--uri", metavar="URI", help="Where others find the payload.", show_default=False)
]
OldTag = Annotated[bool, typer.Option("--bytes32-tag", help="For registries whose tag is bytes32.")]


@group.command("sign")
def sign(
    evidence: EvidenceFile,
    output: Out,
    signing_key: Annotated[
        Path,
        typer.Option("--signing-key", metavar="FILE", help="Your key on secp256k1.", show_default=False),
    ],
    chain: Chain,
    contract: Contract,
    force: Force = False,
    json: Json = False,
) -> None:
    """Sign the verdict of a bundle of evidence as typed data, for one contract on one chain.

    The file of the key holds 64 hexadecimal digits and may be read by its owner only.
    """
    from proofcompute.networks.evm.typed import Domain, EvmKey
    from proofcompute.networks.evm.typed import sign as signed

    check_output(output, force=force)
    domain = Domain(chain, contract)
    write(Output(json), output, signed(work_of(evidence), EvmKey.load(signing_key), domain))


@group.command("verify")
def verify(
    document: Envelope,
    evidence: EvidenceFile,
    signer: Annotated[
        str,
        typer.Option("--signer", metavar="ADDRESS", help="Who must have signed.", show_default=False),
    ],
    chain: Chain,
    contract: Contract,
    key: Key = None,
    model: Model = None,
    card: Card = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check that a signed verdict is that of a bundle, and who signed it; then judge the bundle.

    Exit status 1: the verdict does not hold, or what the auditor says is not so; 3: open.
    """
    from proofcompute.networks.evm.signed import MAX_DOCUMENT, check
    from proofcompute.networks.evm.typed import Domain

    work = work_of(evidence)
    check(read_limited(document, MAX_DOCUMENT, "document"), work, signer, Domain(chain, contract))
    fields = {"signer": signer, "outcome": work.outcome.kind, "node": work.node.hex()}
    judge(Output(json), evidence, key, model, card, device, fields)


@group.command("request-validation")
def request_validation(
    evidence: EvidenceFile,
    validator: Annotated[
        str, typer.Option("--validator", metavar="ADDRESS", help="Who is asked.", show_default=False)
    ],
    agent: Annotated[
        int, typer.Option("--agent", metavar="NUMBER", help="The agent in the registry.", show_default=False)
    ],
    uri: Uri,
    json: Json = False,
) -> None:
    """Print the call that asks an ERC-8004 registry for the validation of a bundle's receipt."""
    from proofcompute.networks.evm.validation import request_call
    from proofcompute.protocol.bundle import open_bundle

    work_of(evidence)
    with open_bundle(evidence) as bundle:
        call = request_call(validator, agent, uri, bundle.evidence.receipt)
    _print(Output(json), call.signature, call.data)


@group.command("respond")
def respond(evidence: EvidenceFile, uri: Uri, old_tag: OldTag = False, json: Json = False) -> None:
    """Print the call by which a validator answers an ERC-8004 registry with a bundle of evidence."""
    from proofcompute.networks.evm.validation import response_call

    call = response_call(evidence, work_of(evidence), uri, old_tag=old_tag)
    _print(Output(json), call.signature, call.data)


@group.command("verify-response")
def verify_response(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="The input of the call, 0x...", show_default=False)
    ],
    evidence: EvidenceFile,
    key: Key = None,
    model: Model = None,
    card: Card = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check that a validator's response says what a bundle says; then judge the bundle.

    Exit status 1: it does not, or what the auditor says is not so; 3: open.
    """
    from proofcompute.networks.evm.validation import MAX_CALL, check_response

    if len(data) > 2 + 2 * MAX_CALL:
        raise EnvelopeError(f"the call has more than {MAX_CALL} bytes")
    try:
        raw = bytes.fromhex(data.removeprefix("0x"))
    except ValueError:
        raise EnvelopeError("the call is not hexadecimal") from None
    work = work_of(evidence)
    uri = check_response(raw, evidence, work)
    judge(Output(json), evidence, key, model, card, device, {"uri": uri, "outcome": work.outcome.kind})


def _print(out: Output, signature: str, data: bytes) -> None:
    out.say(f"{signature}\n0x{data.hex()}")
    out.result({"function": signature, "data": "0x" + data.hex(), "interface": "theirs"})
