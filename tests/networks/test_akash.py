"""Akash: auditors' evidence with what bundles say, and deployments that Akash's SDK accepts or refuses."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from adversary.mutation import Edit, apply
from cli.driver import call, done, refused
from networks.bundles import KINDS, judge_key, saved, work
from networks.judging import judged
from proofcompute.encoding.strict_json import Json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.networks.akash.evidence import attest, canonical, check, read
from proofcompute.networks.akash.schema import DELIVERED, EVIDENCE, SUSTAINED
from proofcompute.networks.akash.sdl import Deployment, Gpu, Tier, describe
from proofcompute.networks.akash.sdl import check as check_sdl
from proofcompute.networks.structured import fault, read_yaml, write_yaml
from proofcompute.networks.work import Work
from proofcompute.protocol.messages import Outcome

Change: TypeAlias = Callable[[dict[str, Any]], object]
Changes: TypeAlias = dict[str, tuple[Change, str]]

AUDITOR = "akash1" + "q" * 38
DIGEST = "sha256:" + "0123456789abcdef" * 4

DRAFT = (
    '{"schema_version":"akash.audit.evidence.v1","chain_id":"akash-local","provider":"akash1provider",'
    '"auditor":"akash1auditor","audit_escrow_id":"7","target_tier":"L2","attested_tier":"L1",'
    '"attested_capabilities":["bare_metal","persistent_storage"],"collected_at":"2026-11-19T00:00:00Z",'
    f'"block_height":"18446744073709551615","snapshot_hash":"{DIGEST}","challenge_snapshot_hash":"{DIGEST}",'
    '"inventory_nonce":"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=",'
    f'"software":{{"version":"a \\u003c b","binary_hash":"{DIGEST}","verification_status":"observed_only"}},'
    f'"network_baseline":{{"mbps_down":940,"mbps_up":0,"latency_ms_p95":12.25,"proof_ref":"{DIGEST}"}},'
    f'"sustained_validation":{{"baseline_id":"{DIGEST}","window":"attestation_ttl",'
    f'"last_checked_at":"2026-11-19T00:00:00.123456789Z","status":"not_evaluated","proof_ref":"{DIGEST}"}},'
    f'"checks":[{{"name":"inventory_nonce_matches","status":"pass","proof_ref":"{DIGEST}",'
    '"observed_at":"2026-11-19T00:00:00+01:00","details":{"a":"first","nonce_length":32,"z":true}}],'
    '"fault_context":{"fault_attribution":"unspecified","reason":"unspecified"}}'
).encode()
"""A document in the form that Akash's auditor-cli writes: no spaces, the fields in this order."""


def changed(document: bytes, change: Change) -> bytes:
    value = json.loads(document)
    change(value)
    return canonical(value)


def named(document: bytes, name: str) -> dict[str, Any]:
    (found,) = [each for each in json.loads(document)["checks"] if each["name"] == name]
    return dict(found)


# -- evidence ----------------------------------------------------------------------------------------------


def test_their_draft_is_read_and_keeps_its_bytes() -> None:
    assert canonical(read(DRAFT)) == DRAFT


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (12.0, "12"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (1e-7, "1e-7"),
        (123456789.125, "123456789.125"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.25e300, "1.25e+300"),
    ],
)
def test_numbers_have_the_form_of_gos_encoder(value: float, text: str) -> None:
    """encoding/json: as short as possible, with an exponent below 1e-6 and from 1e21 on."""
    made = canonical({"network_baseline": {"latency_ms_p95": value}})
    assert made == f'{{"network_baseline":{{"latency_ms_p95":{text}}}}}'.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_says_whether_a_resource_was_delivered(tmp_path: Path, kind: str) -> None:
    known = work(tmp_path, kind)
    made = attest(DRAFT, known)
    assert made.interface == "theirs"
    delivered = named(made.data, DELIVERED)
    bundle = hashlib.sha256((tmp_path / kind).read_bytes()).hexdigest()
    assert delivered["proof_ref"] == f"sha256:{bundle}"
    assert delivered["status"] == ("pass" if kind == "accepted" else "fail")
    assert delivered["details"]["node_key"] == known.node.hex()
    blamed = json.loads(made.data)["fault_context"]["fault_attribution"]
    assert blamed == ("unspecified" if kind == "accepted" else "provider_fault")
    check(made.data, known)
    assert attest(made.data, known).data == made.data
    # All facts of the auditor stay as they are.
    back = json.loads(made.data)
    back["checks"], back["fault_context"] = back["checks"][:1], json.loads(DRAFT)["fault_context"]
    assert canonical(back) == DRAFT


