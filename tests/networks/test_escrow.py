"""The escrow contract on a chain of its own: what it does, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from cli.driver import call, done, refused
from networks.bundles import saved
from networks.chain import Chain, RevertedError, running
from networks.committees import KEYS, MEMBERS, WINDOW, Committee, digest
from networks.escrow_scenes import RECEIPT, SCENES
from proofcompute.commitments.log_tree import inclusion, leaf_hash, verify_inclusion
from proofcompute.errors import EnvelopeError, InputError
from proofcompute.networks.evm import anchoring
from proofcompute.networks.evm.contract import contract
from proofcompute.networks.evm.escrow import LONGEST, Terms, deployment, simple_call, verdict_call
from proofcompute.networks.evm.signed import read_signed
from proofcompute.networks.work import Work
from proofcompute.protocol.bundle import open_bundle

pytest.importorskip("eth_keys")
pytest.importorskip("eth_abi")
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "networks.md"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "escrow_demo.py"


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with running() as found:
        yield found


@pytest.mark.parametrize("name", SCENES)
def test_scenes(chain: Chain, name: str) -> None:
    SCENES[name](partial(Committee.deploy, chain))


# -- calls --------------------------------------------------------------------------------------------------


@pytest.fixture
def committee(chain: Chain) -> Committee:
    return Committee.deploy(chain)


def test_the_identifier_of_a_job_is_that_of_the_contract(committee: Committee) -> None:
    terms = committee.terms()
    asked = contract("escrow").call("job_of", terms.words())
    assert committee.chain.read(asked.data, committee.address) == terms.job
    assert Terms.decode(terms.document().data) == terms
    opened = committee.do("open", terms)["logs"][0]["topics"]
    assert opened[:2] == ["0x" + contract("escrow").event_topic("Opened").hex(), "0x" + terms.job.hex()]


@pytest.mark.parametrize(
    "changes",
    [{"client": "0x" + 40 * "0"}, {"payee": "0x12"}, {"node": b"short"}, {"price": 0}, {"price": 1 << 128},
     {"stake": -1},
     {"forfeit": -1}, {"forfeit": 1 << 127}, {"take_by": 0}, {"deadline": 1}, {"deadline": 1 << 63}],
)  # fmt: skip
def test_terms_that_are_none(committee: Committee, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(committee.terms(), **changes)


@pytest.mark.parametrize(
    "changes",
    [{"more": "1"}, {"kind": "terms"}, {"version": 2}, {"price": 5}, {"price": "05"}, {"price": "five"},
     {"stake": "9" * 50},
     {"forfeit": "9" * 20}, {"node": "0x12"}, {"node": "zz"}, {"client": "0x" + 40 * "0"}, {"deadline": "1"},
     {"node": "AB" * 32}],
)  # fmt: skip
def test_files_of_terms_that_are_malformed(committee: Committee, changes: dict[str, Any]) -> None:
    value = json.loads(committee.terms().document().data)
    with pytest.raises(EnvelopeError):
        Terms.decode(json.dumps({**value, **changes}, indent=2).encode() + b"\n")
    for data in (b"{", b"[]", json.dumps({"kind": 1}).encode(), b"x" * 5000):
        with pytest.raises(EnvelopeError):
            Terms.decode(data)


def test_verdicts_that_are_no_quorum_for_a_job(committee: Committee) -> None:
    terms = committee.terms()
    one, two = committee.documents(terms, RECEIPT, 1)
    others = {
        "another outcome": committee.documents(terms, RECEIPT, 2, [1]),
        "another receipt": committee.documents(terms, bytes(32), 1, [1]),
        "another request": committee.documents(replace(terms, request=bytes(32)), RECEIPT, 1, [1]),
        "another node": committee.documents(replace(terms, node=bytes(32)), RECEIPT, 1, [1]),
        "one signer": [one],
        "verdict for this contract": Committee.deploy(committee.chain).documents(terms, RECEIPT, 1, [1]),
    }
    for because, documents in others.items():
        with pytest.raises(EnvelopeError, match=because):
            verdict_call(terms, [one, *documents], committee.domain)
    mixed_kinds = [*committee.documents(terms, RECEIPT, 3, [0]), *committee.documents(terms, RECEIPT, 4, [1])]
    assert verdict_call(terms, mixed_kinds, committee.domain).signature.startswith("silence(")
    with pytest.raises(InputError):
        verdict_call(terms, [], committee.domain)
    assert verdict_call(terms, [one, two], committee.domain) == verdict_call(
        terms, [two, one], committee.domain
    )


@pytest.mark.parametrize(
    ("members", "threshold", "window"),
    [(MEMBERS, 1, 5), (MEMBERS, 4, 5), (MEMBERS[:2] * 2, 3, 5), ([*MEMBERS, "0x" + 40 * "0"], 3, 5),
     (MEMBERS, 2, -1), (MEMBERS, 2, LONGEST + 1), ([], 0, 5)],
)  # fmt: skip
def test_committees_that_are_none(members: list[str], threshold: int, window: int) -> None:
    with pytest.raises(InputError):
        deployment(members, threshold, window)
    with pytest.raises(InputError):
        simple_call("withdraw", None)  # type: ignore[arg-type]


# -- the anchor ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_anchored_receipts_are_found_at_their_place_only(chain: Chain, size: int) -> None:
    made = chain.send("deploy anchor", anchoring.deployment(), chain.accounts[9])["contractAddress"]
    me, other = chain.accounts[4:6]
    digests = [digest("receipt", i) for i in range(size)]
    with pytest.raises(RevertedError, match="not anchored"):
        chain.read(anchoring.included_call(me, digests, 0).data, made)
    chain.send("anchor", anchoring.anchor_call(digests).data, me, made)
    when = chain.now
    with pytest.raises(RevertedError, match="anchored before"):
        chain.send("anchor", anchoring.anchor_call(digests).data, me, made)
    root = anchoring.receipts_root(digests)
    leaves = [leaf_hash(d) for d in digests]
    for i in range(size):
        assert int.from_bytes(chain.read(anchoring.included_call(me, digests, i).data, made)) == when
        path = inclusion(leaves, i)
        assert verify_inclusion(i, size, leaves[i], path, root)
        wrong = {
            "another receipt": (me, root, size, i, leaf_hash(b"unseen"), path),
            "another place": (me, root, size, (i + 1) % size, leaves[i], path),
            "beyond the end": (me, root, size, size, leaves[i], path),
            "another size": (me, root, size + 1, i, leaves[i], path),
            "another publisher": (other, root, size, i, leaves[i], path),
            "another root": (me, bytes(32), size, i, leaves[i], path),
            "a longer path": (me, root, size, i, leaves[i], [*path, bytes(32)]),
            "a shorter path": (me, root, size, i, leaves[i], path[:-1]),
            "the digest itself": (me, root, size, i, digests[i], path),
        }
        if size == 1:
            del wrong["another place"], wrong["a shorter path"]
        for what, arguments in wrong.items():
            with pytest.raises(RevertedError, match=r"anchor|leaf|path|tree"):
                chain.read(contract("anchor").call("included", *arguments).data, made)
            if arguments[0] == me and "root" not in what and "size" not in what:
                _, _, _, place, leaf, beside = arguments
                assert not verify_inclusion(place, size, leaf, beside, root)
    with pytest.raises(RevertedError, match="no tree"):
        chain.send("anchor", contract("anchor").call("anchor", root, 0).data, me, made)


# -- commands ------------------------------------------------------------------------------------------------


def test_a_job_from_terms_to_pay_by_commands(committee: Committee, tmp_path: Path) -> None:
    """Each party has files, and sends what a command prints."""
    evidence, terms = saved(tmp_path, "accepted"), tmp_path / "terms"
    with open_bundle(evidence) as bundle:
        (tmp_path / "request").write_bytes(bundle.evidence.request)
        (tmp_path / "receipt").write_bytes(bundle.evidence.receipt)
    known, chain, usual = Work.of(evidence), committee.chain, committee.terms()
    sums = (
        "--price",
        5,
        "--stake",
        7,
        "--forfeit",
        6,
        "--take-by",
        chain.now + 50,
        "--deadline",
        chain.now + 90,
    )
    who = ("--client", usual.client, "--payee", usual.payee, "--node", known.node.hex())
    words = ("network", "evm", "escrow")
    model = ("--model-id", known.model_id.hex())
    made = done(*words, "terms", tmp_path / "request", "-o", terms, *who, *sums, *model)
    job = Terms.decode(terms.read_bytes())
    assert (made["job"], made["interface"]) == ("0x" + job.job.hex(), "ours")
    for name, sender in (("open", usual.client), ("take", usual.payee)):
        said = done(*words, "call", name, terms)
        data = bytes.fromhex(said["data"][2:])
        chain.send(name, data, sender, committee.address, int(said["value"]))
    signed = []
    where = ("--chain", committee.domain.chain, "--contract", committee.address)
    for i, key in enumerate(KEYS[:2]):
        own = tmp_path / f"{i}.key"
        own.write_text(key.secret.hex())
        own.chmod(0o600)
        signed.append(tmp_path / f"{i}.signed")
        done("network", "evm", "sign", evidence, "-o", signed[-1], "--signing-key", own, *where)
    said = done(*words, "settle", terms, *signed, *where)
    chain.send("accept", bytes.fromhex(said["data"][2:]), chain.accounts[8], committee.address)
    assert committee.state(job) == "accepted"
    assert call(*words, "settle", terms, signed[0], signed[0], *where).status == 1
    chain.at(chain.now + WINDOW + 1)
    for data, sender in (
        (done(*words, "call", "release", terms)["data"], chain.accounts[8]),
        (done(*words, "withdraw")["data"], usual.payee),
    ):
        chain.send("end", bytes.fromhex(data[2:]), sender, committee.address)
    assert committee.chain.balance(committee.address) == 0
    assert "none of" in refused(*words, "call", "steal", terms)
    deployed = done(*words, "deploy", "--threshold", 2, *(w for m in MEMBERS for w in ("--member", m)))
    chain.send("deploy", bytes.fromhex(deployed["data"][2:]), chain.accounts[9])
    receipts = (tmp_path / "receipt", tmp_path / "receipt")
    at = chain.send(
        "deploy", bytes.fromhex(done("network", "evm", "anchor", "deploy")["data"][2:]), usual.payee
    )
    published = done("network", "evm", "anchor", "publish", *receipts)
    chain.send("anchor", bytes.fromhex(published["data"][2:]), usual.payee, at["contractAddress"])
    asked = done("network", "evm", "anchor", "included", *receipts, "--publisher", usual.payee, "--index", 1)
    when = chain.read(bytes.fromhex(asked["data"][2:]), at["contractAddress"])
    assert (int.from_bytes(when), published["size"]) == (chain.now, 2)


def test_the_example_pays_an_honest_node_and_slashes_another(chain: Chain) -> None:
    words = [sys.executable, str(EXAMPLE), f"http://127.0.0.1:{chain.port}"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr
    assert [line.split(": ")[1].split(",")[0] for line in ran.stdout.splitlines() if "gas" in line] == [
        "accept",
        "contradict",
    ]
    # three verdicts and that of the quorum are leaves of each ledger's log
    assert [line.strip() for line in ran.stdout.splitlines() if "quorum" in line] == [
        f"the quorum of the ledger says {outcome}; its log has 4 leaves"
        for outcome in ("accepted", "contradicted")
    ]


def test_the_guide_states_the_gas(committee: Committee) -> None:
    """Zeros in signatures are cheaper than other bytes, so a call differs by a little."""
    chain = committee.chain
    paid, expired, slashed, silent = (committee.terms(request=digest("request", i)) for i in range(4))
    for terms in (paid, expired, slashed, silent):
        committee.do("open", terms)
        committee.do("take", terms)
    committee.bring(paid, RECEIPT, 1)
    committee.bring(slashed, RECEIPT, 2)
    committee.bring(silent, RECEIPT, 3)
    chain.at(chain.now + WINDOW + 600)
    committee.do("release", paid)
    committee.withdraw(paid.payee)
    committee.withdraw(paid.client)
    committee.do("expire", expired)
    committee.do("forfeit", silent)
    made = chain.send("deploy anchor", anchoring.deployment(), chain.accounts[9])["contractAddress"]
    chain.send("anchor", anchoring.anchor_call([digest("receipt")]).data, chain.accounts[4], made)
    rows = re.findall(r"^\| (\w+) \| ([\d,]+) \|$", GUIDE.read_text("utf-8"), re.MULTILINE)
    stated = {name: int(gas.replace(",", "")) for name, gas in rows}
    assert {name: chain.gas[name] for name in stated} == pytest.approx(stated, rel=0.01)
    assert len(stated) == 11


# -- mutants -------------------------------------------------------------------------------------------------


def escrow_edit(old: str, new: str = "    if False:", module: str = "networks.evm.escrow") -> Edit:
    return Edit(module, old, new)


def brought(
    found: Committee, *, outcome: int = 1, own: bool = True, signers: tuple[int, int] = (0, 1)
) -> object:
    terms = found.terms()
    other = terms if own else replace(terms, request=bytes(32))
    documents = [
        *found.documents(terms, RECEIPT, 1, signers[:1]),
        *found.documents(other, RECEIPT, outcome, signers[1:]),
    ]
    return verdict_call(terms, documents, found.domain)


MUTANTS: dict[str, tuple[Edit, Callable[[Committee], object]]] = {
    "one signer twice": (
        escrow_edit("    if len({each.signer for each in found}) != len(found):"),
        lambda found: brought(found, signers=(0, 0)),
    ),
    "one word": (
        escrow_edit("        if _function(each) != function:", "        if False:"),
        lambda found: brought(found, outcome=2),
    ),
    "this job": (
        escrow_edit("            if each.verdict[name] != value:", "            if False:"),
        lambda found: brought(found, own=False),
    ),
    "the form of terms": (
        escrow_edit("        if found.document().data != Document(", "        if False and Document("),
        lambda found: Terms.decode(found.terms().document().data.replace(b'"price": "', b'"price": "0')),
    ),
    "a quorum of more than half": (
        escrow_edit("    if not len(members) < 2 * threshold <= 2 * len(members):"),
        lambda found: deployment(MEMBERS, 1, 5),
    ),
    "a forfeit beyond the stake": (
        escrow_edit("        if not 0 <= self.forfeit <= self.stake:", "        if False:"),
        lambda found: replace(found.terms(), forfeit=found.terms().stake + 1),
    ),
    "a deadline": (
        escrow_edit("        if not 0 < self.take_by < self.deadline < 1 << 63:", "        if False:"),
        lambda found: replace(found.terms(), deadline=1),
    ),
    "who signed": (
        escrow_edit('    if top["signer"] != mixed(signer):', module="networks.evm.signed"),
        lambda found: read_signed(
            found.documents(found.terms(), RECEIPT, 1, [0])[0].replace(
                b'"signer": "' + MEMBERS[0].encode(), b'"signer": "' + MEMBERS[1].encode()
            ),
            found.domain,
        ),
    ),
    "for this contract": (
        escrow_edit("        if not _same(top[name], value):", "        if False:", "networks.evm.signed"),
        lambda found: read_signed(
            found.documents(found.terms(), RECEIPT, 1, [0])[0].replace(
                b'"primaryType": "Verdict"', b'"primaryType": "Mail"'
            ),
            found.domain,
        ),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    committee: Committee, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, act = MUTANTS[name]
    with pytest.raises((EnvelopeError, InputError)):
        act(committee)
    with monkeypatch.context() as patch:
        apply(patch, [change])
        act(committee)
