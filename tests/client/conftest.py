"""A real service of a tiny model, and the files of those who ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import proofcompute as pc
from serving.running import Running, chat_model, running
from synthetic import KERNELS


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    with running() as made:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that a client holds: model, card, key, and an identity to sign evidence."""
    folder = tmp_path_factory.mktemp("held")
    model = chat_model()
    model.save(folder / "model")
    (folder / "card").write_bytes(model.card.encode())
    pc.write_key(model, KERNELS, folder / "key")
    pc.NodeIdentity.new().save(folder / "identity")
    return folder