def test_silence_is_no_statement_about_delivery(tmp_path: Path) -> None:
    known = replace(work(tmp_path, "accepted"), outcome=Outcome("silent"))
    made = attest(DRAFT, known).data
    assert named(made, DELIVERED)["status"] == "not_evaluated"
    assert json.loads(made)["fault_context"]["fault_attribution"] == "unspecified"


def test_what_held_at_the_attestation_is_compared(tmp_path: Path) -> None:
    good, bad = work(tmp_path, "accepted"), work(tmp_path, "contradicted")
    baseline = attest(DRAFT, good).data
    digest = f"sha256:{hashlib.sha256(baseline).hexdigest()}"
    made = attest(DRAFT, good, baseline).data
    check(made, good, baseline)
    sustained = json.loads(made)["sustained_validation"]
    assert (sustained["status"], sustained["baseline_id"]) == ("pass", digest)
    assert named(made, SUSTAINED)["status"] == "pass"
    assert named(made, SUSTAINED)["proof_ref"] == named(made, DELIVERED)["proof_ref"]
    for now, known, reason in [
        (DRAFT, bad, "provider_no_longer_qualifies"),
        (
            changed(DRAFT, lambda d: d["software"].update(binary_hash="sha256:" + "1" * 64)),
            good,
            "software_identity_changed",
        ),
        (changed(DRAFT, lambda d: d.update(attested_capabilities=[])), good, "capability_misrepresented"),
        (changed(DRAFT, lambda d: d.update(attested_tier="L2")), good, "provider_no_longer_qualifies"),
        (
            changed(DRAFT, lambda d: d["checks"][0].update(status="fail")),
            good,
            "provider_no_longer_qualifies",
        ),
    ]:
        failing = attest(now, known, baseline).data
        check(failing, known, baseline)
        assert named(failing, SUSTAINED)["status"] == "fail"
        context = json.loads(failing)["fault_context"]
        assert context == {"fault_attribution": "provider_fault", "reason": reason}
    with pytest.raises(InputError, match="give it too"):
        check(made, good)
    with pytest.raises(InputError, match="another provider"):
        attest(changed(DRAFT, lambda d: d.update(provider="akash1other")), good, baseline)
    for undelivered in (DRAFT, attest(DRAFT, bad).data):
        with pytest.raises(InputError, match="nothing was delivered"):
            attest(DRAFT, good, undelivered)


SAID: Changes = {
    "a pass": (lambda d: d["checks"][1].update(status="pass"), DELIVERED),
    "another bundle": (lambda d: d["checks"][1].update(proof_ref=DIGEST), DELIVERED),
    "another node": (lambda d: d["checks"][1]["details"].update(node_key="00" * 32), DELIVERED),
    "another time": (lambda d: d["checks"][1].update(observed_at="2026-01-01T00:00:00Z"), DELIVERED),
    "no fault": (lambda d: d["fault_context"].update(fault_attribution="no_fault"), "fault_context"),
    "no check": (lambda d: d["checks"].pop(), "no check"),
    "two checks": (lambda d: d["checks"].append(copy.deepcopy(d["checks"][1])), "2 times"),
    "more": (lambda d: d["checks"][1]["details"].update(more="x"), DELIVERED),
}


