"""What callers give: paths as text, numbers of other types, and mistakes named where they are made."""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import proofcompute
import synthetic
from proofcompute import (
    Message,
    ModelCard,
    ModelFile,
    NodeIdentity,
    RunDirectory,
    Sampling,
    Terms,
    check_card,
    check_terms,
)
from proofcompute.errors import InputError
from proofcompute.errors.arguments import given, path_of
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Generation, Request
from proofcompute.tokens import chat_request, text_request
from proofcompute.verifier import Key, write_key


class Place:
    """Something of another library that is a path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


@pytest.mark.parametrize("kind", [str, Place, Path])
def test_paths_of_every_kind(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    model, node = synthetic.model(), NodeIdentity.new()

    def at(name: str) -> Any:
        return kind(tmp_path / name)

    model.save(at("model"))
    assert Model.load(at("model")).model_id == ModelFile.open(at("model")).card.model_id == model.model_id
    model.card.save(at("card"))
    assert ModelCard.load(at("card")).model_id == model.model_id
    node.save(at("identity"))
    assert NodeIdentity.load(at("identity")).public == node.public
    write_key(model, synthetic.KERNELS, at("key"))
    key = Key.load(at("key"))
    key.save(at("copy"))
    assert RunDirectory(at("run")).path == tmp_path / "run"


def test_public_functions_take_paths_of_every_kind() -> None:
    """None of them asks for pathlib's alone."""
    asked = []
    for name in proofcompute.__all__:
        found = getattr(proofcompute, name)
        members = [found, *(vars(found).values() if inspect.isclass(found) else ())]
        for member in members:
            call = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            if inspect.isfunction(call) and not call.__name__.startswith("_"):
                types = call.__annotations__
                asked += [
                    f"{name}.{call.__name__}" for p, kind in types.items() if p != "return" and kind == "Path"
                ]
    assert asked == []


@pytest.mark.parametrize("value", [None, 3, b"path", object()])
def test_what_is_no_path_is_named(value: Any) -> None:
    with pytest.raises(InputError, match=f"must be text or a pathlib.Path, not {type(value).__name__}"):
        path_of(value)
    with pytest.raises(InputError, match="must be text or"):
        Model.load(value)


@pytest.mark.parametrize("value", [0.7, np.float32(0.7), np.float64(0.7)])
def test_numbers_are_the_nearest_of_binary32(value: Any) -> None:
    """So a request of Python is that of the command line, and that of a client in another language."""
    nearest = struct.unpack("<f", struct.pack("<f", 0.7))[0]
    count: Any = np.int64(5)
    how = Sampling(value, count, value, value)
    assert how == Sampling(nearest, 5, nearest, nearest)
    assert [type(x) for x in (how.temperature, how.top_k)] == [float, int]
    Generation(1, how)


@pytest.mark.parametrize("value", [1e39, float("inf"), float("nan"), "1", None, True, np.bool_(True), [1.0]])
def test_numbers_that_there_are_none_for(value: Any) -> None:
    with pytest.raises(InputError, match="temperature"):
        Generation(1, Sampling(value))


M = synthetic.model()
REQUEST: dict[str, Any] = {"model_id": bytes(32), "inputs": (), "nonce": bytes(32)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Generation(2.0),  # type: ignore[arg-type]
        lambda: Generation(True),
        lambda: Generation(1, None),  # type: ignore[arg-type]
        lambda: Generation(1, seed=42),  # type: ignore[arg-type]
        lambda: Generation(1, stops="END"),  # type: ignore[arg-type]
        lambda: Generation(1, stops=(3,)),  # type: ignore[arg-type]
        lambda: Generation(1, ignore_end=1),  # type: ignore[arg-type]
        lambda: Request(**{**REQUEST, "nonce": "00" * 16}),
        lambda: Request(**{**REQUEST, "model_id": None}),
        lambda: Request(**REQUEST, node=None),  # type: ignore[arg-type]
        lambda: Request(**REQUEST, text=b"x"),  # type: ignore[arg-type]
        lambda: text_request(M, b"hi"),  # type: ignore[arg-type]
        lambda: text_request(M, None),  # type: ignore[arg-type]
        lambda: text_request(M, "hi", seed=42),  # type: ignore[arg-type]
        lambda: text_request(M, "hi", max_tokns=5),  # type: ignore[call-arg]
        lambda: chat_request(M, [{"role": "user", "content": "hi"}]),  # type: ignore[list-item]
        lambda: chat_request(M, [("user", "hi")]),  # type: ignore[list-item]
        lambda: chat_request(M, Message("user", "hi")),  # type: ignore[arg-type]
        lambda: chat_request(M, [Message("user", None)]),  # type: ignore[arg-type]
        lambda: chat_request(M, None),  # type: ignore[arg-type]
        lambda: check_card(M.card, M.model_id),  # type: ignore[arg-type]
        lambda: check_card(M.card.encode(), M.model_id.hex()),  # type: ignore[arg-type]
        lambda: check_terms(Terms.of(NodeIdentity.new(), base=1, rate=1, retention=1)),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_input_errors(make: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        make()


def test_a_bool_is_no_integer() -> None:
    with pytest.raises(InputError, match="n must be an integer, not bool"):
        given(True, int, "n")
    assert given(3, int, "n") == 3
