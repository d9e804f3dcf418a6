"""Fetching from a server on this machine that answers as the Hub does; no other network is used."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from anypet.errors import WeightsError
from anypet.models.fetch import plan

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
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
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


def anypet_models(hub: Hub, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`anypet models ...` in a process of its own, since the client reads its endpoint when imported."""
    code = (
        "import sys\nfrom anypet.cli.models import models\nfrom anypet.errors import AnyPETError\n"
        "try:\n    models(sys.argv[1:])\nexcept AnyPETError as error:\n    sys.exit(f'error: {error}')\n"
    )
    environment = {
        **os.environ,
        "ANYPET_HOME": str(home),
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
    }
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, timeout=120
    )


def index(home: Path) -> dict[str, dict[str, str]]:
    path = home / "models.json"
    return json.loads(path.read_text())["weights"] if path.exists() else {}


def test_fetch_keeps_the_file_as_published(hub: Hub, tmp_path: Path, content: bytes) -> None:
    hub.files["/YichiZhang98/SegAnyPET/resolve/main/seganypet_v1.pth"] = content
    done = anypet_models(hub, tmp_path / "home", "fetch", "segany-vit-b", "--yes")
    assert done.returncode == 0, done.stderr
    assert "licence of the weights" in done.stdout
    record = index(tmp_path / "home")["segany-vit-b"]
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["source"] == "YichiZhang98/SegAnyPET/seganypet_v1.pth"
    assert (tmp_path / "home" / record["file"]).read_bytes() == content
    assert any(request.startswith("GET") for request in hub.requests)


def test_an_interrupted_download_leaves_no_trace_in_the_index(
    hub: Hub, tmp_path: Path, content: bytes
) -> None:
    hub.files["/me/tuned/resolve/v2/best.pth"] = content
    hub.cut = len(content) // 2
    place = ("--repo", "me/tuned", "--file", "best.pth", "--revision", "v2", "--family", "segany")
    words = ("fetch", "mine", *place, "--yes")
    done = anypet_models(hub, tmp_path / "home", *words)
    assert done.returncode != 0
    assert "could not fetch best.pth of me/tuned" in done.stderr
    assert index(tmp_path / "home") == {}
    hub.cut = None
    assert anypet_models(hub, tmp_path / "home", *words).returncode == 0
    record = index(tmp_path / "home")["mine"]
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["source"] == "me/tuned/best.pth@v2"


def test_other_content_than_expected_is_refused_and_removed(hub: Hub, tmp_path: Path, content: bytes) -> None:
    hub.files["/blueyo0/SAM-Med3D/resolve/main/sam_med3d_turbo.pth"] = content  # not the known SHA-256
    done = anypet_models(hub, tmp_path / "home", "fetch", "sam-med3d-turbo", "--yes")
    assert done.returncode != 0
    assert "damaged or was replaced" in done.stderr
    assert index(tmp_path / "home") == {}
    assert list((tmp_path / "home").rglob("*.pth")) == []


def test_a_missing_file_is_told(hub: Hub, tmp_path: Path) -> None:
    done = anypet_models(hub, tmp_path / "home", "fetch", "segany-vit-b", "--yes")
    assert done.returncode != 0
    assert "could not fetch seganypet_v1.pth of YichiZhang98/SegAnyPET" in done.stderr


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