@pytest.mark.parametrize("name", SAID)
def test_a_document_that_says_something_else_is_rejected(tmp_path: Path, name: str) -> None:
    known = work(tmp_path, "contradicted")
    change, because = SAID[name]
    with pytest.raises(EnvelopeError, match=because):
        check(changed(attest(DRAFT, known).data, change), known)


def test_a_comparison_that_says_something_else_is_rejected(tmp_path: Path) -> None:
    known = work(tmp_path, "accepted")
    baseline = attest(DRAFT, known).data
    made = attest(DRAFT, known, baseline).data
    for change, because in [
        (lambda d: d["sustained_validation"].update(baseline_id=DIGEST), "sustained_validation"),
        (lambda d: d["sustained_validation"].update(status="fail"), "sustained_validation"),
        (lambda d: d["checks"][2]["details"].update(baseline_evidence_hash=DIGEST), SUSTAINED),
        (lambda d: d["checks"][2].update(status="not_evaluated"), SUSTAINED),
    ]:
        with pytest.raises(EnvelopeError, match=because):
            check(changed(made, change), known, baseline)
    with pytest.raises(EnvelopeError, match=f"no check {SUSTAINED}"):
        check(baseline, known, baseline)


MALFORMED: Changes = {
    "another version": (lambda d: d.update(schema_version="akash.audit.evidence.v2"), "schema_version"),
    "no chain": (lambda d: d.update(chain_id=""), "chain_id"),
    "no address": (lambda d: d.update(provider="cosmos1x"), "provider"),
    "a line more": (lambda d: d.update(auditor="akash1x\n"), "auditor"),
    "no tier": (lambda d: d.update(target_tier="L5"), "target_tier"),
    "a tier above": (lambda d: d.update(attested_tier="L3"), "above"),
    "too high": (lambda d: d.update(block_height="18446744073709551616"), "64 bits"),
    "many digits": (lambda d: d.update(audit_escrow_id="0" * 21), "64 bits"),
    "capability twice": (lambda d: d.update(attested_capabilities=["bare_metal"] * 2), "capabilities"),
    "unknown capability": (lambda d: d.update(attested_capabilities=["gpu"]), "capabilities"),
    "no base64": (lambda d: d.update(inventory_nonce="not-base64"), "base64"),
    "no signature": (lambda d: d["software"].update(signature="!"), "base64"),
    "no digest": (lambda d: d["software"].update(binary_hash="sha256:12"), "binary_hash"),
    "no time": (lambda d: d.update(collected_at="yesterday"), "no time"),
    "no day": (lambda d: d["checks"][0].update(observed_at="2026-02-30T00:00:00Z"), "no time"),
    "no zone": (lambda d: d.update(collected_at="2026-11-19T00:00:00"), "no time"),
    "no check": (lambda d: d.update(checks=[]), "checks"),
    "unknown check": (lambda d: d["checks"][0].update(name="all_is_well"), "checks"),
    "unknown status": (lambda d: d["checks"][0].update(status="ok"), "checks"),
    "nested details": (lambda d: d["checks"][0]["details"].update(a={"b": 1}), "checks"),
    "negative speed": (lambda d: d["network_baseline"].update(mbps_up=-1), "mbps_up"),
    "unknown reason": (lambda d: d["fault_context"].update(reason="because"), "reason"),
    "a field less": (lambda d: d.pop("challenge_snapshot_hash"), "challenge_snapshot_hash"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_document_is_rejected(tmp_path: Path, name: str) -> None:
    change, because = MALFORMED[name]
    with pytest.raises(EnvelopeError, match=because):
        read(changed(DRAFT, change))


def test_another_form_of_the_same_document_has_another_hash_and_is_rejected() -> None:
    value = json.loads(DRAFT)
    for data in (
        json.dumps(value).encode(),
        json.dumps(value, separators=(",", ":"), sort_keys=True).encode(),
        DRAFT.replace(b"\\u003c", b"<"),
        DRAFT + b"\n",
        DRAFT.replace(b'["bare_metal","persistent_storage"]', b'["persistent_storage","bare_metal"]'),
        DRAFT.replace(b"12.25", b"12.250"),
        DRAFT.replace(b'"nonce_length":32', b'"nonce_length":9007199254740993'),  # Go: ...992
    ):
        with pytest.raises(EnvelopeError, match="one form"):
            read(data)
    for data in (b"", b"[]", DRAFT[:-1], DRAFT.replace(b'"chain_id"', b'"provider"')):
        with pytest.raises(EnvelopeError, match="not JSON"):
            read(data)
    with pytest.raises(EnvelopeError, match="beyond its own"):
        canonical({**value, "more": 1})


def test_another_version_of_the_schema_can_be_given(tmp_path: Path) -> None:
    older = copy.deepcopy(json.loads(json.dumps(EVIDENCE)))
    older["required"].remove("challenge_snapshot_hash")
    del older["properties"]["challenge_snapshot_hash"]
    draft = changed(DRAFT, lambda d: d.pop("challenge_snapshot_hash"))
    known = work(tmp_path, "accepted")
    check(attest(draft, known, schema=older).data, known, schema=older)
    with pytest.raises(EnvelopeError, match="challenge_snapshot_hash"):
        attest(DRAFT, known, schema=older)
    # A schema that demands nothing does not make of anything a document.
    with pytest.raises(EnvelopeError, match="required"):
        read(b"{}", {})
    with pytest.raises(FormatError, match="schema"):
        read(DRAFT, {"type": 3})
    with pytest.raises(FormatError, match="schema"):
        read(DRAFT, {"$ref": "http://127.0.0.1:9/schema"})


def test_a_time_that_is_no_date(tmp_path: Path) -> None:
    known: Work = replace(work(tmp_path, "accepted"), made=2**53 - 1)
    with pytest.raises(InputError, match="no date"):
        attest(DRAFT, known)


# -- deployments -------------------------------------------------------------------------------------------


H100 = Gpu("h100", 2, "80Gi", "sxm")
FULL = Deployment(
    image="registry.example.org:5000/node/proofcompute:1.2",
    gpu=H100,
    signed_by=(AUDITOR,),
    attributes={"region": "us-west", "tier": "off"},
    count=3,
)


def test_their_sdk_makes_groups_of_our_descriptions() -> None:
    plain = describe(Deployment(image="node@sha256:" + "a" * 64, arguments=("/state/m",), cpu=0.5))
    full = describe(FULL)
    assert full.interface == "theirs"
    answers = judged("akash.mjs", [{"sdl": full.data.decode()}, {"sdl": plain.data.decode()}])
    (group,), (wanted,) = answers[0]["groups"], answers[0]["requirements"]
    (service,) = group["services"]
    assert (service["name"], service["image"], service["count"]) == ("node", FULL.image, 3)
    assert service["args"] == list(FULL.arguments)
    assert (service["cpu"], service["gpu"], service["port"]) == ("8000", "2", 80)
    assert service["attributes"] == ["vendor/nvidia/model/h100/ram/80Gi/interface/sxm"]
    assert service["storage"] == ["default", "state"]
    assert wanted["signedBy"] == {"allOf": [], "anyOf": [AUDITOR]}
    assert wanted["attributes"] == [
        {"key": "region", "value": "us-west"},
        {"key": "tier", "value": "off"},
    ]
    (other,) = answers[1]["groups"][0]["services"]
    assert (other["cpu"], other["gpu"], other["attributes"]) == ("500", "0", [])
    assert answers[1]["requirements"][0]["signedBy"]["anyOf"] == []


def dangling(change: Change) -> dict[str, Any]:
    value = copy.deepcopy(read_yaml(describe(FULL).data))
    change(value)
    return value


def compute(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["profiles"]["compute"]["node"]["resources"]
    return found


BROKEN: Changes = {
    "a profile that is missing": (
        lambda v: v["deployment"]["node"]["akash"].update(profile="other"),
        "not described",
    ),
    "a place that is missing": (
        lambda v: v["deployment"]["node"].update(elsewhere=v["deployment"]["node"].pop("akash")),
        "not described",
    ),
    "a price that is missing": (
        lambda v: v["profiles"]["placement"]["akash"]["pricing"].update(
            other=v["profiles"]["placement"]["akash"]["pricing"].pop("node")
        ),
        "no price",
    ),
    "a volume that is missing": (lambda v: compute(v)["storage"].pop(), "mounts the volume"),
    "a lasting volume that is mounted nowhere": (lambda v: v["services"]["node"].pop("params"), "nowhere"),
    "a service that is missing": (
        lambda v: v["services"].update(other=v["services"].pop("node")),
        "not deployed|no service",
    ),
    "GPUs without attributes": (lambda v: compute(v)["gpu"].pop("attributes"), "without attributes"),
    "attributes without GPUs": (lambda v: compute(v)["gpu"].update(units=0), "without GPUs"),
    "an endpoint that is not used": (
        lambda v: v.update(endpoints={"ip-one": {"kind": "ip"}}),
        "not used",
    ),
    "two volumes at one place": (
        lambda v: (
            compute(v)["storage"].append({"name": "more", "size": "1Gi"}),
            v["services"]["node"]["params"]["storage"].update(more={"mount": "/state"}),
        ),
        "at one place",
    ),
}
"""What both refuse."""
OURS: Changes = {
    "an endpoint that is not described": (
        lambda v: v["services"]["node"]["expose"][0]["to"][0].update(ip="nowhere"),
        "not described",
    ),
    "a service that nobody is": (
        lambda v: v["services"]["node"]["expose"][0].update(to=[{"service": "other"}]),
        "no service",
    ),
    "a service that is a list": (
        lambda v: v["services"]["node"]["expose"][0].update(to=[{"service": ["node"]}]),
        "no service",
    ),
    "a dependency on a mapping": (
        lambda v: v["services"]["node"].update(dependencies=[{"service": {"node": 1}}]),
        "depends on",
    ),
    "a profile that is a list": (
        lambda v: v["deployment"]["node"]["akash"].update(profile=["node"]),
        "not described",
    ),
    "a dependency on nobody": (
        lambda v: v["services"]["node"].update(dependencies=[{"service": "other"}]),
        "depends on",
    ),
    "nothing": (lambda v: v.update(services={}, deployment={}), "deploys nothing"),
    "a list for a mapping": (lambda v: v.update(services=[]), "no mapping"),
    "a text for a list": (lambda v: v["services"]["node"].update(expose="80"), "no list"),
}


def test_what_their_sdk_refuses_is_refused() -> None:
    broken = {name: dangling(change) for name, (change, _) in BROKEN.items()}
    texts = {name: write_yaml(value) for name, value in broken.items()}
    answers = judged("akash.mjs", [{"sdl": text.decode()} for text in texts.values()])
    accepted = [n for n, answer in zip(texts, answers, strict=True) if "error" not in answer]
    assert not accepted
    for name, text in texts.items():
        with pytest.raises(EnvelopeError, match=BROKEN[name][1]):
            check_sdl(text)


@pytest.mark.parametrize("name", OURS)
def test_other_names_that_stand_for_nothing(name: str) -> None:
    change, because = OURS[name]
    with pytest.raises(EnvelopeError, match=because):
        check_sdl(write_yaml(dangling(change)))


def test_what_their_tools_write_is_read_and_their_schema_judges_ours() -> None:
    value = read_yaml(describe(FULL).data)
    written, published = judged("akash.mjs", [{"write": value}, {"schema": True}])
    assert read_yaml(written["yaml"].encode()) == value
    schema = published["schema"]
    check_sdl(written["yaml"].encode(), schema)
    describe(FULL, schema)
    # Tiers are of another version of the schema, which this one does not have.
    tier = replace(FULL, tier=Tier(3, (AUDITOR,)))
    with pytest.raises(InputError, match="verification"):
        describe(tier, schema)
    found = read_yaml(describe(tier).data)
    placement: Any = found["profiles"]
    assert placement["placement"]["akash"]["verification"] == {
        "min_tier": 3,
        "auditors": [AUDITOR],
        "auditor_mode": "any",
    }
    for change, because in [
        (lambda v: v["services"]["node"].update(image=""), "image"),
        (lambda v: v["services"]["node"]["expose"][0].update(port=0), "port"),
        (lambda v: v["deployment"]["node"]["akash"].update(count=0), "count"),
        (lambda v: v.update(version="3.0"), "version"),
        (lambda v: v["services"]["node"].update(more=1), "more"),
        (lambda v: v["profiles"]["placement"]["akash"]["pricing"]["node"].update(denom="usd"), "denom"),
    ]:
        with pytest.raises(EnvelopeError, match=because):
            check_sdl(write_yaml(dangling(change)), schema)


def test_deployments_that_nobody_could_make() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"image": "node"}, "tag or digest"),
        ({"image": "Node:1"}, "tag or digest"),
        ({"cpu": 0}, "cores"),
        ({"cpu": 0.0001}, "cores"),
        ({"memory": "32 GB"}, "no size"),
        ({"state": "0"}, "no size"),
        ({"signed_by": ("cosmos1x",)}, "no address"),
        ({"amount": "0.0"}, "no price"),
        ({"denom": "usd"}, "denomination"),
        ({"count": 0}, "at least one"),
    ]
    for fields, because in wrong:
        with pytest.raises(InputError, match=because):
            Deployment(**{"image": "node:1", **fields})
    makers: list[tuple[Callable[[], object], str]] = [
        (lambda: Gpu("H100"), "no model"),
        (lambda: Gpu("h100", 0), "at least one"),
        (lambda: Gpu("h100", ram="lots"), "no size"),
        (lambda: Gpu("h100", interface="usb"), "sxm or pcie"),
        (lambda: Tier(5), "1 to 4"),
        (lambda: Tier(1, ("x",)), "no address"),
    ]
    for make, because in makers:
        with pytest.raises(InputError, match=because):
            make()


