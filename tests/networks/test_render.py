"""Requests to Dispersed: a server made from its documentation takes ours, and refuses what is changed."""

from __future__ import annotations

import hashlib
import hmac
import json
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.driver import done, refused
from proofcompute.errors import FormatError, InputError
from proofcompute.networks.render import ApiKey, Job, canonical_json, canonical_query, signature, signing

httpx = pytest.importorskip("httpx")

KEY = ApiKey("pk_abc123", "sk_secret")
NOW = 1_706_918_400.0
JOB = Job(title="a node", image="registry.example.org/node", tag="1.0")


class Stub:
    """What the documentation says that the server does; nothing of it comes from the adapter."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, request: Any) -> Any:
        problem = self._problem(request)
        if problem is not None:
            return httpx.Response(401, json={"error": problem})
        if (request.method, request.url.path) != ("POST", "/v1/jobs"):
            return httpx.Response(200, json={"data": []})
        job = json.loads(request.content)
        sizes = ("cpu_count", "gpu_count", "min_ram_gb", "min_storage_gb", "min_vram_gb")
        if job["task"] not in ("BATCH", "PERSISTENT") or any(job[name] < 0 for name in sizes):
            return httpx.Response(400)
        if job["task"] == "BATCH" and job["max_timeout_run_ms"] < 60000:
            return httpx.Response(400)
        if job["parameters"]["type"] != "docker" or not job["parameters"]["parameters"]["image"]:
            return httpx.Response(400)
        return httpx.Response(201, json={"uuid": "a-job", "status": "PENDING"})

    def _problem(self, request: Any) -> str | None:
        headers = request.headers
        if headers.get("x-api-key") != KEY.public:
            return "key"
        if abs(int(headers["x-time"]) - NOW * 1000) > 5 * 60 * 1000:
            return "time"
        if len(bytes.fromhex(headers["x-nonce"])) != 16 or headers["x-nonce"] in self.seen:
            return "nonce"
        parsed = urllib.parse.urlsplit(str(request.url))
        fields: dict[str, list[str]] = urllib.parse.parse_qs(parsed.query, keep_blank_values=True)
        query = "&".join(
            urllib.parse.quote_plus(name) + "=" + urllib.parse.quote_plus(value)
            for name in sorted(fields)
            for value in sorted(fields[name])
        )
        body = b""
        if request.content:
            value = json.loads(request.content)
            body = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=True).encode()
        parts = [KEY.public, headers["x-time"], headers["x-nonce"], request.method, parsed.path, query]
        text = "|".join([*parts, hashlib.sha256(body).hexdigest()])
        expected = hmac.new(KEY.secret.encode(), text.encode(), "sha256").hexdigest()
        if not hmac.compare_digest(expected, headers["x-signature"]):
            return "signature"
        self.seen.add(headers["x-nonce"])
        return None


def client(change: Callable[[Any], Any] = lambda r: r, clock: float = NOW, key: ApiKey = KEY) -> Any:
    stub = Stub()
    transport = httpx.MockTransport(lambda request: stub(change(request)))
    return httpx.Client(
        transport=transport, base_url="https://api.example.org", auth=signing(key, lambda: clock)
    )


def test_a_job_is_created_and_asked_for() -> None:
    with client() as api:
        for job in (JOB, replace(JOB, run_ms=60_000, env={"NAME": "ü"}, ports=())):
            made = api.post("/v1/jobs", content=job.document().data)
            assert (made.status_code, made.json()["status"]) == (201, "PENDING")
        assert api.post("/v1/jobs", json=json.loads(JOB.document().data)).status_code == 201
        for parameters in (
            {"z": 3, "a": 1, "b": 2},
            {"tag": ["zebra", "apple"]},
            {"filter[job_uuid]": "a-b_c.d"},
            {"x": ""},
        ):
            assert api.get("/v1/job-runs", params=parameters).status_code == 200
        assert api.delete("/v1/jobs/a-job").status_code == 200


def headed(name: str, value: str) -> Callable[[Any], Any]:
    def change(request: Any) -> Any:
        request.headers[name] = value
        return request

    return change


def retargeted(url: str) -> Callable[[Any], Any]:
    return lambda r: httpx.Request(r.method, url, headers=r.headers, content=r.content)


CHANGED: dict[str, Callable[[Any], Any]] = {
    "another key": headed("x-api-key", "pk_other"),
    "another time": headed("x-time", str(int(NOW * 1000) + 1)),
    "another nonce": headed("x-nonce", 32 * "0"),
    "another signature": headed("x-signature", 64 * "0"),
    "another path": retargeted("https://api.example.org/v1/job-recipes"),
    "another query": retargeted("https://api.example.org/v1/jobs?dry=1"),
    "another method": lambda r: httpx.Request("PUT", r.url, headers=r.headers, content=r.content),
    "another body": lambda r: httpx.Request(
        r.method, r.url, headers=r.headers, content=r.content.replace(b"a node", b"b node")
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_changed_requests_are_refused(name: str) -> None:
    with client(CHANGED[name]) as api:
        assert api.post("/v1/jobs", content=JOB.document().data).status_code == 401


def test_another_secret_and_an_old_time_are_refused() -> None:
    for options in ({"key": ApiKey(KEY.public, "sk_other")}, {"clock": NOW - 301}):
        with client(**options) as api:
            assert api.get("/v1/jobs").status_code == 401


def test_a_request_that_is_sent_again_is_refused() -> None:
    stub, sent = Stub(), []

    def keep(request: Any) -> Any:
        sent.append(request)
        return stub(request)

    with httpx.Client(transport=httpx.MockTransport(keep), auth=signing(KEY, lambda: NOW)) as api:
        assert api.get("https://api.example.org/v1/jobs").status_code == 200
    assert stub(sent[0]).status_code == 401


def test_the_text_of_the_documentation() -> None:
    """The example of its page: an empty body, and a query that is sorted."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    about = {"stamp": 1706918400000, "nonce": "a1b2c3d4e5f6a7b8", "method": "get", "path": "/v1/jobs"}
    query = canonical_query("page=1&limit=10")
    assert query == "limit=10&page=1"
    text = f"pk_abc123|1706918400000|a1b2c3d4e5f6a7b8|GET|/v1/jobs|limit=10&page=1|{empty}"
    expected = hmac.new(KEY.secret.encode(), text.encode(), "sha256").hexdigest()
    made = signature(KEY, **about, query=query, body=b"")  # type: ignore[arg-type]
    assert made == expected
    assert canonical_query("z=3&a=1&b=2") == "a=1&b=2&z=3"
    assert canonical_query("tag=zebra&tag=apple") == "tag=apple&tag=zebra"


