"""From a checkpoint to a verified answer through the command line, and what a verifier rejects."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cli.driver import Files, call, done, refused
from importers.tiny import write_tiny_gguf
from proofcompute.cli.request_command import seed_bytes
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.protocol.samples import Sample
from proofcompute.verifier.policy import AuditPolicy


def verify(files: Files, key: Path, **changes: object) -> tuple[object, ...]:
    """Arguments of ``verify``, some of them replaced."""
    use = {
        "receipt": files.receipt,
        "challenge": files.challenge,
        "opening": files.opening,
        "request": files.request,
        **changes,
    }
    return ("verify", key, use["receipt"], use["challenge"], use["opening"], "--request", use["request"])


def ask(files: Files, key: Path | None = None, receipt: Path | None = None) -> tuple[object, ...]:
    """The words of a challenge."""
    return ("challenge", key or files.key, receipt or files.receipt, "--request", files.request)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_honest_answer_is_verified(files: Files, key: Path) -> None:
    public = NodeIdentity.load(files.identity).public.hex()
    found = done(*verify(files, key), "--node", public)
    rows = 24 + 10 - 1
    assert found["verified"] is True
    assert found["complete"] is True
    assert found["cells"] == found["total_cells"] == 3 * rows + 10
    assert found["soundness_bits"] == pytest.approx(62, abs=1e-6)
    assert (found["detects_one"], found["outputs"], found["stop_reason"]) == (1, 10, "length")
    assert found["node"] == public
    assert found["text"].endswith("Hello the world<|im_end|>\n<|im_start|>assistant\n")
    assert found["seconds"] >= 0


def test_without_json_the_words_say_the_same(files: Files, key: Path) -> None:
    result = call(*verify(files, key))
    assert result.status == 0
    assert result.out.startswith("verified")
    assert "(all)" in result.out
    assert result.err == ""


def test_files_that_hold_secrets_are_the_owners_only(files: Files, key: Path) -> None:
    done(*verify(files, key))
    assert {mode(p) for p in (files.key, files.identity, key)} == {0o600}


def test_each_verification_under_a_key_costs_soundness(files: Files, key: Path) -> None:
    assert done(*verify(files, key))["attempts"] == 1
    cut = key.with_name("cut")
    cut.write_bytes(files.opening.read_bytes()[:-1])
    failed = call(*verify(files, key, opening=cut), "--json")
    assert (failed.status, failed.json["attempts"]) == (1, 3)  # a failed one is read and counted twice
    last = done(*verify(files, key))
    assert last["attempts"] == 4
    assert last["soundness_bits"] == pytest.approx(62 - 2, abs=1e-3)
    assert done("inspect", key)["verifications"] == 4
    assert sorted(os.listdir(key.parent)) == ["cut", "key"]  # and no other file keeps the count


def test_the_count_is_the_keys_own_under_whatever_name(files: Files, key: Path) -> None:
    done(*verify(files, key))
    hard, soft, copy = (key.with_name(name) for name in ("hard", "soft", "copy"))
    hard.hardlink_to(key)
    soft.symlink_to(key)
    shutil.copy2(key, copy)
    counts = [done(*verify(files, p))["attempts"] for p in (hard, soft, key, copy)]
    assert counts == [2, 3, 4, 2]  # a copy goes on from where it was made


def test_what_is_rejected_before_the_opening_uses_no_key(files: Files, key: Path) -> None:
    receipt = Receipt.decode(files.receipt.read_bytes())
    forged = key.with_name("forged")
    forged.write_bytes(receipt.signed(bytes(64)).encode())
    assert call(*verify(files, key, receipt=forged)).status == 1
    assert done("inspect", key)["verifications"] == 0


def test_a_verifier_with_the_weights_needs_no_hints(files: Files, tmp_path: Path) -> None:
    challenge, opening = tmp_path / "challenge", tmp_path / "opening"
    done(*ask(files, files.model), "-o", challenge, "--all")
    done("open", files.run, challenge, "-o", opening)
    found = done(*verify(files, files.model, challenge=challenge, opening=opening))
    assert found["complete"]
    assert found["soundness_bits"] == 97
    assert opening.stat().st_size < files.opening.stat().st_size
    assert found["attempts"] is None
    assert "with the model file" in refused(*verify(files, files.model))
    assert "with the key" in refused(*verify(files, files.key, challenge=challenge, opening=opening))


def test_a_verifier_with_the_weights_runs_the_request_again(files: Files, tmp_path: Path) -> None:
    words = ("replay", files.model, files.receipt, "--request", files.request)
    found = done(*words)
    assert (found["verified"], found["complete"]) == (True, True)
    assert "verified" in call(*words).out
    receipt, node = Receipt.decode(files.receipt.read_bytes()), NodeIdentity.load(files.identity)
    ((name, tokens),) = receipt.outputs
    for changes, step in (
        ({"trace_root": bytes(32)}, 7),
        ({"outputs": ((name, bytes([tokens[0] ^ 1]) + tokens[1:]),)}, 9),
        ({"rows": receipt.rows + 1}, 5),
    ):
        forged: Receipt = replace(receipt, **changes)
        path = tmp_path / "receipt"
        path.write_bytes(forged.signed(node.sign(forged.signed_digest)).encode())
        rejected = call(words[0], files.model, path, *words[3:], "--json")
        assert (rejected.status, rejected.json["step"], rejected.json["verified"]) == (1, step, False)
        assert rejected.json["receipt_digest"] == Receipt.decode(path.read_bytes()).digest.hex()
    assert "kind key" in refused("replay", files.key, *words[2:])
    other = tmp_path / "request"
    other.write_bytes(replace(Request.decode(files.request.read_bytes()), nonce=bytes(32)).encode())
    assert "another request" in call(*words[:4], other).err


def test_a_second_answer_to_one_question_is_asked_for(files: Files, tmp_path: Path) -> None:
    """It differs in the choice alone, and is drawn anew."""
    words = ("--prompt", "Hello", "--max-tokens", 10, "--temperature", 2.0, "--seed", 7, "--nonce", "ab" * 32)
    made = []
    for choice in (0, 1):
        path = tmp_path / f"request {choice}"
        done("request", files.model, *words, "--choice", choice, "--ignore-end", "-o", path)
        found = done("run", files.model, path, "-o", tmp_path / str(choice))
        made.append((Request.decode(path.read_bytes()), found))
    (first, answer), (second, other) = made
    assert replace(second, choice=0) == first
    assert answer["tokens"] != other["tokens"]
    assert answer["stop_reason"] == other["stop_reason"] == "length"
    assert "outside 0..127" in refused("request", files.model, *words, "--choice", 128, "-o", tmp_path / "no")


def test_sampled_cells(files: Files, key: Path, tmp_path: Path) -> None:
    challenge, opening = tmp_path / "challenge", tmp_path / "opening"
    made = done(*ask(files), "-o", challenge, "--cells", 5, "--seed", "00ff")
    again = done(*ask(files), "-o", tmp_path / "again", "--cells", 5, "--seed", "00ff")
    assert made["cells"] == again["cells"] == 5
    assert challenge.read_bytes() == (tmp_path / "again").read_bytes()
    done("open", files.run, challenge, "-o", opening)
    found = done(*verify(files, key, challenge=challenge, opening=opening))
    assert (found["cells"], found["complete"]) == (5, False)
    assert found["detects_one"] == pytest.approx(5 / found["total_cells"])
    assert found["detects_shares"]["0.1"] == pytest.approx(0.42, abs=0.03)


def test_runs_of_rows(files: Files, key: Path, tmp_path: Path) -> None:
    challenge, opening = tmp_path / "challenge", tmp_path / "opening"
    made = done(*ask(files), "-o", challenge, "--runs", "2x9", "--cells", 2, "--seed", "00ff")
    assert 10 < made["cells"] <= 20
    done("open", files.run, challenge, "-o", opening)
    found = done(*verify(files, key, challenge=challenge, opening=opening))
    assert (found["cells"], found["complete"]) == (made["cells"], False)
    assert 0 < found["detects_one"] < 1
    assert found["detects_one"] < found["detects_shares"]["0.1"] < 1
    assert "3x256" in refused(*ask(files), "-o", tmp_path / "no", "--runs", "2")
    assert "--runs" in refused(*ask(files), "-o", tmp_path / "no", "--runs", "2x9", "--all")


def test_a_challenge_by_a_policy(files: Files, tmp_path: Path) -> None:
    always, never = tmp_path / "always", tmp_path / "never"
    AuditPolicy(0, 1, Sample(2, 9)).save(always)
    AuditPolicy(1e-12).save(never)
    made = done(*ask(files), "-o", tmp_path / "challenge", "--policy", always)
    assert 0 < made["cells"] <= 18
    spared = done(*ask(files), "-o", tmp_path / "none", "--policy", never)
    assert (spared["challenge"], (tmp_path / "none").exists()) == (None, False)
    assert "draws nothing" in call(*ask(files), "-o", tmp_path / "none", "--policy", never).out
    for also in (("--seed", "00"), ("--all",), ("--cells", 2), ("--runs", "2x9")):
        assert "--policy" in refused(*ask(files), "-o", tmp_path / "no", "--policy", always, *also)


def test_what_a_node_lies_about_in_its_receipt_is_a_rejection(files: Files, tmp_path: Path) -> None:
    """Whatever the receipt holds, ``challenge`` ends with status 1, and says whom and what it is about."""
    receipt, node = Receipt.decode(files.receipt.read_bytes()), NodeIdentity.load(files.identity)
    asked, path = Request.decode(files.request.read_bytes()), tmp_path / "receipt"

    def signed(**changes: object) -> bytes:
        changed: Receipt = replace(receipt, **changes)  # type: ignore[arg-type]
        return changed.signed(node.sign(changed.signed_digest)).encode()

    lies = {
        "nothing": (b"", 1),
        "no receipt": (b"\x83\x01\x02\x03", 1),
        "a request": (files.request.read_bytes(), 1),
        "a key": (files.key.read_bytes(), 1),
        "a byte more": (receipt.encode() + b"\0", 1),
        "a scheme that is reserved": (signed(scheme="eip712-secp256k1"), 1),
        "not signed": (receipt.signed(bytes(64)).encode(), 2),
        "another model": (signed(model_id=bytes(32)), 3),
        "another arithmetic": (signed(numerics=7), 3),
        "another request": (signed(request_digest=bytes(32)), 4),
        "many rows": (signed(rows=1 << 20), 5),
        "no outputs": (signed(outputs=()), 5),
        "no tokens": (signed(outputs=((receipt.outputs[0][0], b""),)), 5),
    }
    for name, (data, step) in lies.items():
        path.write_bytes(data)
        for more in ((), ("--all",), ("--cells", 10**9)):
            found = call(*ask(files, receipt=path), "-o", tmp_path / "out", *more, "--json")
            assert (found.status, found.json["step"]) == (1, step), name
            assert found.json["request_digest"] == asked.digest.hex()
            assert found.json["model_id"] == asked.model_id.hex()
            assert found.json["node"] == (None if step == 1 else receipt.node.hex())
            assert (found.json["receipt_digest"] is None) == (step == 1)
        verified = call(*verify(files, files.key, receipt=path), "--json")
        assert (verified.status, verified.json["step"]) == (1, step)
        assert verified.json["node"] == (None if step == 1 else receipt.node.hex())
    assert not (tmp_path / "out").exists()
    path.write_bytes(files.request.read_bytes())
    assert (
        "of kind request; if you mixed up files" in call(*ask(files, receipt=path), "-o", tmp_path / "o").err
    )


def test_by_default_sixteen_random_cells(files: Files, tmp_path: Path) -> None:
    first = done(*ask(files), "-o", tmp_path / "a")
    done(*ask(files), "-o", tmp_path / "b")
    assert first["cells"] == 16
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_a_receipt_of_a_trace_that_is_soon_dropped_is_rejected(files: Files, tmp_path: Path) -> None:
    kept = Receipt.decode(files.receipt.read_bytes()).retention
    path = tmp_path / "challenge"
    found = call(*ask(files), "-o", path, "--retention", str(kept + 1), "--json")
    assert (found.status, found.json["step"], found.json["verified"]) == (1, 5, False)
    assert not path.exists()
    done(*ask(files), "-o", path, "--retention", str(kept))


def test_another_token_in_the_receipt_is_rejected(files: Files, key: Path, tmp_path: Path) -> None:
    receipt, node = Receipt.decode(files.receipt.read_bytes()), NodeIdentity.load(files.identity)
    ((name, tokens),) = receipt.outputs
    forged = replace(receipt, outputs=((name, bytes([tokens[0] ^ 1]) + tokens[1:]),))
    forged = forged.signed(node.sign(forged.signed_digest))
    path, challenge = tmp_path / "receipt", tmp_path / "challenge"
    path.write_bytes(forged.encode())
    found = call(*verify(files, key, receipt=path), "--json")
    assert (found.status, found.json["step"], found.json["verified"]) == (1, 6, False)  # another receipt
    done(*ask(files, receipt=path), "-o", challenge, "--all")
    head = Challenge.decode(challenge.read_bytes())
    opened = files.opening.read_bytes()
    old = Challenge.decode(files.challenge.read_bytes())
    opening = tmp_path / "opening"
    opening.write_bytes(opened.replace(receipt.digest, forged.digest, 1).replace(old.digest, head.digest, 1))
    found = call(*verify(files, key, receipt=path, challenge=challenge, opening=opening), "--json")
    assert found.status == 1
    assert found.json["verified"] is False
    assert found.json["step"] in (7, 8, 9)
    assert found.json["cells"] == 0
    assert f"step {found.json['step']}" in found.json["error"]
    assert "REJECTED" in found.err


@pytest.mark.parametrize("where", [0.3, 0.6, 0.999])
def test_a_flipped_bit_of_the_opening_is_rejected(
    files: Files, key: Path, tmp_path: Path, where: float
) -> None:
    data = bytearray(files.opening.read_bytes())
    data[int(where * len(data))] ^= 1
    opening = tmp_path / "opening"
    opening.write_bytes(data)
    found = call(*verify(files, key, opening=opening), "--json")
    assert found.status == 1
    assert found.json["step"] in (1, 2, 10)
    assert found.json["attributable"] is False  # the node did not sign these bytes


@pytest.mark.parametrize("cut", [0, 1, 1000])
def test_a_short_opening_is_rejected(files: Files, key: Path, tmp_path: Path, cut: int) -> None:
    opening = tmp_path / "opening"
    opening.write_bytes(files.opening.read_bytes()[:cut])
    found = call(*verify(files, key, opening=opening), "--json")
    assert found.status == 1
    assert found.json["step"] in (1, 10)


def test_another_node_is_rejected(files: Files, key: Path) -> None:
    found = call(*verify(files, key), "--node", bytes(32).hex(), "--json")
    assert (found.status, found.json["step"]) == (1, 2)


def test_a_key_for_another_model_is_refused(files: Files, tmp_path: Path) -> None:
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=5)
    done("import", other, "-o", tmp_path / "other", "--precision", "w8a16")
    done("keygen", tmp_path / "other", "-o", tmp_path / "other.key")
    assert "for model" in refused(*verify(files, tmp_path / "other.key"))
    assert (
        done("inspect", tmp_path / "other.key")["verifications"] == 0
    )  # nothing of the node's was looked at
    assert "for model" in refused("run", tmp_path / "other", files.request, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "for model" in refused(
        "open", files.run, files.challenge, "-o", tmp_path / "o", "--model", tmp_path / "other"
    )


def test_a_text_that_its_tokens_do_not_say_is_refused(files: Files, key: Path, tmp_path: Path) -> None:
    request = Request.decode(files.request.read_bytes())
    lie = tmp_path / "request"
    lie.write_bytes(replace(request, text=request.text.replace("world", "moon")).encode())
    assert "text does not become its tokens" in refused(*verify(files, key, request=lie))


def test_a_model_file_whose_weights_were_exchanged_is_refused(files: Files, tmp_path: Path) -> None:
    true, bad = Model.load(files.model), tmp_path / "model"
    w = true.matrix("block.1.ffn.down")
    changed = {**true.weights, "block.1.ffn.down": replace(w, q=-w.q)}
    Model(true.card, changed, true.manifest).save(bad)
    challenge = tmp_path / "challenge"
    done(*ask(files, files.model), "-o", challenge)
    assert "import the model again" in refused("keygen", bad, "-o", tmp_path / "key")
    assert "import the model again" in refused(*verify(files, bad, challenge=challenge))


def test_a_request_for_another_node_is_not_answered(files: Files, tmp_path: Path) -> None:
    request, public = tmp_path / "request", NodeIdentity.load(files.identity).public.hex()
    done("request", files.model, "--prompt", "a", "--max-tokens", 2, "--node", public, "-o", request)
    assert "--identity" in refused("run", files.model, request, "-o", tmp_path / "run")
    done("run", files.model, request, "-o", tmp_path / "run", "--identity", files.identity)


def test_every_setting_reaches_the_request(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "request"
    settings = "--temperature 0.5 --top-k 7 --top-p 0.75 --repetition-penalty 1.25 --seed 12".split()
    words = ["--max-tokens", 9, "--stop", "x", "--stop", "\n", "--nonce", "ab" * 32, "--suite", "blake3"]
    done("request", files.model, "--prompt", "a", "--system", "be brief", *settings, *words, "-o", path)
    request = Request.decode(path.read_bytes())
    g = request.generation
    assert g is not None
    assert (g.max_tokens, g.stops, g.seed) == (9, ("x", "\n"), seed_bytes("12"))
    how = g.sampling
    assert (how.temperature, how.top_k, how.top_p, how.repetition_penalty) == (0.5, 7, 0.75, 1.25)
    assert (request.nonce, request.suite, request.node) == (b"\xab" * 32, "blake3", b"")
    assert request.text.startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\na")


def test_seeds() -> None:
    texts = ["12", "-12", "0x12", "12ab", "0xab"]
    assert len({seed_bytes(t) for t in texts}) == len(texts)
    assert seed_bytes("ab") == seed_bytes("0xAB")
    assert all(len(seed_bytes(t)) == 32 for t in texts)


def test_two_requests_differ_in_nonce_and_seed(files: Files, tmp_path: Path) -> None:
    made = []
    for name in "ab":
        done("request", files.model, "--prompt", "x", "-o", tmp_path / name)
        made.append(Request.decode((tmp_path / name).read_bytes()))
    assert made[0].nonce != made[1].nonce
    assert made[0].generation != made[1].generation