# -- YAML --------------------------------------------------------------------------------------------------


def test_yaml_is_read_as_in_other_languages() -> None:
    text = b"a: off\nb: yes\nc: 010\nd: 0x10\ne: 1.5\nf: 12:30\ng: 2026-11-19\nh: ~\ni: true\n"
    text += b"j: 1e3\nk: .5\nl:\n"
    assert read_yaml(text) == {
        "a": "off",
        "b": "yes",
        "c": "010",
        "d": 16,
        "e": 1.5,
        "f": "12:30",
        "g": "2026-11-19",
        "h": None,
        "i": True,
        "j": 1000.0,
        "k": 0.5,
        "l": None,
    }
    assert read_yaml(write_yaml({"a": "off", "b": "012", "c": ["1", 1, None]})) == {
        "a": "off",
        "b": "012",
        "c": ["1", 1, None],
    }


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (b"a: &x 1\nb: *x", "alias"),
        (b"a: !!binary aGk=", "tag"),
        (b"a: !x 1", "tag"),
        (b"a: 1\na: 2", "twice"),
        (b"{[1]: 2}", "key"),
        (b"1: 2", "no text"),
        (b"- 1", "no mapping"),
        (b"a: 1\n---\nb: 2", "not YAML"),
        (b"a: [", "not YAML"),
        (b"\xff\xfe\xfa", "not YAML"),
        (b"a: " + b"9" * 30, "not read"),
        (b"a: " + b"9" * 5000, "not YAML"),
        (b"a: 0x" + b"f" * 5000, "beyond 64 bits"),
        (b"? 0x" + b"f" * 500 + b"\n: 1", "beyond 64 bits"),
        (b'a: "\\uD800"', "surrogate"),
        (b'"\\uDFFF": 1', "surrogate"),
        (b'a: "\\U00110000"', "not YAML"),
        (b'a: "\\UFFFFFFFF"', "not YAML"),
    ],
)
def test_yaml_that_is_not_read(text: bytes, because: str) -> None:
    with pytest.raises(FormatError, match=because):
        read_yaml(text)


