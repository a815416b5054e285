"""Keep one request's run in a directory (docs/spec/messages.md#run-directory).

===========  =======================================================================================
``request``  the request, canonical
``tokens``   answer tokens so far, int32 little-endian, appended as they are made
``trace``    leaf data of every committed group, one after the other; appears when the run is finished
``model``    path of the model file, UTF-8, if it was given: opening cells needs the model again
``identity`` the node's key pair, if it was made for this run; readable by its owner only
``signer``   otherwise the path of the file with the key pair, UTF-8: opening cells needs it again
``receipt``  the signed receipt; appears last, so a directory that has one is complete
``.lock``    empty; exists, and is locked, while a process writes in the directory
===========  =======================================================================================

A run that was interrupted has ``tokens`` but no ``receipt``. Resuming feeds those tokens back and computes
the missing rows. The result is the same, since the trace of token-by-token decoding equals that of one pass.
Only one process at a time writes in a directory, from ``begin`` to ``close`` or to the end of the process.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from stat import S_ISREG
from typing import IO

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import U8
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.files import exclusive, read_limited, write_atomic, writing
from proofcompute.engine import Session
from proofcompute.errors import FormatError, InputError, StorageError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import KIB, MAX_RECEIPT, MAX_REQUEST, MAX_ROWS
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.prover.answering import claimed
from proofcompute.prover.stored import StoredTrace

__all__ = ["RunDirectory"]

LOCK = ".lock"
"""Name of the file that is locked while a process writes in the directory."""


class RunDirectory:
    """One request's directory; whoever begins a run must close or finish it."""

    def __init__(self, path: StrPath) -> None:
        self.path = path_of(path)
        self._log: IO[bytes] | None = None
        self._logged = 0
        self._held = ExitStack()

    @property
    def receipt_path(self) -> Path:
        """Path of the receipt."""
        return self.path / "receipt"

    def begin(self, request: Request) -> list[int]:
        """Begin a run or resume an interrupted one, and return the answer's tokens so far.

        This object has the directory for itself until :meth:`close`. Raises InputError if another process or
        object uses the directory, or if it holds a finished run, another request, or anything else, and
        StorageError if it cannot be written.
        """
        if self._log is not None:
            raise InputError("the run has begun already")
        encoded = request.encode()
        self._check(encoded)  # before a file is added to somebody else's directory
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise StorageError(f"cannot write in {self.path}: {e.strerror or e}") from e
        with ExitStack() as held:
            held.enter_context(exclusive(self.path / LOCK, "run directory", shown=self.path))
            held.callback((self.path / LOCK).unlink, missing_ok=True)
            self._check(encoded)  # again, now that nobody else changes it
            try:
                write_atomic(self.path / "request", encoded)
                tokens = self._kept_tokens()
                self._log = (self.path / "tokens").open("ab", buffering=0)  # so that closing cannot fail
            except OSError as e:
                raise StorageError(f"cannot write in {self.path}: {e.strerror or e}") from e
            self._held = held.pop_all()
        self._logged = len(tokens)
        return tokens

    def _check(self, encoded: bytes) -> None:
        """Raise InputError if the path holds anything that a run of this request cannot continue."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise InputError(f"{self.path} is not a directory; choose another name")
        known = {"request", "tokens", "trace", "model", "identity", "signer", "receipt"}
        odd = [p.name for p in self.path.iterdir() if p.name not in known and not p.name.startswith(".")]
        if odd:
            raise InputError(f"{self.path} holds {odd[0]}, which is no part of a run; choose another name")
        links = [p.name for p in self.path.iterdir() if p.name in known and not S_ISREG(p.lstat().st_mode)]
        if links:  # a link may lead to somebody else's file
            raise InputError(f"{self.path} holds {links[0]}, which is no plain file; choose another name")
        if self.receipt_path.exists():
            raise InputError(f"{self.path} holds a finished run; choose another name")
        kept = self.path / "request"
        if kept.exists() and read_limited(kept, MAX_REQUEST, "request") != encoded:
            raise InputError(f"{self.path} holds an interrupted run of another request; choose another name")

    def _kept_tokens(self) -> list[int]:
        path = self.path / "tokens"
        if not path.exists():
            return []
        data = read_limited(path, 4 * MAX_ROWS, "tokens")
        whole = len(data) - len(data) % 4  # an interruption may cut the last token
        if whole != len(data):
            os.truncate(path, whole)
        return [int(t) for t in np.frombuffer(data[:whole], "<i4")]

    def log(self, session: Session) -> None:
        """Append the tokens made since the last call.

        Raises InputError unless the run has begun, and StorageError if the tokens cannot be written.
        """
        if self._log is None:
            raise InputError("the run has not begun, or is closed")
        new = session.answer[self._logged :]
        try:
            data = np.array(new, "<i4").tobytes()
            if self._log.write(data) != len(data):
                raise OSError("only a part was written")
        except OSError as e:
            raise StorageError(
                f"cannot write in {self.path}: {e.strerror or e}; free some space, then resume"
            ) from e
        self._logged = len(session.answer)

    def remember_model(self, path: StrPath) -> None:
        """Store the path of the model file that the run uses."""
        write_atomic(self.path / "model", str(path_of(path).absolute()).encode("utf-8", "surrogateescape"))

    def model_path(self) -> Path:
        """Return the path of the model file that the run used. Raises InputError if it was not stored."""
        return self._stored("model", "model file", "which model it used; name the model file")

    def _stored(self, name: str, what: str, lacks: str) -> Path:
        """Return the path that one of the directory's files holds.

        Raises InputError if there is no such file, and FormatError if it holds no path.
        """
        path = self.path / name
        if not path.exists():
            raise InputError(f"{self.path} does not say {lacks}")
        data = read_limited(path, 16 * KIB, f"{name} path")
        if not data or b"\0" in data:
            raise FormatError(f"{path} holds no path of a {what}; name the {what}")
        return Path(data.decode("utf-8", "surrogateescape"))

    def remember_identity(self, identity: NodeIdentity, path: Path | None) -> None:
        """Store who signs: the path of the key pair's file or, if it is None, the key pair itself."""
        noted, own = self.path / "signer", self.path / "identity"
        if path is None:
            identity.save(own)
            noted.unlink(missing_ok=True)
        else:
            write_atomic(noted, str(path.absolute()).encode("utf-8", "surrogateescape"))
            own.unlink(missing_ok=True)

    def own_identity(self) -> NodeIdentity | None:
        """Return the key pair that was made for this run, or None if there is none."""
        own = self.path / "identity"
        return NodeIdentity.load(own) if own.exists() else None

    def identity(self) -> NodeIdentity:
        """Return the key pair that signs this run's openings.

        Raises InputError if it was not stored or its file is missing.
        """
        own = self.own_identity()
        if own is not None:
            return own
        path = self._stored("signer", "identity", "who signed it; give the node's key pair with --identity")
        if not path.exists():
            raise InputError(f"the run's identity {path} is gone; name it with --identity")
        return NodeIdentity.load(path)

    def close(self) -> None:
        """Close the log of tokens and release the directory."""
        if self._log is not None:
            self._log.close()
            self._log = None
        self._held.close()

    def finish(self, session: Session, receipt: Receipt) -> None:
        """Write the trace, then the receipt, and close.

        Raises StorageError if they cannot be written, which leaves the run resumable, and InputError unless
        the run has begun, so that another process's files stay.
        """
        if self._log is None:
            raise InputError("the run has not begun, or is closed")
        program = session.trace.program
        try:
            with writing(self.path / "trace") as stream:
                for g in range(len(program.committed)):
                    stream.write(session.trace.memory.host(session.trace.group(g, 0, receipt.rows)).data)
            write_atomic(self.receipt_path, receipt.encode())
        finally:
            self.close()

    def request(self) -> Request:
        """Return the request of this run."""
        return Request.decode(read_limited(self.path / "request", MAX_REQUEST, "request"))

    def receipt(self) -> Receipt:
        """Return the receipt of a finished run. Raises InputError if the run is not finished."""
        if not self.receipt_path.exists():
            raise InputError(f"{self.path} has no receipt: the run was interrupted; run it again to resume")
        return Receipt.decode(read_limited(self.receipt_path, MAX_RECEIPT, "receipt"))

    @property
    def has_trace(self) -> bool:
        """Whether the trace is stored; it may be removed, and is then computed again."""
        return (self.path / "trace").exists()

    def stored(self, model: Model, kernels: Kernels) -> tuple[StoredTrace, Receipt]:
        """Return the trace of a finished run, mapped from its file, and its receipt.

        Raises MismatchError if the run is of another model, and FormatError if the files do not fit together
        or the trace is not what the receipt commits to.
        """
        request, receipt, program = self.request(), self.receipt(), model.program
        if (receipt.request_digest, receipt.suite) != (request.digest, request.suite):
            raise FormatError(f"{self.path}: the receipt is not that of the request beside it")
        try:
            statement = claimed(model, request, receipt)
        except FormatError as e:
            raise FormatError(f"{self.receipt_path}: {e}") from e
        widths = [program.group_bytes(g) for g in range(len(program.committed))]
        path = self.path / "trace"
        try:
            size = path.stat().st_size
            if size != sum(widths) * statement.rows:
                raise FormatError(f"{path} has {size} bytes where {sum(widths) * statement.rows} are needed")
            flat: U8 = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
        except OSError as e:
            raise InputError(f"cannot read {path}: {e.strerror or e}") from e
        groups, at = [], 0
        for w in widths:
            groups.append(flat[at : at + w * statement.rows].reshape(statement.rows, w))
            at += w * statement.rows
        trace = StoredTrace(statement, request.suite, groups, kernels)
        if trace.root() != receipt.trace_root:  # opening it would accuse the node itself
            raise FormatError(f"{path} is damaged: it is not the trace that the receipt commits to")
        return trace, receipt
