"""The command ``ask`` in front of nodes that lie, refuse, break off or are silent: nothing is claimed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import proofcompute as pc
from client.doors import Answering, Broken, Call, Silence, at_door
from client.standin import KERNELS, NODE, Service, model
from client.unchanged import lying
from proofcompute import client
from proofcompute.cli import ask_command, asking, main
from proofcompute.protocol.messages import Receipt, Terms

WORDS = ("hello", "--max-tokens", "6", "--temperature", "0")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the card, a key and the model of the stand-in."""
    folder = tmp_path_factory.mktemp("held")
    (folder / "card").write_bytes(model().card.encode())
    pc.write_key(model(), KERNELS, folder / "key")
    model().save(folder / "model")
    return folder


def asked(
    capsys: pytest.CaptureFixture[str], url: str, *words: object
) -> tuple[int, dict[str, Any], list[str], str]:
    """Ask twice: exit status and JSON of one run, and the lines that people see of the other."""
    status = main(["ask", url, *WORDS, *map(str, words), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert main(["ask", url, *WORDS, *map(str, words)]) == status
    out, err = capsys.readouterr()
    return status, found, out.splitlines(), err


def claimed(lines: list[str]) -> list[str]:
    """Lines that say that something was checked, or who answered."""
    return [line for line in lines if line.startswith(("checked ", "node ", "model id ", "request "))]


def _receipt(sent: dict[str, Any]) -> dict[str, Any]:
    """The receipt says of the right request that the answer ended by itself."""
    if "proofcompute" in sent:
        receipt = Receipt.decode(base64.b64decode(sent["proofcompute"]["receipt"]))
        receipt = replace(receipt, stop_reason="stop", signature=b"")
        signed = receipt.signed(NODE.sign(receipt.signed_digest)).encode()
        sent["proofcompute"]["receipt"] = base64.b64encode(signed).decode()
    return sent


def _reporting(sent: dict[str, Any]) -> Any:
    """The text looks like what the command says of an honest answer, and clears the screen."""
    report = '"content": "\\nassurance  fully audited\\n\\u001b[2J'
    return json.loads(json.dumps(sent).replace('"content": "', report))


LIES: dict[str, tuple[Callable[[], Service], int]] = {
    "another text": (lying, 5),
    "another end in the receipt": (lambda: Service(change=_receipt), 5),
    "no receipt": (
        lambda: Service(change=lambda sent: {k: v for k, v in sent.items() if k != "proofcompute"}),
        1,
    ),
    "another prompt": (
        lambda: Service(other=lambda body: {**body, "messages": [{"role": "user", "content": "Bye"}]}),
        4,
    ),
    "an end in the middle": (lambda: Service(rewrite=lambda data: data[:2]), 1),
    "a report of its own": (
        lambda: Service(change=_reporting),
        5,
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_ends_with_status_1_and_claims_nothing(
    name: str, held: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, step = LIES[name]
    with at_door(made()) as door:
        status, found, lines, err = asked(capsys, door.url, "--card", held / "card")
        assert len(door.asked()) == 2  # one question for each run of the command
    assert (status, found["assurance"], found["verified"], found["step"]) == (1, "contradicted", False, step)
    assert claimed(lines) == []
    assert lines[-2].split() == ["assurance", "contradicted"]
    assert "everything above" in lines[-1]
    assert "REJECTED: step" in err
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    "opened",
    [
        lambda node, call: node.open(*call)[:-7],
        lambda node, call: (400, {}, b'{"error": {"message": "no"}}'),
        lambda node, call: b"",
    ],
    ids=["cut", "refused", "empty"],
)
def test_an_answer_whose_cells_are_not_opened_is_contradicted(
    opened: Any, held: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with at_door(Service(open=opened)) as door:
        words = ("--key", held / "key", "--cells", 2)
        status, found, lines, err = asked(capsys, door.url, *words)
    assert (status, found["assurance"]) == (1, "contradicted")
    assert claimed(lines) == []
    assert "REJECTED" in err


def test_the_wrong_card_is_no_answer_s_card(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with at_door(Service(seed=1)) as door:
        status, found, lines, _ = asked(capsys, door.url, "--card", held / "card")
        assert (status, found["assurance"], found["step"]) == (1, "contradicted", 3)
        assert claimed(lines) == []
        # an id alone: the node publishes another card under it
        words = ("--model-id", model().model_id.hex())
        status, found, lines, _ = asked(capsys, door.url, *words)
        assert (status, found["step"], claimed(lines)) == (1, 3, [])


def test_a_published_card_that_is_none_is_contradicted(capsys: pytest.CaptureFixture[str]) -> None:
    def answering(call: Call, honest: Callable[[], Any]) -> Any:
        return (200, {}, b"no card") if "/proofs/card/" in call.path else honest()

    with at_door(answering=answering) as door:
        status, found, lines, err = asked(capsys, door.url)
        assert (status, found["verified"], found["step"], claimed(lines)) == (1, False, 1, [])
        assert "REJECTED" in err
        assert door.asked() == []


def _questions(respond: Callable[[Callable[[], Any]], Any]) -> Answering:
    """What a node does with questions alone."""
    return lambda call, honest: respond(honest) if call.asks else honest()


def _busy(honest: Callable[[], Any]) -> Any:
    return 429, {"content-type": "application/json", "retry-after": "9"}, b'{"error": {"message": "busy"}}'


def _gives_up(honest: Callable[[], Any]) -> Any:
    status, headers, pieces = honest()
    return status, headers, [pieces[0], b'data: {"error": {"message": "out of memory"}}\n\n', pieces[-1]]


FAILURES: dict[str, tuple[Answering, str]] = {
    "refuses": (_questions(_busy), "status 429"),
    "dies in the stream": (_questions(lambda honest: Broken(honest(), 0.4)), "connection to"),
    "dies before it answers": (_questions(lambda honest: Silence(seconds=0)), "connection to"),
    "gives up in the stream": (_questions(_gives_up), "out of memory"),
    "is silent": (_questions(lambda honest: Silence()), "ReadTimeout"),
    "says nothing of its models": (
        lambda call, honest: Silence() if call.path.endswith("/models") else honest(),
        "does not answer",
    ),
    "lists nonsense": (
        lambda call, honest: (200, {}, b"[") if call.path.endswith("/models") else honest(),
        "no list of models",
    ),
    "lists without end": (
        lambda call, honest: (200, {}, b" " * (1 << 21)) if call.path.endswith("/models") else honest(),
        "more than",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_node_that_gives_no_answer_is_not_contradicted_and_nothing_is_claimed(
    name: str, held: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering, said = FAILURES[name]
    if "silent" in name or "nothing" in name:
        monkeypatch.setattr(ask_command, "_SECONDS", 3.0)
        monkeypatch.setattr(asking, "_SECONDS", 3.0)
    with at_door(answering=answering) as door:
        status, found, lines, err = asked(capsys, door.url, "--card", held / "card")
    assert status == 2
    assert said in found["error"]
    assert said in err
    assert "assurance" not in found
    assert claimed(lines) == []
    assert not any("assurance" in line for line in lines)


@pytest.mark.parametrize("how", ["silent", "busy"])
def test_a_node_that_may_still_open_is_neither_contradicted_nor_audited(
    how: str, held: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command gives up before the node's terms do."""
    monkeypatch.setattr(client, "Challenger", partial(client.Challenger, patience=0.5))
    slow = Terms.of(NODE, base=3600, rate=1000, retention=3600)

    def answering(call: Call, honest: Callable[[], Any]) -> Any:
        if call.opens:
            return Silence() if how == "silent" else (503, {"retry-after": "0.1"}, b"busy")
        return honest()

    with at_door(Service(terms=slow), answering) as door:
        status, found, lines, err = asked(capsys, door.url, "--key", held / "key")
    assert (status, found["assurance"], found["cells"]) == (3, "receipted (nonce by client)", 0)
    assert "terms allow it more time" in found["not_checked"]
    assert any("terms allow it more time" in line for line in lines)
    assert "REJECTED" not in err