def test_yaml_that_is_too_much() -> None:
    with pytest.raises(LimitError, match="nests"):
        read_yaml(b"a: " + b"[" * 40 + b"]" * 40)
    with pytest.raises(LimitError, match="bytes"):
        read_yaml(b"a: 1" + b" " * 100, 50)
    with pytest.raises(EnvelopeError, match="not YAML"):
        check_sdl(b"a: &x 1\nb: *x")
    assert fault({"a": 1}, {"type": "object"}) is None


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$schema": 7}, {"$schema": []}])
def test_schemas_that_are_none(schema: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="schema is none"):
        fault({"a": 1}, schema)


def test_items_are_compared_in_linear_time() -> None:
    """Of several types, the library would compare each with all others: 2 * 10^10 pairs of these."""
    schema = {"properties": {"a": {"uniqueItems": True}}}
    items: list[Json] = [{}, [], None, True, *range(100_000), *map(str, range(100_000))]
    equal: list[Json] = [{}, [], None, True, 5.0, "7"]
    unlike: list[list[Json]] = [[1, True, 0, False], [{"a": 1}, {"a": True}, [1], [True], {}]]
    alike: list[list[Json]] = [[[{"a": 1, "b": 2}]] * 2, [{"a": 1, "b": 2}, {"b": 2.0, "a": 1}]]
    assert fault({"a": items}, schema) is None
    for more in equal:
        assert fault({"a": [*items, more]}, schema) == "$.a: two items are equal"
    assert [fault({"a": each}, schema) for each in unlike] == [None, None]
    assert None not in [fault({"a": each}, schema) for each in alike]
    assert fault({"a": [1, 1]}, {"properties": {"a": {"uniqueItems": False}}}) is None


