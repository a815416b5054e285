"""A Ray cluster of three nodes on this machine, two of which are killed while they work, and workers too."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proofcompute.errors import InputError

pytest.importorskip("ray", reason="no Ray here: pip install 'proofcompute[ray]'")
TESTS = Path(__file__).parents[1]
SOON = 900


def test_a_cluster_is_connected_first() -> None:
    from proofcompute.scaling.cluster import RayExecutor, connected

    with pytest.raises(InputError, match=r"ray\.init"):
        RayExecutor(1)
    with pytest.raises(InputError, match="0 workers"):
        RayExecutor(0)
    for address in ("127.0.0.1:9", "127.0.0.1:99999"):
        with pytest.raises(InputError, match="no Ray cluster answers"), connected(address):
            pass


@pytest.mark.slow
def test_every_verdict_once_although_nodes_and_workers_are_killed(tmp_path: Path) -> None:
    alone = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("no network namespace can be made")
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    made = subprocess.Popen(
        [*alone, sys.executable, "-m", "scaling.in_cluster", str(tmp_path)],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": ""},
    )
    try:
        out, _ = made.communicate(timeout=SOON)
    finally:
        if made.poll() is None:
            os.killpg(made.pid, signal.SIGKILL)
            made.communicate()
    assert made.returncode == 0, out[-4000:]
    assert out.rstrip().endswith("all held")
