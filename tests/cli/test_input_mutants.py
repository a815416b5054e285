"""Each check of a file of inputs is needed: without it, a bad file is not refused."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from adversary.mutation import Edit, apply
from cli.driver import call
from cli.networks import pixel_model, typed_model
from cli.test_inputs import BAD_JSON, BAD_NPY
from cli.test_pictures import BAD as BAD_PICTURES
from cli.test_pictures import SHAPES


class Mutant(NamedTuple):
    """A check, taken out, and the file that it stops."""

    module: str
    old: str
    new: str
    kind: str
    """``npy``, ``json`` or ``png``: the table that the case is in."""
    case: str


MUTANTS = {
    "the numbers are as many as the header states": Mutant(
        "cli.npy", "if len(data) != size:", "if len(data) < size:", "npy", "more numbers than stated"
    ),
    "type and order": Mutant(
        "protocol.requests",
        'if not rows or dtype.newbyteorder("=") != spec.numpy.newbyteorder("="):',
        "if not rows:",
        "npy",
        "signed bytes",
    ),
    "the shape": Mutant(
        "protocol.requests",
        'if not rows or dtype.newbyteorder("=") != spec.numpy.newbyteorder("="):',
        'if dtype.newbyteorder("=") != spec.numpy.newbyteorder("="):',
        "npy",
        "channels first",
    ),
    "the size of a header": Mutant(
        "encoding.npy", "if length > _MAX_HEADER:", "if length > 1 << 30:", "npy", "a huge header"
    ),
    "what else a header holds": Mutant(
        "encoding.npy",
        "or at != len(inside) or len(fields) != 3:",
        "or len(fields) != 3:",
        "npy",
        "a key twice",
    ),
    "types of JSON": Mutant(
        "cli.json_arrays",
        "wrong = [x for x in level if type(x) not in _KINDS[kind]]",
        "wrong = [x for x in level if not isinstance(x, _KINDS[kind])]",
        "json",
        "a bool for an integer",
    ),
    "ranges of JSON": Mutant(
        "cli.json_arrays",
        "wrong = [x for x in level if not least <= cast(int, x) <= most]",
        "level = [max(least, min(cast(int, x), most)) for x in level]",
        "json",
        "a negative byte",
    ),
    "unknown names": Mutant(
        "cli.json_arrays",
        "if unknown := [name for name in top if name not in specs]:",
        "if unknown := [top.pop(name) for name in list(top) if name not in specs][:0]:",
        "json",
        "an unknown name",
    ),
    "the size of a picture": Mutant(
        "cli.pictures",
        "if resize is None and seen != (width, height):",
        "if resize is None and False:",
        "png",
        "another size",
    ),
    "transparency": Mutant(
        "cli.pictures",
        'if channels != 4 and "transparency" in picture.info:',
        "if False:",
        "png",
        "a transparent colour",
    ),
    "frames": Mutant(
        "cli.pictures",
        'if getattr(picture, "is_animated", False) and picture.format == "PNG":',
        "if False:",
        "png",
        "animated",
    ),
    "colours": Mutant(
        "cli.pictures", "if picture.mode not in _MODES[channels]:", "if False:", "png", "colours for grey"
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_its_check_a_file_is_not_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = MUTANTS[name]
    card = pixel_model(SHAPES["colour"])
    data: bytes
    if mutant.kind == "json":
        card, data = typed_model(), BAD_JSON[mutant.case][0].encode()
    elif mutant.kind == "png":
        which, make, _ = BAD_PICTURES[mutant.case]
        card, data = pixel_model(SHAPES[which]), make()
    else:
        data = BAD_NPY[mutant.case][0]
    path = tmp_path / f"bad.{mutant.kind}"
    path.write_bytes(data)
    card.card.save(tmp_path / "card")
    words = ("request", tmp_path / "card", "--input", path, "-o")
    assert call(*words, tmp_path / "before").status == 2
    apply(monkeypatch, [Edit(mutant.module, mutant.old, mutant.new)])
    assert accepted(*words, tmp_path / "after")


def accepted(*words: object) -> bool:
    """Whether a command does its work, or fails with something that is no message."""
    try:
        return call(*words).status == 0
    except (ValueError, AssertionError):
        return True
