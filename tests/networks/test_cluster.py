"""Verified clusters: what a policy finds of a node, who may say so, and what a changed verdict comes to."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from adversary.mutation import Edit, apply
from cli.driver import call, done, refused
from networks.bundles import AUDITOR, saved, work
from networks.test_in_toto import UNSIGNED, enveloped, theirs
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import EnvelopeError, FormatError, InputError
from proofcompute.networks.cluster.forms import Policy, Records, moment, time_of
from proofcompute.networks.cluster.judging import MAX_ENVELOPE, PREDICATE, Cluster, check, judge, wrap
from proofcompute.networks.cluster.lines import text
from proofcompute.networks.work import Work
from proofcompute.protocol.messages import Outcome

OWNER, OTHER = NodeIdentity(bytes(range(40, 72))), NodeIdentity(bytes(range(90, 122)))
HOUR = 3_600_000

POLICY = f"""\
kind: proofcompute cluster policy
version: 1
name: gold
auditors:
  - {AUDITOR.public.hex()}
  - {OTHER.public.hex()}
node:
  uptime: 0.999
  throughput: {{h100: 100, rtx4090: 20.5}}
  audited: 0.1
  audits: 2
  contradictions: 0
  silences: 1
  refusals: 1
  newest: 24
  by: 2
cluster:
  nodes: 1
  share: 0.5
