"""The page's files: all there, nothing from elsewhere, kept by the browser; needs no browser."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from anypet.server.page import STATIC
from serving import Served, settings

OWN = sorted(p for p in STATIC.rglob("*") if p.suffix in (".js", ".css", ".html") and "vendor" not in p.parts)
NIIVUE = "d6c2be4feb1ad53b2ac76b4196da8d8fd2263b662b511c55ca0fd127eb6a6532"  # dist/index.js in npm's 0.69.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(settings(tmp_path_factory.mktemp("files"))) as one:
        yield one


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_what_a_file_asks_for_is_there(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.findall(r"""["'(](?:https?:)?//[a-z]""", text)
    assert len(text.splitlines()) < 350
    for name in re.findall(r"""(?:href|src)="/static/([^"]+)\"""", text):
        assert (STATIC / name).is_file(), name
    for name in re.findall(r"""(?:from|URL\() ?["'](\.[^"']+)["']""", text):
        assert (path.parent / name).is_file(), name


def test_every_module_is_fetched_at_once() -> None:
    """Else the browser would learn of each only from the one before."""
    listed = set(re.findall(r'"/static/(js/[^"]+)"', (STATIC / "index.html").read_text("utf-8")))
    modules = {f"js/{p.name}" for p in (STATIC / "js").glob("*.js")} - {"js/mip-worker.js"}
    assert listed == modules


def test_the_viewer_is_the_published_one() -> None:
    (path,) = (STATIC / "vendor").glob("niivue-*.js")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == NIIVUE
    assert "Copyright (c) 2021, Niivue" in (STATIC / "vendor" / "LICENSES.txt").read_text("utf-8")


def test_files_are_asked_about_again_but_not_sent_again(served: Served) -> None:
    client = served.client()
    first = client.get("/static/js/main.js")
    assert first.headers["Cache-Control"] == "no-cache"
    assert first.headers["Content-Type"].startswith("text/javascript")
    again = client.get("/static/js/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert served.client(None).get("/static/js/main.js").status_code == 401
    page = client.get("/").text
    assert "<title>AnyPET</title>" in page
    assert "AnyPET server" in client.get("/docs").text
