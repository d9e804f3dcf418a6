"""A server on loopback for tests: the real application under a real uvicorn, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from anypet.io import write
from anypet.server.app import create_app
from anypet.server.settings import Settings
from dicom_factory import FACTOR, make_series
from fakes import FakeModel, ball_scan

TOKEN = "token-of-the-first-reader"
OTHER = "token-of-another-reader"
TOKENS = {TOKEN: "anna", OTHER: "bo"}


def settings(place: Path, /, **changes: Any) -> Settings:
    """A server's settings in a folder, with a model that needs no weights."""
    given = {"state": place / "state", "model": FakeModel(), **changes}
    return Settings(given.pop("tokens", TOKENS), **given)


def scan_folder(folder: Path) -> Path:
    """A folder with one scan."""
    (folder / "scans").mkdir(exist_ok=True)
    write(ball_scan(), folder / "scans" / "pet.nii.gz")
    return folder / "scans"


def dicom_study(folder: Path) -> Path:
    """A folder with one DICOM study: a ball in a PET, and a CT."""
    stored = np.round(ball_scan().array / FACTOR).astype(np.int16)
    make_series(folder / "study" / "pet", stored, spacing=(4.0, 4.0, 3.0))
    make_series(
        folder / "study" / "ct", np.zeros_like(stored), modality="CT", spacing=(4.0, 4.0, 3.0), number=2
    )
    return folder / "study"


class Served:
    """Serves while the context lasts."""

    def __init__(self, told: Settings) -> None:
        self.app = create_app(told)
        self.engine = self.app.state.engine
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(64)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(self.app, log_level="error", access_log=False, timeout_graceful_shutdown=5)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._clients: list[httpx.Client] = []

    def __enter__(self) -> Served:
        self._thread.start()
        until = time.monotonic() + 30
        while not self._server.started:
            assert time.monotonic() < until, "uvicorn does not start"
            time.sleep(0.01)
        return self

    def __exit__(self, *error: object) -> None:
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def client(self, token: str | None = TOKEN, **headers: str) -> httpx.Client:
        """A client of the server; without a token it has none."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._clients.append(httpx.Client(base_url=self.url, headers=headers, timeout=60))
        return self._clients[-1]

    def session(self, client: httpx.Client, scan: int = 0) -> str:
        """A new session on one of the scans -> the address of its prompts."""
        key = client.get("/api/scans").json()[scan]["id"]
        return (
            "/api/sessions/"
            + client.post("/api/sessions", json={"scan": key}).raise_for_status().json()["id"]
        )