# -- commands ----------------------------------------------------------------------------------------------


def test_the_commands(tmp_path: Path) -> None:
    network = ("network", "akash")
    draft, made, again = tmp_path / "draft", tmp_path / "made", tmp_path / "again"
    draft.write_bytes(DRAFT)
    judge_key().save(tmp_path / "judge.key")
    good, bad = saved(tmp_path, "accepted"), saved(tmp_path, "contradicted")
    said = done(*network, "evidence", draft, good, "-o", made)
    assert said["interface"] == "theirs"
    assert done(*network, "verify", made, good)["holds"] is True
    assert call(*network, "verify", made, bad).status == 1
    done(*network, "evidence", draft, bad, "-o", again, "--baseline", made)
    words = (*network, "verify", again, bad, "--baseline", made, "--key", tmp_path / "judge.key")
    judged_again = call(*words, "--device", "numpy", "--json")
    assert judged_again.status == 0
    assert judged_again.json["stands"] is True
    sdl = tmp_path / "sdl.yaml"
    options = ("--gpu", "h100", "--gpu-memory", "80Gi", "--signed-by", AUDITOR, "--attribute", "region=eu")
    done(*network, "sdl", "node:1", "-o", sdl, *options, "--argument", "/state/model")
    assert done(*network, "check-sdl", sdl)["schema"] is False
    schema = tmp_path / "schema.yaml"
    schema.write_text("properties: {version: {const: '2.0'}}\n")
    assert done(*network, "check-sdl", sdl, "--schema", schema)["schema"] is True
    sdl.write_text(sdl.read_text().replace("profile: node", "profile: other"))
    found = call(*network, "check-sdl", sdl)
    assert found.status == 1
    assert "not described" in found.err
    for more, because in [
        (("--gpu-memory", "80Gi"), "--gpu"),
        (("--auditor", AUDITOR), "--min-tier"),
        (("--attribute", "region"), "NAME=VALUE"),
    ]:
        assert because in refused(*network, "sdl", "node:1", "-o", tmp_path / "x", *more)
    done(*network, "sdl", "node:1", "-o", tmp_path / "x", "--min-tier", "2", "--auditor", AUDITOR)


