"""What the package exports: pinned, complete, and loaded only when used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import proofcompute

EXPORTED = """
Answer AnswerText Auditor Bundle BusyError Cell Challenge ChallengeLimitError Claim DeviceError
DeviceMemoryError EmptyRowError Engine EnvelopeError Evidence EvidenceError EvidenceVerdict ExecutionError
Finding FormatError Generation InputError Kernels Key LimitError Message MismatchError Model ModelCard
ModelFile Node NodeIdentity NonFiniteError Opener Outcome AuditPolicy Pipeline ProductKey Program
ProgramBuilder Prompter ProofcomputeError Receipt Request RunDirectory Runner RunnerEvents RunnerLimits
RunnerLoad RunnerState Sample Sampling Session ServiceError StageNode StoppedError StorageError StoredTrace
Terms Ticket Tokenizer UnsupportedError VerificationError Verified Vocabulary all_cells array_request attach
chat_request check_card check_handed check_receipt check_stages check_terms check_text count_cells
draw_cells import_checkpoint job kernels_for keygen make_evidence matmul open_bundle openings
packaged_smollm2 proved public_challenge replay replay_stages require_within text_request verify
verify_evidence verify_product verify_public verify_rows warm_up wrap write_key
""".split()


def test_the_list_of_exports_is_pinned() -> None:
    assert sorted(proofcompute.__all__) == sorted(EXPORTED)
    assert set(EXPORTED) <= set(dir(proofcompute))


@pytest.mark.parametrize("name", EXPORTED)
def test_each_export_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(proofcompute, name)
    assert value.__doc__
    assert value.__module__.startswith("proofcompute.")


def test_type_checkers_see_what_is_loaded() -> None:
    tree = ast.parse(Path(proofcompute.__file__).read_text("utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    imports = [n for n in block.body if isinstance(n, ast.ImportFrom)]
    seen = {a.name: (n.module or "").removeprefix("proofcompute.") for n in imports for a in n.names}
    assert seen == proofcompute._MODULE
    assert set(seen) == set(proofcompute.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        proofcompute.no_such_thing  # noqa: B018


@pytest.mark.parametrize(
    "command", ["import proofcompute", "from proofcompute.cli import main; main(['--help'])"]
)
def test_starting_loads_nothing_heavy(command: str) -> None:
    heavy = ("numba", "cupy", "tokenizers", "numpy", "safetensors", "gguf", "jinja2")
    code = f"{command}\nimport sys\nassert not [m for m in {heavy!r} if m in sys.modules]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
