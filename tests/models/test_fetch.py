"""Fetching from a server on this machine that answers as the Hub does; no other network is used."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from anypet.errors import WeightsError
from anypet.models.fetch import fetch, plan

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves `files` (path -> bytes); breaks off after `cut` bytes of a file where that is set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        content = self.server.files.get(self.path.split("?")[0])
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body:
            self.wfile.write(content[start : self.server.cut])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A server that this process, and those it starts, take for the Hub."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("ANYPET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # what the client made of the environment when it was imported, so that nothing goes to the real Hub
    client = huggingface_hub.constants
    template = client.HUGGINGFACE_CO_URL_TEMPLATE.replace(client.ENDPOINT, address)
    monkeypatch.setattr(client, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(client, "ENDPOINT", address)
    monkeypatch.setattr(client, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    path = tmp_path / "published.pth"
    state = {
        "image_encoder.pos_embed": torch.randn(1, 8, 8, 8, 96),
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": torch.zeros(3, 1),
    }
    torch.save({"model_state_dict": state}, path)
    return path.read_bytes()


def index(tmp_path: Path) -> dict[str, dict[str, str]]:
    path = tmp_path / "home" / "models.json"
    return json.loads(path.read_text())["weights"] if path.exists() else {}


def test_the_command_keeps_the_file_as_published(hub: Hub, tmp_path: Path, content: bytes) -> None:
    hub.files["/YichiZhang98/SegAnyPET/resolve/main/seganypet_v1.pth"] = content
    code = "import sys; from anypet.cli.models import models; models(sys.argv[1:])"
    command = [sys.executable, "-c", code, "fetch", "segany-vit-b", "--yes"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "licence of the weights" in done.stdout
    record = index(tmp_path)["segany-vit-b"]
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["source"] == "YichiZhang98/SegAnyPET/seganypet_v1.pth"
    assert (tmp_path / "home" / record["file"]).read_bytes() == content
    assert any(request.startswith("GET") for request in hub.requests)


def test_an_interrupted_download_leaves_no_trace_in_the_index(
    hub: Hub, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the client's attempts
    hub.files["/me/tuned/resolve/v2/best.pth"] = content
    hub.cut = len(content) // 2
    place = {"repo": "me/tuned", "file": "best.pth", "revision": "v2", "family": "segany"}
    with pytest.raises(WeightsError, match=r"could not fetch best\.pth of me/tuned"):
        fetch("mine", **place)
    assert index(tmp_path) == {}
    hub.cut = None
    entry = fetch("mine", **place)
    assert entry.ready
    assert entry.sha256 == hashlib.sha256(content).hexdigest()
    assert index(tmp_path)["mine"]["source"] == "me/tuned/best.pth@v2"


def test_other_content_than_expected_is_refused_and_removed(hub: Hub, tmp_path: Path, content: bytes) -> None:
    hub.files["/blueyo0/SAM-Med3D/resolve/main/sam_med3d_turbo.pth"] = content  # not the known SHA-256
    with pytest.raises(WeightsError, match="damaged or was replaced"):
        fetch("sam-med3d-turbo")
    assert index(tmp_path) == {}
    assert list((tmp_path / "home").rglob("*.pth")) == []


def test_weights_of_another_family_are_refused(hub: Hub, tmp_path: Path, content: bytes) -> None:
    hub.files["/me/tuned/resolve/main/best.pth"] = content
    with pytest.raises(WeightsError, match="holds weights of segany, not of compact"):
        fetch("mine", repo="me/tuned", file="best.pth", family="compact", progress=True)
    assert index(tmp_path) == {}


def test_a_missing_file_is_told(hub: Hub) -> None:
    with pytest.raises(WeightsError, match=r"could not fetch seganypet_v1\.pth of YichiZhang98/SegAnyPET"):
        fetch("segany-vit-b")


def test_plan_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANYPET_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="not published where it can be fetched"):
        plan("sam-med3d")
    with pytest.raises(WeightsError, match="family is not given"):
        plan("mine", repo="me/tuned", file="best.pth")
    with pytest.raises(WeightsError, match="family is compact"):
        plan("segany-vit-b", family="compact")
    place, entry = plan("segany-vit-b", file="other.pth")
    assert (place.repo, place.file, place.sha256) == ("YichiZhang98/SegAnyPET", "other.pth", None)
    assert "see the repository" in entry.licence
