"""Tell which requests of a client go to a node's interface, and which of them ask for answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from proofcompute.errors import InputError
from proofcompute.openai import OPEN_PATH, Endpoint

__all__ = ["Interface"]

_ANSWERS: Final[Mapping[str, Endpoint]] = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
}
_PORTS: Final = {"http": 80, "https": 443}


class Interface:
    """The address of a node's interface. Raises InputError if the base URL is not like http://host:8000/v1."""

    def __init__(self, base_url: str) -> None:
        try:
            found = urlsplit(base_url)
            port = found.port
        except ValueError as e:
            raise InputError(f"the base URL cannot be read: {e}") from None
        unusable = found.query or found.fragment or found.username
        if found.scheme not in _PORTS or not found.hostname or unusable:
            raise InputError("a base URL is like http://host:8000/v1")
        self.url = base_url.rstrip("/")
        """The base URL without a slash at its end."""
        self._origin = found.scheme, found.hostname, port or _PORTS[found.scheme]
        self._path = found.path.rstrip("/")

    def endpoint(self, request: Any, *, require: bool) -> Endpoint | None:
        """Return which answers a request asks for; None if its response needs no receipt.

        With ``require``, a question that has no receipt is refused. Raises InputError for it, and for an
        address outside of the interface, to which a redirect or a wrong base URL may lead.
        """
        url = request.url
        path = url.raw_path.decode("ascii").partition("?")[0]
        inside = path.startswith(self._path + "/") and "/." not in path
        if (url.scheme, url.host, url.port or _PORTS.get(url.scheme), inside) != (*self._origin, True):
            raise InputError(f"a request outside of {self.url}, whose answers alone are checked")
        endpoint = _ANSWERS.get(path.removeprefix(self._path))
        if request.method == "POST" and endpoint is not None:
            return endpoint
        if request.method in ("GET", "HEAD", "OPTIONS") or self.opens(request) or not require:
            return None
        raise InputError(f"{request.method} {path}: answers of this interface have no receipts")

    def opens(self, request: Any) -> bool:
        """Tell whether a request inside of the interface asks for an opening."""
        path = request.url.raw_path.decode("ascii").partition("?")[0]
        return request.method == "POST" and bool(path == self._path + OPEN_PATH)