valid: 48
"""


@pytest.fixture
def one(tmp_path: Path) -> Work:
    """What a bundle says that accepts an answer."""
    return work(tmp_path, "accepted")


def answer(one: Work, number: int, **changes: Any) -> Work:
    """What a bundle would say about another answer of the same node."""
    digest = number.to_bytes(32)
    usual = {"bundle_sha256": digest, "receipt_digest": b"R" + digest[1:], "tokens": 500}
    return replace(one, **{**usual, **changes})


def audits(one: Work) -> list[Work]:
    """Two answers that two auditors accepted."""
    return [answer(one, 1), answer(one, 2, auditor=OTHER.public)]


def recorded(one: Work, **changes: Any) -> dict[str, Any]:
    """What was recorded of the node."""
    seconds = {answer(one, n).receipt_digest.hex(): 2.5 for n in (1, 2)}
    node = {"answers": 20, "hardware": "h100", "probes": {"asked": 1000, "answered": 999}, "seconds": seconds}
    return {
        "kind": "proofcompute cluster records",
        "version": 1,
        "cluster": "north",
        "from": moment(one.made - 100 * HOUR),
        "until": moment(one.made),
        "nodes": {one.node.hex(): {**node, **changes}},
    }


def judged(
    one: Work, works: list[Work], *, at: int = 0, policy: dict[str, Any] | None = None, **changes: Any
) -> Cluster:
    asked = Policy.read(POLICY.encode())
    if policy is not None:
        asked = Policy.of({**asked.value, **policy})
    return judge(asked, Records.of(recorded(one, **changes)), works, one.made + at)


def failing(found: Cluster) -> set[str]:
    return {line.name for node in found.nodes for line in node.lines if not line.holds}


def test_a_node_that_has_all_that_is_asked_for_is_verified(one: Work) -> None:
    found = judged(one, audits(one))
    assert found.verified
    assert failing(found) == set()
    lines = {line.name: line for line in found.nodes[0].lines}
    assert list(lines) == [
        *("uptime", "throughput of h100", "audited", "audits", "by"),
        *("contradictions", "silences", "refusals", "newest"),
    ]
    shown = {
        name: (line.required, line.found, line.basis, len(line.evidence)) for name, line in lines.items()
    }
    assert shown["uptime"] == ("0.999", "0.999", "records", 0)
    assert shown["throughput of h100"] == ("100", "200", "both", 2)
    assert shown["audited"] == ("0.1", "0.1", "both", 2)
    assert shown["newest"] == ("24", "0", "evidence", 1)
    assert shown["contradictions"] == ("0", "0", "evidence", 0)
    assert {line.name: line.found for line in found.lines} == {"nodes": "1", "share": "1"}


SPOILED: dict[str, tuple[Callable[[Work], Cluster], set[str]]] = {
    "probes": (
        lambda w: judged(w, audits(w), probes={"asked": 100_000, "answered": 99_899}),
        {"uptime"},
    ),
    "no probes": (lambda w: judged(w, audits(w), probes={"asked": 0, "answered": 0}), {"uptime"}),
    "slow": (
        lambda w: judged(w, audits(w), seconds={a.receipt_digest.hex(): 5.1 for a in audits(w)}),
        {"throughput of h100"},
    ),
    "not timed": (lambda w: judged(w, audits(w), seconds={}), {"throughput of h100"}),
    "a slow one left out": (
        lambda w: judged(w, audits(w), seconds={answer(w, 2).receipt_digest.hex(): 2.5}),
        {"throughput of h100"},
    ),
    "prompts instead of answers": (
        lambda w: judged(w, [replace(each, rows=100_000, tokens=1) for each in audits(w)]),
        {"throughput of h100"},
    ),
    "other hardware": (lambda w: judged(w, audits(w), hardware="abacus"), {"throughput"}),
    "few audits": (lambda w: judged(w, audits(w), answers=21), {"audited"}),
    "no answers": (
        lambda w: judged(w, [], answers=0),
        {"throughput of h100", "audited", "audits", "by", "newest"},
    ),
    "one auditor": (lambda w: judged(w, [answer(w, 1), answer(w, 2)]), {"by"}),
    "the same answer twice": (
        lambda w: judged(
            w, [answer(w, 1), answer(w, 2, auditor=OTHER.public, receipt_digest=b"R" + bytes(30) + b"\1")]
        ),
        {"audited", "audits"},
    ),
    "a contradiction": (
        lambda w: judged(w, [*audits(w), answer(w, 3, outcome=Outcome("contradicted", 8))]),
        {"contradictions"},
    ),
    "two silences": (
        lambda w: judged(w, [*audits(w), *(answer(w, n, outcome=Outcome("silent")) for n in (3, 4))]),
        {"silences"},
    ),
    "two refusals": (
        lambda w: judged(w, [*audits(w), *(answer(w, n, outcome=Outcome("refused")) for n in (3, 4))]),
        {"refusals"},
    ),
    "old evidence": (lambda w: judged(w, audits(w), at=24 * HOUR + 1), {"newest"}),
}


@pytest.mark.parametrize("name", SPOILED)
def test_each_line_fails_alone(one: Work, name: str) -> None:
    make, lines = SPOILED[name]
    found = make(one)
    assert failing(found) == lines
    assert not found.verified


def test_a_speed_that_leaves_answers_out_is_none(one: Work) -> None:
    found = judged(one, audits(one), seconds={answer(one, 2).receipt_digest.hex(): 0.1})
    (line,) = [line for line in found.nodes[0].lines if line.name == "throughput of h100"]
    assert line.found == "unknown: nobody recorded what 1 of 2 proved answers took"
    assert len(line.evidence) == 2
    envelope = wrap(found, OWNER).data
    assert not check(envelope, OWNER.public, audits(one), one.made).verified


def test_an_answer_that_was_contradicted_proves_no_throughput(one: Work) -> None:
    both = [*audits(one), answer(one, 3, receipt_digest=answer(one, 1).receipt_digest, auditor=OTHER.public)]
    both[2] = replace(both[2], outcome=Outcome("contradicted", 8))
    (node,) = judged(one, both).nodes
    (line,) = [line for line in node.lines if line.name == "throughput of h100"]
    assert line.evidence == (answer(one, 2).bundle_sha256,)


def test_a_part_of_a_cluster_can_suffice(one: Work) -> None:
    records = recorded(one)
    idle = OTHER.public.hex()
    records["nodes"] = {**records["nodes"], idle: {"answers": 0}, "00" * 32: {"answers": 0}}
    asked = Policy.read(POLICY.encode())
    parts: list[tuple[dict[str, Any], bool]] = [
        ({"nodes": 1}, True),
        ({"nodes": 2}, False),
        ({"share": 0.3}, True),
        ({"share": 0.34}, False),
        ({}, False),
    ]
    for cluster, verified in parts:
        found = judge(
            Policy.of({**asked.value, "cluster": cluster}), Records.of(records), audits(one), one.made
        )
        assert found.verified is verified


def test_evidence_that_does_not_belong_here(one: Work) -> None:
    for works, because in [
        ([answer(one, 1, node=bytes(32))], "do not name"),
        ([answer(one, 1, auditor=bytes(32))], "does not trust"),
        ([answer(one, 1, made=one.made + 1)], "outside"),
        ([answer(one, 1, made=one.made - 101 * HOUR)], "outside"),
        ([answer(one, n) for n in range(30)], "gave 20"),
    ]:
        with pytest.raises(InputError, match=because):
            judged(one, works)
    own = {"auditors": [one.node.hex()]}
    with pytest.raises(InputError, match="does not trust"):
        judged(one, [answer(one, 1, auditor=one.node)], policy=own)
    with pytest.raises(InputError, match="not ended"):
        judged(one, audits(one), at=-1)


# -- verdicts ----------------------------------------------------------------------------------------------


def test_a_verdict_is_judged_again_from_the_bundles(one: Work) -> None:
    works = audits(one)
    envelope = wrap(judged(one, works), OWNER).data
    again = check(envelope, OWNER.public, [*works, answer(one, 9)], one.made)
    assert again == judged(one, works)
    said = theirs(envelope, OWNER.public)
    assert said["predicateType"] == PREDICATE
    assert said["predicate"]["interface"].startswith("our own")
    assert {each["digest"]["sha256"] for each in said["subject"]} == {w.bundle_sha256.hex() for w in works}


Predicate: TypeAlias = dict[str, Any]
FORGED: dict[str, Callable[[Predicate], object]] = {
    "another outcome": lambda p: p["nodes"][0].update(verified=False),
    "a line that fails": lambda p: p["nodes"][0]["lines"][0].update(holds=False),
    "another number": lambda p: p["nodes"][0]["lines"][1].update(found="1e9"),
    "other evidence": lambda p: p["nodes"][0]["lines"][2]["evidence"].pop(),
    "a line less": lambda p: p["nodes"][0]["lines"].pop(),
    "an easier policy": lambda p: p["policy"]["node"].update(uptime=0.5),
    "other records": lambda p: p["records"]["nodes"].update({"00" * 32: {"answers": 5}}),
    "more answers": lambda p: next(iter(p["records"]["nodes"].values())).update(answers=10),
    "no cluster": lambda p: p.update(verified=False),
    "another name": lambda p: p.update(cluster="south"),
    "a longer time": lambda p: p.update(until="2099-01-01T00:00:00.000Z"),
    "an earlier time": lambda p: p.update(made=moment(time_of(p["made"]) - 1)),
    "their interface": lambda p: p.update(interface="theirs"),
    "a field more": lambda p: p.update(more="x"),
    "no policy": lambda p: p.pop("policy"),
    "no records": lambda p: p.update(records={}),
    "no time": lambda p: p.update(made="soon"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_verdict_that_does_not_follow_is_rejected_though_it_is_signed(one: Work, name: str) -> None:
    works = audits(one)
    payload = json.loads(base64.b64decode(json.loads(wrap(judged(one, works), OWNER).data)["payload"]))
    FORGED[name](payload["predicate"])
    data = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(EnvelopeError):
        check(enveloped(data, OWNER), OWNER.public, works, one.made)


@pytest.mark.parametrize("name", UNSIGNED)
def test_a_verdict_that_nobody_signed_is_refused_by_both(one: Work, name: str) -> None:
    works = audits(one)
    changed = UNSIGNED[name](wrap(judged(one, works), OWNER).data)
    with pytest.raises(EnvelopeError):
        check(changed, OWNER.public, works, one.made)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - several errors of theirs
        theirs(changed, OWNER.public)
    assert not isinstance(caught.value, pytest.skip.Exception)


def test_who_signed_when_and_about_what(one: Work) -> None:
    works = audits(one)
    envelope = wrap(judged(one, works), OWNER).data
    with pytest.raises(EnvelopeError, match="did not sign"):
        check(envelope, OTHER.public, works, one.made)
    with pytest.raises(EnvelopeError, match="not given"):
        check(envelope, OWNER.public, works[:1], one.made)
    for now in (one.made - 1, one.made + 48 * HOUR + 1):
        with pytest.raises(EnvelopeError, match="holds from"):
            check(envelope, OWNER.public, works, now)
    check(envelope, OWNER.public, works, one.made + 48 * HOUR)
    whole = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    for named in (5, None, [1], {"a": 1}):
        whole["subject"][0]["digest"]["sha256"] = named
        with pytest.raises(EnvelopeError, match="not given"):
            check(enveloped(json.dumps(whole).encode(), OWNER), OWNER.public, works, one.made)
    for payload in (b"{}", b"[]", b'{"predicate":3}'):
        with pytest.raises(EnvelopeError, match="no verdict"):
            check(enveloped(payload, OWNER), OWNER.public, works, one.made)
    # An auditor's verdict about one answer is signed the same way, and is none about a cluster.
    with pytest.raises(EnvelopeError, match="JSON"):
        check(b" " * (MAX_ENVELOPE + 1), OWNER.public, works, one.made)


def fast(found: Cluster) -> None:
    """Refuse a cluster whose node is too slow."""
    if "throughput of h100" in failing(found):
        raise InputError("too slow")


MUTANTS: dict[str, tuple[Edit, Callable[[Work], object]]] = {
    "the signer": (
        Edit("networks.dsse", "if not any(signature_holds(", "if False and not any(signature_holds("),
        lambda w: check(wrap(judged(w, audits(w)), OWNER).data, OTHER.public, audits(w), w.made),
    ),
    "the statement": (
        Edit("networks.cluster.judging", "if expected != payload:", "if False:"),
        lambda w: check(
            enveloped(
                base64.b64decode(json.loads(wrap(judged(w, audits(w)), OWNER).data)["payload"]).replace(
                    b'"cluster":"north"', b'"cluster":"south"', 1
                ),
                OWNER,
            ),
            OWNER.public,
            audits(w),
            w.made,
        ),
    ),
    "the time": (
        Edit("networks.cluster.judging", "if not at <= now <= again.until:", "if False:"),
        lambda w: check(wrap(judged(w, audits(w)), OWNER).data, OWNER.public, audits(w), w.made - 1),
    ),
    "the bundles": (
        Edit("networks.cluster.judging", "    if missing:", "    if False:"),
        lambda w: check(wrap(judged(w, audits(w)), OWNER).data, OWNER.public, audits(w)[:1], w.made),
    ),
    "the auditor": (
        Edit("networks.cluster.judging", "if work.auditor not in policy.auditors or", "if"),
        lambda w: judged(w, [answer(w, 1, auditor=bytes(32))]),
    ),
    "the node as its own auditor": (
        Edit("networks.cluster.judging", "policy.auditors or work.auditor == work.node:", "policy.auditors:"),
        lambda w: judged(w, [answer(w, 1, auditor=w.node)], policy={"auditors": [w.node.hex()]}),
    ),
    "the period": (
        Edit("networks.cluster.judging", "if not records.start <= work.made <= records.end:", "if False:"),
        lambda w: judged(w, [answer(w, 1, made=w.made + 1)]),
    ),
    "the end": (
        Edit("networks.cluster.judging", "    if at < records.end:", "    if False:"),
        lambda w: judged(w, audits(w), at=-1),
    ),
    "what every answer took": (
        Edit(
            "networks.cluster.lines",
            "if digest not in contradicted}",
            "if digest not in contradicted and digest in node.seconds}",
        ),
        lambda w: fast(judged(w, audits(w), seconds={answer(w, 2).receipt_digest.hex(): 2.5})),
    ),
    "tokens and not rows": (
        Edit("networks.cluster.lines", "sum(work.tokens for", "sum(work.rows for"),
        lambda w: fast(judged(w, [replace(each, rows=100_000, tokens=1) for each in audits(w)])),
    ),
    "the number of answers": (
        Edit("networks.cluster.lines", "if found.answers(works) > node.answers:", "if False:"),
        lambda w: judged(w, [answer(w, n) for n in range(30)]),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    one: Work, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, act = MUTANTS[name]
    with pytest.raises((EnvelopeError, InputError)):
        act(one)
    with monkeypatch.context() as patch:
        apply(patch, [edit])
        if name == "the bundles":
            # the next check stops it then: without a bundle, something else follows
            with pytest.raises(EnvelopeError, match="does not follow"):
                act(one)
        else:
            act(one)


# -- forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("uptime: 0.999", "uptime: 1.1"),
        ("uptime: 0.999", "uptime: '0.999'"),
        ("valid: 48", "valid: 0"),
        ("valid: 48", "more: 1"),
        ("audits: 2", "audits: -1"),
        ("h100: 100", "h100: true"),
        (f"  - {OTHER.public.hex()}\n", "  - xyz\n"),
        (f"  - {OTHER.public.hex()}\n", f"  - {AUDITOR.public.hex()}\n"),
        ("uptime: 0.999", "uptimes: 0.999"),
        ("kind: proofcompute cluster policy", "kind: policy"),
    ],
)
def test_a_policy_that_is_none(old: str, new: str) -> None:
    assert POLICY.count(old) == 1
    with pytest.raises(FormatError, match="schema"):
        Policy.read(POLICY.replace(old, new).encode())


def test_records_that_are_none(one: Work) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"until": moment(one.made - 100 * HOUR)}, "before it begins"),
        ({"from": "2026-02-30T00:00:00Z"}, "no time"),
        ({"nodes": {}}, "schema"),
        ({"nodes": {"00" * 32: {"answers": -1}}}, "schema"),
        ({"nodes": {"00" * 32: {"answers": 1, "probes": {"asked": 1, "answered": 2}}}}, "more probes"),
        ({"nodes": {"00" * 32: {"answers": 1, "seconds": {"00" * 32: 0}}}}, "schema"),
        ({"more": 1}, "schema"),
    ]
    for change, because in wrong:
        with pytest.raises(FormatError, match=because):
            Records.of({**recorded(one), **change})
    value = {**recorded(one), "log": {"size": 3, "root": "11" * 32}}
    assert Records.read(json.dumps(value).encode()).value["log"]["size"] == 3


def test_numbers_are_shown_exactly() -> None:
    from fractions import Fraction

    shown = [text(Fraction(n)) for n in ("0", "1/3", "2/3", "5", "-1/4", "0.0000005", "100.10")]
    assert shown == ["0", "0.333333", "0.666667", "5", "-0.25", "0", "100.1"]


# -- commands ----------------------------------------------------------------------------------------------


def test_the_commands(tmp_path: Path, one: Work) -> None:
    OWNER.save(tmp_path / "owner")
    policy, records, envelope = tmp_path / "policy.yaml", tmp_path / "records.json", tmp_path / "verdict"
    easy = POLICY.replace("by: 2", "by: 1").replace("audits: 2", "audits: 1").replace("h100: 100", "h100: 1")
    policy.write_text(easy)
    seconds = {one.receipt_digest.hex(): 0.5}
    records.write_text(json.dumps(recorded(one, answers=1, seconds=seconds)))
    folder = tmp_path / "bundles"
    folder.mkdir()
    good = saved(folder, "accepted")
    network = ("network", "verified-cluster")
    now = ("--at", moment(one.made))
    said = done(
        *network, "judge", policy, records, good, "-o", envelope, "--identity", tmp_path / "owner", *now
    )
    assert said["interface"] == "ours"
    words = (*network, "verify", envelope, folder, "--signer", OWNER.public.hex())
    found = done(*words, *now)
    assert (found["holds"], found["verified"], found["failing"]) == (True, True, {one.node.hex(): []})
    assert call(*words, "--at", "2099-01-01T00:00:00Z").status == 1
    assert call(*network, "verify", envelope, "--signer", OWNER.public.hex(), *now).status == 1
    other = saved(tmp_path, "contradicted")
    assert call(*network, "verify", envelope, other, "--signer", OWNER.public.hex(), *now).status == 1
    policy.write_text(easy.replace("audits: 1", "audits: 5"))
    again = (*network, "judge", policy, records, good, "-o", envelope, "--identity", tmp_path / "owner")
    done(*again, "--force", *now)
    result = call(*words, *now, "--json")
    assert result.status == 3
    assert result.json["failing"] == {one.node.hex(): ["audits"]}
    policy.write_text("kind: x")
    assert "schema" in refused(*again, "--force")
    for more in ((), ("--records",)):
        assert json.loads(call(*network, "schema", *more).out)["type"] == "object"


# -- from a ledger -----------------------------------------------------------------------------------------


def test_a_ledger_gives_records_and_bundles(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    from proofcompute.ledger import AuditVerdict, Ledger, NewNode, NewReceipt

    found = {kind: work(tmp_path, kind) for kind in ("accepted", "contradicted")}
    made = max(each.made for each in found.values())
    where = tmp_path / "ledger.db"
    with Ledger.make(where) as ledger:
        ledger.fleet.add_node(NewNode(OWNER.public, "http://127.0.0.1:1"))
        ledger.fleet.set_state(OWNER.public, "retired", "sold")
        for node in {each.node for each in found.values()}:
            ledger.fleet.add_node(NewNode(node, "http://127.0.0.1:2"))
        for kind, one in found.items():
            known: dict[str, Any] = {
                "request_digest": one.request_digest,
                "model_id": one.model_id,
                "node": one.node,
            }
            took = 0.5 if kind == "accepted" else 9.0
            received = NewReceipt(digest=one.receipt_digest, made=one.made / 1000, seconds=took, **known)
            ledger.fleet.add_receipts([received, replace(received, digest=bytes(32), made=1.0)])
            said = AuditVerdict(
                **known,
                receipt_digest=one.receipt_digest,
                check="cells",
                challenge_digest=b"c" * 32,
                outcome=one.outcome,
                evidence_digest=one.bundle_sha256,
                made=one.made,
            )
            others = replace(said, evidence_digest=b"e" * 32)
            unkept = replace(said, challenge_digest=b"d" * 32, evidence_digest=b"f" * 32)
            silent = replace(said, challenge_digest=b"s" * 32, outcome=Outcome("silent"), evidence_digest=b"")
            ledger.verdicts.keep_evidence(one.receipt_digest, (tmp_path / kind).read_bytes())
            ledger.verdicts.record(*(each.signed(AUDITOR) for each in (said, unkept, silent)))
            ledger.verdicts.record(others.signed(OTHER))
        root, size = ledger.log.root().root.hex(), ledger.log.size
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.replace(f"  - {OTHER.public.hex()}\n", ""))
    network, folder = ("network", "verified-cluster"), tmp_path / "bundles"
    period = ("--from", moment(made - HOUR), "--until", moment(made))
    given = ("--bundles", folder, "-o", tmp_path / "records", *period)
    some = next(iter(found.values())).node
    said_of = done(*network, "records", where, policy, *given, "--hardware", f"{some.hex()}=h100")
    assert (said_of["bundles"], said_of["missing"]) == (2, [(b"f" * 32).hex()])
    value = json.loads((tmp_path / "records").read_text())
    assert value["log"] == {"size": size, "root": root}
    assert value["nodes"][some.hex()]["hardware"] == "h100"
    unknown = ("--force", "--hardware", f"{OTHER.public.hex()}=h100")
    assert "no node" in refused(*network, "records", where, policy, *given, *unknown)
    assert set(value["nodes"]) == {each.node.hex() for each in found.values()}
    for key, entry in value["nodes"].items():
        many = sum(each.node.hex() == key for each in found.values())
        assert entry["answers"] == many
        # its auditors, three challenges of each answer; one more by another auditor; one is not answered
        assert entry["probes"] == {"asked": 4 * many, "answered": 3 * many}
    good = found["accepted"]
    seconds = {key: entry.get("seconds", {}) for key, entry in value["nodes"].items()}
    assert seconds.pop(good.node.hex()) == {good.receipt_digest.hex(): 0.5}
    assert not any(seconds.values())
    OWNER.save(tmp_path / "owner")
    words = ("judge", policy, tmp_path / "records", folder, "--identity", tmp_path / "owner")
    done(*network, *words, "-o", tmp_path / "verdict", "--at", moment(made))
    verify = (*network, "verify", tmp_path / "verdict", folder, "--signer", OWNER.public.hex())
    result = call(*verify, "--at", moment(made), "--json")
    assert result.status == 3
    assert all("contradictions" in lines for lines in result.json["failing"].values())
    with Ledger.make(tmp_path / "empty.db"):
        pass
    assert "no nodes" in refused(*network, "records", tmp_path / "empty.db", policy, *given, "--force")


@pytest.mark.parametrize("took", [0.5, None])
def test_the_speed_of_proved_answers_comes_from_the_ledger(
    tmp_path: Path, one: Work, took: float | None
) -> None:
    """An answer of a ledger that was made before durations were kept fails the line, with its reason."""
    pytest.importorskip("sqlalchemy")
    from proofcompute.ledger import PARTS, AuditVerdict, Ledger, NewNode, NewReceipt
    from proofcompute.networks.cluster.recorded import records

    about: dict[str, Any] = {
        "request_digest": one.request_digest,
        "model_id": one.model_id,
        "node": one.node,
    }
    said = AuditVerdict(
        **about,
        receipt_digest=one.receipt_digest,
        check="cells",
        challenge_digest=b"c" * 32,
        outcome=one.outcome,
        detection=PARTS,
        made=one.made,
    )
    with Ledger.make(tmp_path / "ledger.db") as ledger:
        ledger.fleet.add_node(NewNode(one.node, "http://127.0.0.1:1"))
        ledger.fleet.add_receipts(
            [NewReceipt(digest=one.receipt_digest, made=one.made / 1000, seconds=took, **about)]
        )
        ledger.verdicts.record(said.signed(AUDITOR))
        known = records(ledger, "north", one.made - HOUR, one.made, {one.node: "h100"})
    asked = Policy.read(POLICY.encode()).value
    policy = Policy.of({**asked, "node": {"throughput": {"h100": 2}}, "cluster": {}})
    assert one.tokens > 0
    (line,) = judge(policy, known, [one], one.made).nodes[0].lines
    if took is None:
        assert (line.found, line.holds) == ("unknown: nobody recorded what 1 of 1 proved answers took", False)
    else:
        assert (line.found, line.holds) == (str(2 * one.tokens), True)
