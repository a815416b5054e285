"""Wrong usage and unusable input: status 2, one message that says what to do, nothing written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import synthetic
from cli.driver import Files, arguments, call, done, refused, start
from importers.gguf_writer import GgufFile
from importers.tiny import tiny_file
from proofcompute.cli import FAULT, main
from proofcompute.errors import InputError, StorageError, UnsupportedError
from proofcompute.importers import import_checkpoint
from proofcompute.verifier import Key


def test_unknown_commands_options_and_missing_arguments() -> None:
    for words in (
        ("frobnicate",),
        ("import",),
        ("identity", "-o", "x", "--frob"),
        ("request", "m", "-o", "x"),
    ):
        assert "--help" in refused(*words)
    assert "valid integer" in refused("keygen", "m", "-o", "k", "--columns", "many")
    bare = call()
    assert bare.status == 2
    assert bare.out.startswith("Usage: proofcompute")


def test_help_and_version() -> None:
    assert call("--help").out.startswith("Usage: proofcompute")
    assert call("--version").out.startswith("proofcompute 0.")
    commands = "import inspect identity keygen request run challenge open verify devices cubins demo"
    for command in commands.split():
        found = call(command, "--help")  # the device option that call() adds is no obstacle
        assert found.status == 0
        assert "--json" in found.out


def test_a_checkpoint_that_is_missing_cut_or_none(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert "No such file" in refused("import", tmp_path / "missing.gguf", "-o", out)
    assert "has no config.json" in refused("import", tmp_path, "-o", out)
    data, part = files.gguf.read_bytes(), tmp_path / "part.gguf"
    for cut in (0, 3, 20, 3000, len(data) // 2, len(data) - 1):
        part.write_bytes(data[:cut])
        assert refused("import", part, "-o", out)
    part.write_bytes(data[:8] + b"\xff" * 16 + data[24:])  # 2^64 - 1 tensors and metadata entries
    assert refused("import", part, "-o", out)
    assert not out.exists()


def test_an_architecture_that_is_not_supported_is_named(tmp_path: Path) -> None:
    file = tiny_file()
    metadata = {**dict(file.metadata), "general.architecture": "mamba"}
    path = tmp_path / "mamba.gguf"
    path.write_bytes(GgufFile(metadata, file.tensors).build())
    assert "'mamba'" in refused("import", path, "-o", tmp_path / "model")


def test_what_was_guessed_is_said_at_import_and_shown_by_inspect(tmp_path: Path) -> None:
    file = tiny_file()
    metadata = {k: v for k, v in dict(file.metadata).items() if k != "tokenizer.ggml.pre"}
    path = tmp_path / "old.gguf"
    path.write_bytes(GgufFile({**metadata, "somebody.note": "x"}, file.tensors).build())
    found = call("import", path, "-o", tmp_path / "model")
    assert found.status == 0
    assert "note: the file names no pre-tokenizer" in found.err
    shown = done("inspect", path)
    assert "names no pre-tokenizer" in shown["note 1"]
    assert shown["not_used"] == ["somebody.note"]


def test_precisions_and_devices_are_named(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert "w8a8, w8a16, w16a16" in refused("import", files.gguf, "-o", out, "--precision", "w4a4")
    assert "auto, cpu, numpy" in refused("import", files.gguf, "-o", out, "--device", "abacus")
    assert "outside 1..8" in refused("keygen", files.model, "-o", out, "--columns", 9)


def test_what_import_is_asked_for_is_checked_before_the_checkpoint_is_read(tmp_path: Path) -> None:
    recipe, out, missing = tmp_path / "recipe", tmp_path / "model", tmp_path / "missing.gguf"
    recipe.write_text("{}")
    assert "precision 'w4a4'" in refused("import", missing, "-o", out, "--precision", "w4a4")
    assert "a recipe has exactly" in refused("import", missing, "-o", out, "--recipe", recipe)
    assert "device 'abacus'" in refused("import", missing, "-o", out, "--device", "abacus")
    both = refused("import", missing, "-o", out, "--precision", "auto", "--recipe", recipe)
    assert "give one of them" in both
    with pytest.raises(UnsupportedError, match="precision 'w4a4'"):
        import_checkpoint(missing, synthetic.KERNELS, "w4a4")


def test_an_identity_is_replaced_only_on_request(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "identity"
    out.write_text("precious")
    assert "--force" in refused("identity", "-o", out)
    assert out.read_text() == "precious"
    assert call("identity", "-o", out, "--force").status == 0
    assert "is a directory" in refused("identity", "-o", tmp_path)
    assert "make it first" in refused("identity", "-o", tmp_path / "no" / "identity")


def test_a_new_key_in_the_place_of_an_old_one_starts_counting_anew(files: Files, key: Path) -> None:
    log = Key.load(key).log
    log.attempt()
    assert call("inspect", key, "--json").json["verifications"] == 1
    assert call("keygen", files.model, "-o", key, "--force").status == 0
    assert call("inspect", key, "--json").json["verifications"] == 0
    with pytest.raises(StorageError, match="another file now"):
        log.attempt()


@pytest.mark.parametrize("prompt", ["", " \n", "many " * 300])
def test_prompts_that_are_empty_or_too_long(files: Files, tmp_path: Path, prompt: str) -> None:
    message = refused("request", files.model, "--prompt", prompt, "-o", tmp_path / "request")
    assert ("context" if len(prompt) > 5 else "empty") in message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--max-tokens", "0", "max tokens"),
        ("--max-tokens", "9999", "context"),
        ("--temperature", "-1", "temperature"),
        ("--temperature", "nan", "temperature"),
        ("--temperature", "1e50", "temperature"),
        ("--top-p", "0", "top_p"),
        ("--top-k", "-1", "top_k"),
        ("--top-k", str(2**31), "top_k"),
        ("--repetition-penalty", "0", "repetition_penalty"),
        ("--stop", "", "stop string"),
        ("--stop", "x" * 257, "stop string"),
        ("--seed", "xyz", "seed"),
        ("--nonce", "00", "nonce"),
        ("--node", "zz", "public key"),
        ("--suite", "md5", "sha256, keccak256, blake3"),
        ("--prompt", "\udcff", "surrogates"),
    ],
)
def test_settings_out_of_range_are_named(
    files: Files, tmp_path: Path, option: str, value: str, says: str
) -> None:
    words = ["request", files.model, "--prompt", "x", option, value, "-o", tmp_path / "request"]
    assert says in refused(*words)
    assert os.listdir(tmp_path) == []


def test_a_file_of_another_kind_is_named(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "out"
    key = (files.key, files.receipt, files.challenge, files.opening)
    for words, found, wanted in (
        (("keygen", files.gguf, "-o", out), "gguf", "model"),
        (("run", files.key, files.request, "-o", out), "key", "model"),
        (("run", files.model, files.key, "-o", out), "key", "request"),
        (("run", files.model, files.request, "-o", out, "--identity", files.key), "key", "identity"),
        (
            ("challenge", files.request, files.receipt, "--request", files.request, "-o", out),
            "request",
            "key",
        ),
        (("open", files.run, files.receipt, "-o", out), "receipt", "challenge"),
        (("verify", files.request, *key[1:], "--request", files.request), "request", "key"),
        (("verify", *key, "--request", files.receipt), "receipt", "request"),
    ):
        message = refused(*words)
        assert f"kind {found}" in message
        assert wanted in message
    assert not out.exists()
    with pytest.raises(InputError, match="is of kind model; a verifier's key is needed"):
        Key.load(files.model)


def test_cells_that_cannot_be_drawn(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "challenge"
    for words in (("--cells", 0), ("--all", "--cells", 3), ("--seed", "xyz"), ("--node", "xyz")):
        assert refused("challenge", files.key, files.receipt, "--request", files.request, "-o", out, *words)
    assert not out.exists()


def test_openings_of_nothing(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "opening"
    assert "not the directory" in refused("open", tmp_path / "none", files.challenge, "-o", out)
    assert "no receipt" in refused("open", tmp_path, files.challenge, "-o", out)
    assert "cannot read" in refused("open", files.run, tmp_path / "none", "-o", out)
    gone = refused("open", files.run, files.challenge, "-o", out, "--model", tmp_path / "none")
    assert "cannot read" in gone
    assert not out.exists()


def test_a_key_that_others_can_read_is_refused(files: Files, key: Path) -> None:
    key.chmod(0o644)
    words = (files.receipt, files.challenge, files.opening, "--request", files.request)
    assert "chmod 600" in refused("verify", key, *words)
    key.chmod(0o600)
    data = bytearray(key.read_bytes())
    data[len(data) // 2] ^= 1
    key.write_bytes(data)
    assert "damaged" in refused("verify", key, *words)


def test_a_request_needs_one_source(files: Files, tmp_path: Path) -> None:
    for words in ((), (files.request, "--prompt", "x")):
        assert "either" in refused("run", files.model, *words, "-o", tmp_path / "run")
    assert "--raw" in refused(
        "request", files.model, "--prompt", "x", "--raw", "--system", "y", "-o", tmp_path / "request"
    )
    for option in (("--date", "2024-07-26"), ("--may-omit",)):
        found = refused("request", files.model, "--prompt", "x", "--raw", *option, "-o", tmp_path / "request")
        assert f"{option[0]} belongs to the chat template" in found


def test_the_process_ends_with_the_same_status_and_without_a_traceback(tmp_path: Path) -> None:
    process = start("import", tmp_path / "missing.gguf", "-o", tmp_path / "model", "--json")
    out, err = process.communicate()
    assert process.returncode == 2
    assert "No such file" in json.loads(out)["error"]
    assert err.decode().count("\n") == 1


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("Unable to allocate 8 GiB")])
def test_too_little_memory_accuses_nobody(
    files: Files, key: Path, monkeypatch: pytest.MonkeyPatch, error: MemoryError
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr("proofcompute.verifier.auditor.audit", fail)
    words = (key, files.receipt, files.challenge, files.opening, "--request", files.request)
    assert "not enough memory" in refused("verify", *words)


def test_a_fault_of_ours_accuses_nobody(
    files: Files, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python's status of an exception is that of a rejection."""

    def fail(*arguments: object, **named: object) -> None:
        raise RuntimeError("a kernel failed")

    monkeypatch.setattr("proofcompute.verifier.auditor.audit", fail)
    words = (key, files.receipt, files.challenge, files.opening, "--request", files.request)
    assert main(arguments("verify", *words)) == FAULT
    assert "RuntimeError: a kernel failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "what", ["import", "keygen", "identity", "card", "terms", "request", "challenge", "open"]
)
def test_no_command_replaces_a_file_without_being_told(files: Files, tmp_path: Path, what: str) -> None:
    commands: dict[str, tuple[object, ...]] = {
        "import": (files.gguf,),
        "keygen": (files.model,),
        "identity": (),
        "card": (files.model,),
        "terms": ("--identity", files.identity, "--rate", 100),
        "request": (files.model, "--prompt", "other"),
        "challenge": (files.key, files.receipt, "--request", files.request),
        "open": (files.run, files.challenge),
    }
    words = commands[what]
    out = tmp_path / "file"
    out.write_bytes(b"precious")
    assert "--force" in refused(what, *words, "-o", out)
    assert out.read_bytes() == b"precious"
    done(what, *words, "-o", out, "--force")
    assert out.read_bytes() != b"precious"
