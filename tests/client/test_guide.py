"""The programs of the guide for clients run against a node, as they stand there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or LiteLLM fetches a list of prices

import pytest

from markdown_blocks import Block, blocks
from serving.running import Running

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "client.md"
PROGRAMS = [b for b in blocks(GUIDE.read_text("utf-8")) if b.language == "python"]
NAMES = {"card": "model.card", "key": "model.key", "identity": "identity"}


@pytest.mark.parametrize("program", PROGRAMS, ids=[f"line {b.line}" for b in PROGRAMS])
@pytest.mark.filterwarnings("ignore:.*ReadOnly:UserWarning")
def test_a_program_of_the_guide_runs(
    program: Block,
    node: Running,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, there in NAMES.items():
        shutil.copy(files / name, tmp_path / there)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert "http://127.0.0.1:8000/v1" in program.text
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(program.text.replace("http://127.0.0.1:8000", node.url), names)  # noqa: S102
    out = capsys.readouterr().out
    if "bytes(32)" in program.text:
        assert out.startswith("step 3")
        assert (tmp_path / "step-3.answer").exists()
    else:
        transport = names.get("transport")
        assert transport is None or len(transport.checked) >= 1
        assert out or "litellm" in program.text


def test_the_guide_has_programs() -> None:
    assert len(PROGRAMS) >= 6