# -- mutants -----------------------------------------------------------------------------------------------


def spoiled(change: Change) -> Callable[[Path], object]:
    return lambda _: read(changed(DRAFT, change))


MUTANTS: dict[str, tuple[Edit, Callable[[Path], object]]] = {
    "the schema": (
        Edit("networks.akash.evidence", "    if wrong is not None:", "    if False:"),
        spoiled(lambda d: d.update(chain_id="")),
    ),
    "tiers": (
        Edit("networks.akash.evidence", "    if TIERS.index(found[", "    if False and TIERS.index(found["),
        spoiled(lambda d: d.update(attested_tier="L3")),
    ),
    "64 bits": (
        Edit(
            "networks.akash.evidence",
            "        if int(found[name][:21])",
            "        if False and int(found[name])",
        ),
        spoiled(lambda d: d.update(block_height="18446744073709551616")),
    ),
    "base64": (
        Edit("networks.akash.evidence", "base64.b64decode(text, validate=True)", "text.encode()"),
        spoiled(lambda d: d.update(inventory_nonce="not-base64")),
    ),
    "times": (
        Edit("networks.akash.evidence", "        if not _is_time(text):", "        if False:"),
        spoiled(lambda d: d.update(collected_at="yesterday")),
    ),
    "the one form": (
        Edit("networks.akash.evidence", "    if canonical(found) != document:", "    if False:"),
        lambda _: read(DRAFT + b"\n"),
    ),
    "what the bundle says": (
        Edit("networks.akash.evidence", "    if canonical(expected) != document:", "    if False:"),
        lambda path: check(
            changed(attest(DRAFT, work(path, "contradicted")).data, SAID["a pass"][0]),
            work(path, "contradicted"),
        ),
    ),
    "one check of a name": (
        Edit("networks.akash.evidence", "    if len(checks) > 1:", "    if False:"),
        lambda path: check(
            changed(attest(DRAFT, work(path, "accepted")).data, SAID["two checks"][0]), work(path, "accepted")
        ),
    ),
    "whose baseline": (
        Edit("networks.akash.evidence", "        if before[name] != now[name]:", "        if False:"),
        lambda path: attest(
            changed(DRAFT, lambda d: d.update(provider="akash1other")),
            work(path, "accepted"),
            attest(DRAFT, work(path, "accepted")).data,
        ),
    ),
    "what was delivered before": (
        Edit("networks.akash.evidence", "    if delivered is None or", "    if False and"),
        lambda path: attest(DRAFT, work(path, "accepted"), attest(DRAFT, work(path, "contradicted")).data),
    ),
    "references": (
        Edit("networks.akash.sdl", "    for message in _dangling(found):", "    for message in ():"),
        lambda _: check_sdl(write_yaml(dangling(BROKEN["a price that is missing"][0]))),
    ),
    "aliases": (
        Edit(
            "networks.structured",
            "            if isinstance(event, yaml.AliasEvent) or",
            "            if False and",
        ),
        lambda _: read_yaml(b"a: &x 1\nb: *x"),
    ),
    "keys that are there twice": (
        Edit("networks.structured", "if not isinstance(name, str) or name in seen:", "if False:"),
        lambda _: read_yaml(b"a: 1\na: 2"),
    ),
    "lone surrogates": (
        Edit("networks.structured", "        text.encode()", "        pass"),
        lambda _: read_yaml(b'a: "\\uD800"'),
    ),
    "depth": (
        Edit("networks.structured", "            if depth > _MAX_DEPTH:", "            if False:"),
        lambda _: read_yaml(b"a: " + b"[" * 40 + b"]" * 40),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, act = MUTANTS[name]
    with pytest.raises((EnvelopeError, InputError)):
        act(tmp_path)
    with monkeypatch.context() as patch:
        apply(patch, [edit])
        act(tmp_path)
