"""A node is asked and audited, and one that cheats is caught: what `make serve-demo` runs.

It types the commands that a person would: import a model, make a key, serve, ask, audit. Then it asks and
audits the node of examples/cheating_node.py. Exit status 0: the honest node was accepted and both cheats were
caught; 1: something came out otherwise; 2: it could not be tried here.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import proofcompute as pc

CHEATING = Path(__file__).with_name("cheating_node.py")
QUESTION = "Why is the sky blue? Answer in one sentence."
MEMORY = 1 << 30
"""Bytes that a node of the demo model and a command beside it take (0.7 GiB), and some more."""
START = 900.0
"""Seconds that a node has until it listens. If kernels are compiled first, it takes a minute or two."""
END = 90.0


class Impossible(Exception):
    """The demo cannot be tried on this machine."""


def title(text: str) -> None:
    print(f"\n\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(words: Sequence[str], folder: Path) -> tuple[int, str]:
    """Type a command of proofcompute, show what it says as it says it, and return its status and words."""
    print(f"$ proofcompute {shlex.join(words)}", flush=True)
    command = [sys.executable, "-m", "proofcompute", *words]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        assert child.stdout is not None
        said = b""
        while part := os.read(child.stdout.fileno(), 4096):
            said += part
            sys.stdout.buffer.write(part)
            sys.stdout.flush()
    return child.returncode, said.decode("utf-8", "replace")


def prepare(words: Sequence[str], folder: Path) -> None:
    status, _ = run(words, folder)
    if status:
        raise Impossible(f"'proofcompute {words[0]}' ended with status {status}")


@contextmanager
def node(shown: str, command: Sequence[str], folder: Path) -> Iterator[str]:
    """A node while the block runs; yields its address. SIGTERM ends it, and it must end in good order."""
    print(f"$ {shown} &", flush=True)
    log = folder / "node.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdout=subprocess.PIPE, stderr=errors
        ) as child,
    ):
        try:
            yield _address(child, log)
            child.send_signal(signal.SIGTERM)
            if (status := child.wait(END)) != 0:
                raise Impossible(f"the node ended with status {status}:\n{_tail(log)}")
        except subprocess.TimeoutExpired:
            raise Impossible(f"the node did not end within {END:.0f} s") from None
        finally:
            child.kill()


def _address(child: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until a node says where it serves, show its lines, and return the address."""
    assert child.stdout is not None
    end, said = time.monotonic() + START, b""
    while not (found := re.search(rb"(http://\S+)/v1,.*\n.*\n", said)):
        ready, _, _ = select.select([child.stdout], [], [], max(0.0, end - time.monotonic()))
        part = os.read(child.stdout.fileno(), 4096) if ready else b""
        if not part:
            why = f"ended with status {child.wait(END)}" if ready else f"did not start within {START:.0f} s"
            raise Impossible(f"the node {why}:\n{_tail(log)}")
        said += part
    print(said.decode(), end="", flush=True)
    return found[1].decode()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-10:])


def check_memory() -> None:
    try:
        found = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text("ascii"))
    except OSError:
        return  # another system: it will say so itself
    if found and (free := int(found[1]) << 10) < MEMORY:
        raise Impossible(f"it takes about {MEMORY >> 20} MiB of memory, and {free >> 20} MiB are free here")


def demo(folder: Path, model: Path | None, tokens: str) -> dict[str, bool]:
    """Do all of it, and return what had to happen and whether it did."""
    title("A model, a key that only the auditor has, and a node's identity")
    if model is None:
        check_memory()
        prepare(["import", str(pc.packaged_smollm2()), "-o", "model", "--precision", "w8a16"], folder)
    else:
        (folder / "model").symlink_to(model.resolve())
    prepare(["keygen", "model", "-o", "key"], folder)
    prepare(["identity", "-o", "identity"], folder)
    came: dict[str, bool] = {}

    title("An honest node")
    serve = "serve model --identity identity --port 0"
    with node(f"proofcompute {serve}", ["-m", "proofcompute", *serve.split()], folder) as url:
        title("It is asked: the receipt is checked, and then 16 cells of the computation, drawn only now")
        status, said = run(["ask", url, QUESTION, "--key", "key", "--max-tokens", tokens], folder)
        came["the honest answer was accepted"] = status == 0 and bool(re.search("assurance +sampled", said))
        title("It is audited, with questions that look like anybody's")
        status, said = run(["audit", url, "--key", "key", "--count", "3", "--max-tokens", tokens], folder)
        came["the honest node passed the audit"] = status == 0 and bool(re.search("verified +3", said))

    title("A node that serves weights of half the bits, and text that its model did not write")
    kinds = ["--kind", "precision", "--kind", "text"]
    words = ["serve", "model", "identity", *kinds]
    with node(f"python {CHEATING.name} {' '.join(words)}", [str(CHEATING), *words], folder) as url:
        title("It is audited: what it computed with other weights does not fit")
        named = ["--name", "precision", "--key", "key", "--count", "3", "--max-tokens", tokens]
        status, said = run(["audit", url, *named], folder)
        came["the audit caught the other weights"] = status == 1 and bool(re.search("contradicted +3", said))
        title("It is asked: the text is not that of the tokens that it signed")
        named = ["--name", "text", "--key", "key", "--max-tokens", tokens]
        status, said = run(["ask", url, QUESTION, *named], folder)
        came["the question caught the other text"] = status == 1 and "REJECTED: step 5" in said
    return came


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Serve a model, ask and audit the node, and catch one that cheats."
    )
    parser.add_argument("--model", type=Path, help="a model file to serve; default: the packaged demo model")
    parser.add_argument("--max-tokens", default="48", help="most tokens of an answer (48)")
    options = parser.parse_args()
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="proofcompute-") as folder:
            came = demo(Path(folder), options.model, options.max_tokens)
    except (Impossible, pc.ProofcomputeError) as problem:
        print(f"\nserve-demo: {problem}", file=sys.stderr)
        return 2
    title(f"Done in {time.monotonic() - start:.0f} s")
    for what, happened in came.items():
        print(f"{'yes' if happened else 'NO ':3}  {what}")
    return 0 if all(came.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
