"""Tests the CUDA backend with NumPy arrays, as a verifier uses it: results and errors come at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from cuda_rig.requests import overflowing, run
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.errors import Cell, NonFiniteError, VerificationError
from proofcompute.protocol.messages import Challenge
from proofcompute.prover import RunDirectory
from proofcompute.testing.models import random_checkpoint
from proofcompute.testing.subject import Run
from proofcompute.verifier import Verified

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

CELLS = (Cell(0, 3, 9), Cell(1, 17, 18), Cell(2, 4, 7), Cell(3, 12, 19))


def check(found: Run, opening: bytes, kernels: Kernels) -> Verified:
    return synthetic.check(synthetic.key(), found, Challenge(found.receipt.digest, CELLS), opening, kernels)


def test_a_verifier_on_a_device() -> None:
    m = synthetic.model()
    proved = synthetic.prove(m, synthetic.request(m, sampling=synthetic.SAMPLED))
    opening = proved.open(Challenge(proved.receipt.digest, CELLS))
    device = EmulatedDevice(90, 2)
    assert check(proved, opening, CudaKernels(device)).cells == sum(c.b - c.a for c in CELLS)
    assert {"project31", "unpack", "attention_mix", "sample_draw"} <= {name for name, _ in device.launches}
    wrong = bytearray(opening)
    wrong[-1] ^= 1
    with pytest.raises(VerificationError) as expected:
        check(proved, bytes(wrong), synthetic.KERNELS)
    with pytest.raises(VerificationError) as found:
        check(proved, bytes(wrong), CudaKernels(device))
    assert str(found.value) == str(expected.value)


def test_keys_made_on_a_device_are_the_cpus() -> None:
    from proofcompute.verifier import keygen

    m = synthetic.model()
    made = keygen(m, CudaKernels(EmulatedDevice()), columns=2, seed=bytes([7] * 32))
    assert made.encode() == synthetic.key().encode()


def test_a_model_compiled_on_a_device_is_the_cpus() -> None:
    from proofcompute.importers.compiling import compile_decoder

    made = compile_decoder(random_checkpoint(), CudaKernels(EmulatedDevice()), "w8a16")
    assert made.model_id == synthetic.model().model_id


def test_the_operation_is_named_once() -> None:
    """The interpreter names it if an error is raised at once, the backend if it is found later."""
    m = overflowing("block.0.attention.qkv")
    with pytest.raises(NonFiniteError, match=r"^block\.0/[a-z._+]+: [^/]+$"):
        run(m, [synthetic.request(m)], CudaKernels(EmulatedDevice()))
    fine = synthetic.model()
    proved = synthetic.prove(fine, synthetic.request(fine))
    challenge = Challenge(proved.receipt.digest, (Cell(1, 3, 4),))
    for kernels in (synthetic.KERNELS, CudaKernels(EmulatedDevice())):
        node, groups = synthetic.node(m, kernels), [np.array(g) for g in proved.stored.groups]
        node.remember(proved.receipt, replace(proved.stored, kernels=kernels, groups=groups))
        with pytest.raises(NonFiniteError, match=r"^block\.0/[a-z._+]+: [^/]+$"):
            node.open(proved.request, proved.receipt, challenge)


def test_a_run_is_written_to_a_directory_and_opened_from_it(tmp_path: Path) -> None:
    """The trace is downloaded once; cells are opened on the device from the file."""
    m = synthetic.model()
    request = synthetic.request(m, sampling=synthetic.SAMPLED)
    kernels = CudaKernels(EmulatedDevice(75, 1))
    node, directory = synthetic.node(m, kernels), RunDirectory(tmp_path / "run")
    session = node.run(request, known=directory.begin(request), on_step=directory.log)
    receipt = node.commit(session, keep=False)
    directory.finish(session, receipt)
    expected = synthetic.prove(m, request)
    assert receipt.encode() == expected.data
    trace = b"".join(group.tobytes() for group in expected.stored.groups)
    assert (tmp_path / "run" / "trace").read_bytes() == trace
    stored, receipt = directory.stored(m, kernels)
    node.remember(receipt, stored)
    proved = Run(node, request, receipt, stored)
    challenge = Challenge(receipt.digest, CELLS)
    opening = proved.open(challenge)
    assert opening == expected.open(challenge)
    assert check(proved, opening, synthetic.KERNELS).cells == sum(c.b - c.a for c in CELLS)
