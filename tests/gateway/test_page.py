"""The page in a real browser, before an honest, a lazy, a slow and a silent node."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from client.standin import KERNELS, model
from gateway.live import Live, live
from gateway.standing import CHAT, PATH, gateway, honest
from gateway.test_auditing import audited, cheating
from gateway.test_clusters import verdict_in
from gateway.test_hostile_nodes import Stalling
from networks.test_cluster import OWNER
from proofcompute import write_key
from proofcompute.gateway import ClusterVerdict, Patience, Shown, read_clusters

sync_api = pytest.importorskip("playwright.sync_api")

UNPACKED = Path(sys.prefix) / "browser"
"""The browser that `make test` unpacks."""
NAMES = (str(UNPACKED / "chromium"), "chromium", "chromium-browser", "google-chrome")
BROWSER = os.environ.get("CHROMIUM") or next((p for n in NAMES if (p := shutil.which(n))), None)
SHOTS = os.environ.get("SCREENSHOTS")
"""A folder for pictures, to look at."""
HANG = 30_000
"""Milliseconds after which the page counts as hanging."""


def libraries() -> dict[str, str]:
    """Return where the unpacked browser finds libraries that a machine without a desktop lacks."""
    mine = BROWSER == str(UNPACKED / "chromium")
    return {"LD_LIBRARY_PATH": str(UNPACKED / "al2023" / "lib")} if mine else {}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(
                executable_path=BROWSER, args=["--no-sandbox"], env={**os.environ, **libraries()}
            )
        except sync_api.Error as e:
            if "Executable doesn't exist" in str(e) and "CI" not in os.environ:
                pytest.skip("no Chromium: `make test` installs one on x86-64 Linux")
            raise
        yield made
        made.close()


@pytest.fixture
def fleet(tmp_path: Path, synchronous: None) -> Iterator[Live]:
    model().save(tmp_path / "weights")
    write_key(model(), KERNELS, tmp_path / "key")
    nodes = {
        "north": honest("north"),
        "lazy": cheating("lazy", "skipped layer"),
        "slow": Stalling(honest("slow"), silent=False, events=2, pause=0.001),
        "silent": Stalling(honest("silent"), silent=True),
    }
    made = gateway(
        nodes,
        models=audited(tmp_path, "opening", cells=24),
        patience=Patience(first=3, idle=20, whole=30, attempts=4),
        disclose=True,
    )
    with live(made) as standing:
        yield standing


def ask(at: Live, times: int, **more: Any) -> None:
    with httpx2.Client(timeout=60) as client:
        for seed in range(times):
            body = {**CHAT, "seed": seed, "max_tokens": 16, "stream": True, **more}
            client.post(at.url + PATH, json=body)


def opened(browser: Any, at: Live, **options: Any) -> tuple[Any, list[str]]:
    page = browser.new_page(**options)
    page.set_default_timeout(HANG)
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.goto(at.url + "/")
    sync_api.expect(page.locator("#line")).to_contain_text("Live", timeout=HANG)
    return page, wrong


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


def test_the_page_shows_what_happens(browser: Any, fleet: Live, tmp_path: Path) -> None:
    made = fleet.gateway
    page, wrong = opened(browser, fleet, viewport={"width": 1280, "height": 900})
    expect = sync_api.expect
    row = {
        name: page.locator("#nodes tr").filter(has=page.get_by_role("rowheader", name=name))
        for name in made.fleet.members
    }
    for name in row:
        expect(row[name]).to_contain_text("asked")
    # one node after the other is asked first
    for name in ("north", "slow", "lazy"):
        _first(made, name)
        ask(fleet, 2 if name == "north" else 1)
    _first(made, "silent")
    ask(fleet, 1, stream=False, max_tokens=2)
    expect(row["lazy"]).to_contain_text("quarantined", timeout=HANG)
    expect(row["silent"]).to_contain_text("resting", timeout=HANG)
    expect(row["north"]).to_contain_text("asked")
    expect(page.locator("#line")).to_contain_text("1 quarantined")
    expect(page.locator("#verdicts li").first).to_be_visible()
    expect(page.locator("#verdicts")).to_contain_text("contradicted")
    # the answer that failed, its grid in words and as a picture
    bad = page.locator("#answers tr", has_text="contradicted").first
    button = bad.get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#says")).to_contain_text("contradicted, by lazy")
    grid = page.get_by_role("img", name="layers by")
    expect(grid).to_be_visible()
    assert "failed at" in (grid.get_attribute("aria-label") or "")
    _failing_cell_is_drawn(page)
    expect(page.locator("#facts")).to_contain_text("output digest")
    shot(page, "wide-light")
    with page.expect_download() as download:
        row["lazy"].get_by_role("link").click()
    data = Path(download.value.path()).read_bytes()
    assert made.books.evidence(made.fleet.members["lazy"].evidence) == data
    assert wrong == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 26)'")
    _failing_cell_is_drawn(page)
    shot(page, "wide-dark")
    page.set_viewport_size({"width": 390, "height": 800})
    shot(page, "narrow-dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.emulate_media(color_scheme="light")
    shot(page, "narrow-light")
    page.close()
    _read_by_others(browser, fleet)


def _first(made: Any, name: str) -> None:
    """Let one node be asked first, whatever was drawn."""
    usual = type(made.fleet).order
    made.fleet.order = lambda model: sorted(usual(made.fleet, model), key=lambda m: m.name != name)


def _failing_cell_is_drawn(page: Any) -> None:
    """Wait until pixels of the grid have the colour of a failed cell."""
    page.wait_for_function(
        """() => {
      const grid = document.getElementById("grid");
      const data = grid.getContext("2d").getImageData(0, 0, grid.width, grid.height).data;
      const named = getComputedStyle(document.documentElement).getPropertyValue("--bad").trim();
      const rgb = [1, 3, 5].map((i) => parseInt(named.slice(i, i + 2), 16));
      let found = 0;
      for (let i = 0; i < data.length; i += 4) found += rgb.every((v, j) => data[i + j] === v);
      return found > 0;
    }"""
    )


def _read_by_others(browser: Any, fleet: Live) -> None:
    """What a screen reader gets, and a keyboard reaches."""
    page, wrong = opened(browser, fleet)
    tree = page.locator("body").aria_snapshot()
    for said in (
        "heading",
        "columnheader",
        "rowheader",
        "log",
        "status",
        "Skip to the nodes",
        "trust in north",
    ):
        assert said in tree
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName"))
    assert {"BUTTON", "A"} <= reached
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, a, meter, input, canvas:not([hidden])')].filter("
        "(e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).length"
    )
    assert unnamed == 0
    assert wrong == []
    page.close()


def test_the_page_takes_nothing_from_elsewhere(browser: Any, fleet: Live) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.goto(fleet.url + "/")
    sync_api.expect(page.locator("#line")).to_contain_text("Live", timeout=HANG)
    assert asked
    assert all(url.startswith(fleet.url) for url in asked)
    # a script that got into the page would not run
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.got = 1';"
        " document.body.append(s); }"
    )
    assert page.evaluate("window.got") is None
    page.close()


def test_the_page_asks_for_a_key(browser: Any, tmp_path: Path) -> None:
    import hashlib

    from proofcompute.serving import ApiKeys

    (tmp_path / "keys").write_text(f"me {hashlib.sha256(b'secret').hexdigest()}\n")
    made = gateway({"north": honest("north")}, keys=ApiKeys.load(tmp_path / "keys"))
    with live(made) as standing:
        assert httpx2.get(f"{standing.url}/v1/fleet").status_code == 401
        page = browser.new_page()
        page.goto(standing.url + "/")
        page.get_by_label("This gateway wants an API key").fill("secret", timeout=HANG)
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#line")).to_contain_text("Live", timeout=HANG)
        sync_api.expect(page.locator("#door")).to_be_hidden()
        page.close()


def _cluster(folder: Path, **more: Any) -> ClusterVerdict:
    """A verdict that holds now, whenever the test runs."""
    (found,) = read_clusters(folder, OWNER.public, verdict_in(folder, **more))
    now = round(time.time() * 1000)
    return replace(found, cluster=replace(found.cluster, at=now))


def test_the_page_shows_verdicts_about_clusters(browser: Any, tmp_path: Path) -> None:
    shown = [_cluster(tmp_path / "one"), _cluster(tmp_path / "two", name="south", node={"audits": 2})]
    old = replace(shown[0], cluster=replace(shown[0].cluster, at=0))
    expect = sync_api.expect
    held = Shown([*shown, old])
    held.refused = True
    with live(gateway({"north": honest("north")}), held) as standing:
        page, wrong = opened(browser, standing, viewport={"width": 1280, "height": 900})
        good, bad, over = page.locator("#clusters article").all()
        expect(good.get_by_role("heading")).to_have_text("north: verified")
        expect(bad.get_by_role("heading")).to_have_text("south: not verified")
        expect(over.get_by_role("heading")).to_have_text("north: ended")
        expect(page.get_by_text("newer verdicts that do not hold")).to_be_visible()
        expect(good).to_contain_text("audits: 1 of 1, holds by 1 bundles")
        expect(bad).to_contain_text("audits: 1 of 2, fails by 1 bundles")
        good.locator("summary").first.click()
        digest = shown[0].cluster.works[0].bundle_sha256.hex()
        expect(good.get_by_text(digest)).to_be_visible()
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wrong == []
        page.close()
    with live(gateway({"north": honest("north")})) as standing:
        page, wrong = opened(browser, standing)
        expect(page.locator("#clusters")).to_be_hidden()
        expect(page.locator("#clusters-refused")).to_be_hidden()
        assert wrong == []
        page.close()


def test_names_of_clusters_are_text_on_the_page(browser: Any, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    with live(
        gateway({"north": honest("north")}), Shown([_cluster(tmp_path / "one", name=name)])
    ) as standing:
        page, wrong = opened(browser, standing)
        sync_api.expect(page.locator("#clusters h3")).to_have_text(f"{name}: verified")
        assert page.locator("#clusters img").count() == 0
        assert wrong == []
        page.close()