@pytest.mark.parametrize("query", ["a=b c", "a=b+c", "a=%20", "a=~", "x!=1", "a", "a=%FF", "a=1&&b=2"])
def test_queries_with_two_forms_are_not_sent(query: str) -> None:
    with pytest.raises(InputError):
        canonical_query(query)


@pytest.mark.parametrize("value", [1.5, [{"a": 1e300}], {"a": 1 << 53}, {"a": [-(1 << 53)]}])
def test_numbers_with_two_forms_are_not_sent(value: Any) -> None:
    with pytest.raises(InputError):
        canonical_json(value)
    assert canonical_json({"b": [True, None], "a": "ü"}) == b'{"a":"\\u00fc","b":[true,null]}'
    with client() as api, pytest.raises(InputError):
        api.post("/v1/jobs", content=b"no JSON")


@pytest.mark.parametrize(
    "changes",
    [
        {"cpus": -1},
        {"run_ms": 59_999},
        {"ports": (0,)},
        {"ports": (1 << 16,)},
        {"title": ""},
        {"image": "a\n"},
    ],
)
def test_jobs_that_the_api_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(JOB, **changes)


def test_jobs_and_headers_by_commands(tmp_path: Path) -> None:
    job, key = tmp_path / "job", tmp_path / "key"
    said = done(
        "network", "render", "job", "registry.example.org/node:1.0", "-o", job, "--gpus", 2, "--vram", 80
    )
    assert said["interface"] == "theirs"
    assert json.loads(job.read_bytes())["gpu_count"] == 2
    key.write_text(f"{KEY.public}\n{KEY.secret}\n")
    key.chmod(0o600)
    said = done("network", "render", "sign", "POST", "/v1/jobs", "--key", key, "--body", job)
    headers = said["headers"]
    made = signature(
        KEY,
        stamp=int(headers["X-Time"]),
        nonce=headers["X-Nonce"],
        method="POST",
        path="/v1/jobs",
        query="",
        body=job.read_bytes(),
    )
    assert headers["X-Signature"] == made
    assert KEY.secret not in json.dumps(said)
    key.write_text("pk_only")
    with pytest.raises(FormatError):
        ApiKey.load(key)
    assert "API key" in refused("network", "render", "sign", "GET", "/v1/jobs", "--key", key)
    job.write_bytes(b'{ "b": 1, "a": 2 }')
    key.write_text(f"{KEY.public}\n{KEY.secret}\n")
    assert "form" in refused("network", "render", "sign", "POST", "/v1/jobs", "--key", key, "--body", job)
