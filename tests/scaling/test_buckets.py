"""A store in a bucket of a service that is compatible with S3."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proofcompute.errors import InputError
from proofcompute.scaling import Store

pytest.importorskip("s3fs", reason="no s3fs here: pip install 'proofcompute[s3]'")
server = pytest.importorskip("moto.server", reason="no server here: pip install 'moto[server]'")


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, object]]:
    made = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    made.start()
    try:
        host, port = made.get_host_and_port()
        yield {
            "key": "any",
            "secret": "any",
            "client_kwargs": {"endpoint_url": f"http://{host}:{port}"},
        }
    finally:
        made.stop()


def test_a_bucket_keeps_what_came_first(options: dict[str, object]) -> None:
    import s3fs

    s3fs.S3FileSystem(**options).mkdir("verdicts")
    store, other = (Store("s3://verdicts/of", **options) for _ in range(2))
    assert store.create("a/b", b"first")
    assert not other.create("a/b", b"second")
    assert other.read("a/b") == b"first"
    assert (other.has("a/b"), other.has("c"), other.names()) == (True, False, ["a/b"])
    with pytest.raises(InputError):
        store.read("c")
