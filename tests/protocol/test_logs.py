"""What a service finds in its log: answers, openings, refusals, verdicts, devices; no secret, no prompt."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from proofcompute.arithmetic import devices
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.cli.progress import tell_of_warnings
from proofcompute.freivalds import attempts
from proofcompute.protocol.messages import Challenge
from protocol.parties import auditor, node, request

PROMPT = "PLUGH and xyzzy"
STOP = "frotz"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "proofcompute")
    return caplog


def records(log: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Module, level and text of what was logged since the last call."""
    found = [(r.name.removeprefix("proofcompute."), r.levelname, r.getMessage()) for r in log.records]
    log.clear()
    return found


def test_nothing_is_shown_unless_somebody_listens() -> None:
    code = (
        "import logging, proofcompute as pc\n"
        "pc.Node, pc.Auditor\n"
        "for name in ('prover.node', 'verifier.verdicts', 'freivalds.attempts'):\n"
        "    logging.getLogger(f'proofcompute.{name}').error('nobody wants to see this')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_command_says_verdicts_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    serving, asked = node(), request()
    with tell_of_warnings(), pytest.raises(pc.MismatchError):
        serving.answer(replace(asked, node=bytes(32)))
    assert capsys.readouterr().err == ""


def test_a_node_logs_answers_openings_and_traces_computed_again(
    log: pytest.LogCaptureFixture,
) -> None:
    serving, asked = node(), request()
    answer = serving.answer(asked)
    digest = pc.Receipt.decode(answer.receipt).digest[:8].hex()
    name = asked.digest[:8].hex()
    text = f"answered request {name} with receipt {digest}: {answer.rows} rows, ended by {answer.stop_reason}"
    assert records(log) == [("prover.node", "INFO", text)]
    challenge = auditor(synthetic.model()).challenge(asked, answer.receipt, [pc.Cell(0, 0, 3)])
    named = f"for challenge {challenge.digest[:8].hex()}"
    serving.open(asked, answer.receipt, challenge)
    assert records(log) == [("prover.opener", "INFO", f"opened 3 cells of receipt {digest} {named}")]
    node().open(asked, answer.receipt, challenge)
    again = f"computing the trace of receipt {digest} again: it is not in memory"
    assert records(log) == [
        ("prover.opener", "INFO", again),
        ("prover.opener", "INFO", f"opened 3 cells of receipt {digest} {named}"),
    ]


def test_a_node_logs_why_it_refuses_and_what_failed(log: pytest.LogCaptureFixture) -> None:
    serving, asked = node(), request()
    elsewhere = replace(asked, node=bytes(32))
    with pytest.raises(pc.MismatchError):
        serving.answer(elsewhere)
    name = elsewhere.digest[:8].hex()
    assert records(log) == [("prover.node", "WARNING", f"request {name} is refused: MismatchError")]
    receipt = serving.commit(serving.run(asked), keep=False)
    challenge = Challenge(receipt.digest, (pc.Cell(0, 0, 1),))
    records(log)
    with pytest.raises(pc.MismatchError):
        serving.open(asked, receipt, replace(challenge, receipt_digest=bytes(32)))
    assert [r[1:] for r in records(log)][-1][1].endswith("is refused: MismatchError")
    broken = replace(receipt, trace_root=bytes(32))
    broken = broken.signed(synthetic.NODE.sign(broken.signed_digest))
    challenge = replace(challenge, receipt_digest=broken.digest)
    records(log)
    with pytest.raises(pc.ExecutionError):
        node().open(asked, broken, challenge)
    name, digest = challenge.digest[:8].hex(), broken.digest[:8].hex()
    alarm = f"the trace of receipt {digest} has another root than before; check this machine's memory"
    assert records(log)[1:] == [
        ("prover.opener", "CRITICAL", alarm),
        ("prover.opener", "ERROR", f"challenge {name} failed: ExecutionError"),
    ]


def test_an_auditor_logs_each_verdict_once(log: pytest.LogCaptureFixture) -> None:
    serving, asked, checking = node(), request(), auditor()
    answer = serving.answer(asked)
    challenge = checking.challenge(asked, answer.receipt, "all")
    opening = serving.open(asked, answer.receipt, challenge)
    records(log)
    found = checking.check(asked, answer.receipt, challenge, opening)
    about = f"request {asked.digest[:8].hex()}: "
    who = f"node {synthetic.NODE.public[:8].hex()}"
    text = f"{about}accepted {who}: {found.total} of {found.total} cells, 61.99 bits"
    assert records(log) == [("verifier.verdicts", "INFO", text)]
    key = checking.holds
    assert isinstance(key, pc.Key)
    pc.verify(key, asked, answer.receipt, challenge, io.BytesIO(opening), kernels=synthetic.KERNELS)
    assert [r[2].split(":")[1] for r in records(log)] == [f" accepted {who}"]

    sent = synthetic.frames(opening)[:-1]
    receipt = pc.Receipt.decode(answer.receipt)
    last = sent[-1][:-1] + bytes([sent[-1][-1] ^ 1])
    wrong = synthetic.closed([*sent[:-1], last], receipt, challenge)
    with pytest.raises(pc.VerificationError) as rejected:
        checking.check(asked, answer.receipt, challenge, wrong)
    assert rejected.value.attributable
    assert rejected.value.cell is not None
    where = f"step {rejected.value.step}, {rejected.value.cell}, {rejected.value.operation}"
    signed = f"{about}rejected {who} at {where}; the node signed what is rejected"
    assert records(log) == [("verifier.verdicts", "WARNING", signed)]

    with pytest.raises(pc.VerificationError):
        checking.challenge(asked, answer.receipt[:-1])
    assert records(log) == [("verifier.verdicts", "WARNING", f"{about}rejected node unknown at step 1")]
    with pytest.raises(pc.VerificationError):
        checking.check(asked, answer.receipt[:-1], challenge, opening)
    assert len(records(log)) == 1
    holder = auditor(synthetic.model())
    holder.replay(asked, answer.receipt)
    assert [r[2] for r in records(log)] == [
        f"{about}accepted {who}: {found.total} of {found.total} cells, 97.00 bits"
    ]
    altered = replace(receipt, trace_root=bytes(32))
    with pytest.raises(pc.VerificationError):
        holder.replay(asked, altered.signed(synthetic.NODE.sign(altered.signed_digest)).encode())
    assert [r[1:] for r in records(log)] == [("WARNING", f"{about}rejected {who} at step 7")]


def test_a_public_proof_is_logged(log: pytest.LogCaptureFixture) -> None:
    run = synthetic.prove(synthetic.model(), request())
    opening = run.open(pc.public_challenge(run.claim, 3))
    for data, level in ((opening, "INFO"), (opening[:-1], "WARNING")):
        records(log)
        try:
            pc.verify_public(run.model, run.request, run.data, 3, io.BytesIO(data), kernels=synthetic.KERNELS)
        except pc.VerificationError:
            pass
        assert [r[:2] for r in records(log)] == [("verifier.verdicts", level)]


def test_a_key_that_is_used_up_is_logged(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MAX_ATTEMPTS", 1)
    counted = attempts.MemoryLog()
    counted.attempt()
    assert records(log) == []
    with pytest.raises(pc.LimitError):
        counted.attempt()
    ((module, level, text),) = records(log)
    assert (module, level) == ("freivalds.attempts", "WARNING")
    assert "used 1 times, which is the most" in text


def test_the_device_is_logged(log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_made", {})

    def make(device: str, ordinals: object) -> pc.Kernels:
        if device.startswith("cuda"):
            raise pc.DeviceError("CUDA cannot be used: there is no driver")
        return NumpyKernels()

    monkeypatch.setattr(devices, "_make", make)
    for _ in range(2):
        pc.kernels_for("auto")
    assert records(log) == [
        ("arithmetic.devices", "INFO", "device auto is the CPU: CUDA cannot be used: there is no driver"),
        ("arithmetic.devices", "INFO", "device cpu is used"),
    ]


def test_no_log_shows_a_secret_or_a_prompt(log: pytest.LogCaptureFixture) -> None:
    """All that is logged while a node and an auditor do their work, honest and not."""
    seed = bytes(range(100, 132))
    model, identity = synthetic.model(), synthetic.NODE
    key = pc.keygen(model, synthetic.KERNELS, seed=seed)
    asked = synthetic.request(model, PROMPT, node=identity.public, stops=(STOP,))
    serving, checking = node(), auditor(key)
    answer = serving.answer(asked)
    challenge = checking.challenge(asked, answer.receipt, "all")
    opening = serving.open(asked, answer.receipt, challenge)
    node().open(asked, answer.receipt, challenge)
    checking.check(asked, answer.receipt, challenge, opening)
    sent = synthetic.frames(opening)[:-1]
    for number, frame in enumerate(sent):
        for at in (len(frame) // 2, len(frame) - 1):
            changed = bytearray(frame)
            changed[at] ^= 1
            frames = [*sent[:number], bytes(changed), *sent[number + 1 :]]
            wrong = synthetic.closed(frames, pc.Receipt.decode(answer.receipt), challenge)
            with pytest.raises(pc.VerificationError):
                checking.check(asked, answer.receipt, challenge, wrong)
    for refused in (replace(asked, node=bytes(32)), replace(asked, model_id=bytes(32))):
        with pytest.raises(pc.MismatchError):
            serving.answer(refused)
    assert len(log.records) > 2 * len(sent)

    tokens = np.frombuffer(PROMPT.encode(), np.uint8).tolist()
    secrets = [PROMPT, STOP, answer.text, str(tokens)[1:-1], str(answer.tokens)[1:-1], PROMPT.encode().hex()]
    for hidden in (seed, bytes(range(32)), asked.nonce):  # of the key, of the identity, of the request
        secrets += [hidden.hex(), repr(hidden)[2:-1], str(list(hidden))[1:-1]]
    for spec in model.program.weights:
        if spec.kind == "matrix":
            for column in (key.columns.s(spec.name, spec.rows), key.columns.v(spec.name, spec.rows)):
                secrets += [str(x) for x in column.ravel().tolist() if x > 10**6]
    fields = {m for r in log.records for m in re.findall(r"[\w.-]+", r.getMessage())}
    assert fields.isdisjoint(map(str, [t for t in tokens if t > 31]))  # not even one token's number
    for record in log.records:
        shown = f"{record.getMessage()} {record.args!r}"
        assert record.exc_info is None
        assert record.levelno >= logging.INFO
        assert "\n" not in shown
        assert len(shown) < 1000
        assert [secret for secret in secrets if secret and secret in shown] == []
