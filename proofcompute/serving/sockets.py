"""Close connections that the server would keep: of clients that were cut off, or that do not read.

The server waits for the rest of a body that was answered without it, and for the client to take what was
sent. Nothing in ASGI tells it to stop, so its sockets are found among the files of this process.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["close_unread", "hang_up"]

_OPEN: Final = Path("/dev/fd")
_OPTION: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


def close_unread(port: int, seconds: float) -> bool:
    """Let the system close what connections to a port of this process leave unread for some seconds.

    It holds for connections that are accepted from now on, since they have the options of the socket that
    listens. Returns whether there is such a socket, and the system can do it (Linux can).
    """
    found = False
    if _OPTION is None:
        return found
    for one in _sockets():
        if _port(one) == port and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            one.setsockopt(socket.IPPROTO_TCP, _OPTION, int(seconds * 1000))
            found = True
    return found


def hang_up(client: tuple[str, int], port: int, *, sending: bool) -> bool:
    """End the connection of a client to a port of this process, and return whether there is one.

    With ``sending``, what was sent still reaches the client, and only its own bytes are not waited for.
    """
    for one in _sockets():
        with suppress(OSError):  # the client has left, or this socket has no client
            if _port(one) == port and one.getpeername()[:2] == client:
                one.shutdown(socket.SHUT_RD if sending else socket.SHUT_RDWR)
                return True
    return False


def _port(one: socket.socket) -> int:
    return int(one.getsockname()[1])


def _sockets() -> Iterator[socket.socket]:
    """Yield the TCP sockets of this process, each by a new number, so that nobody closes it meanwhile."""
    for name in os.listdir(_OPEN) if _OPEN.is_dir() else []:
        try:
            own = os.dup(int(name))
        except OSError:  # closed meanwhile
            continue
        if not stat.S_ISSOCK(os.fstat(own).st_mode):
            os.close(own)
            continue
        with socket.socket(fileno=own) as found:
            if found.family in _FAMILIES and found.type == socket.SOCK_STREAM:
                yield found
