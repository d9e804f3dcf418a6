"""`anypet serve` as people start it: what it prints, whom it answers, how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import anypet
from anypet.cli import serve
from anypet.errors import AnyPETError
from anypet.server.settings import Settings
from fakes import ball_scan

SCAN = ball_scan()


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "anypet", "serve", "--port", "0", "--no-browser", *arguments]
    env = {**os.environ, "COLUMNS": "400", **environment}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)


def printed(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Waits for a line."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        found = re.search(pattern, line)
        if found:
            return found
    raise AssertionError("".join(seen))


def answers(url: str) -> None:
    until = time.monotonic() + 240
    while True:
        try:
            assert httpx.get(f"{url}/healthz").json() == {"ok": True}
            return
        except httpx.TransportError:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_from_start_to_stop(tmp_path: Path) -> None:
    anypet.write(SCAN, tmp_path / "pet.nii.gz")
    process = start(str(tmp_path / "pet.nii.gz"), "--state", str(tmp_path / "state"))
    try:
        url, token = printed(process, r"(http://127\.0\.0\.1:\d+)/\?token=([\w-]{20,})").groups()
        assert printed(process, r"MONAI Label.*: (\S+)")[1] == f"{url}/t/{token}/"
        answers(url)
        assert httpx.get(f"{url}/api/scans").status_code == 401
        with anypet.connect(url, token) as session:
            assert session.add_point((24, 20, 30))[24, 20, 30]  # with the network that ships with the package
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()
    process = start(str(tmp_path), "--state", str(tmp_path / "state"), ANYPET_TOKEN="a-token-that-i-chose")
    try:
        printed(process, "token=a-token-that-i-chose")
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["/no/such/folder"], "no such file or folder"),
        (["--token", "short"], "16 or more"),
        (["--token", "a=same-token-for-both", "--token", "b=same-token-for-both"], "same token"),
        (["--host", "203.0.113.7"], "cannot be listened on"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, arguments: list[str], says: str) -> None:
    app = typer.Typer()
    app.command()(serve.serve)
    arguments = ["--port", "0", "--no-browser", "--state", str(tmp_path / "state"), *arguments]
    with pytest.raises(AnyPETError, match=says):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AnyPETError, match="--port 0"):
            serve.listen("127.0.0.1", taken.getsockname()[1])


def test_several_readers_have_tokens_of_their_own() -> None:
    assert serve.tokens_of(["anna=secret-of-anna-x", "secret-of-nobody"]) == {
        "secret-of-anna-x": "anna", "secret-of-nobody": "user"
    }  # fmt: skip
    assert len(serve.tokens_of(["one-secret-one-secret two=another-secret-ok"])) == 2


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.3", False), ("pet.example", False)],
)  # fmt: skip
def test_only_loopback_is_quiet(host: str, loopback: bool) -> None:
    assert serve.is_loopback(host) == loopback
    assert (serve.names_of(host) == ()) == loopback
    console = Console(record=True, width=200, file=open(os.devnull, "w"))  # noqa: SIM115
    told = Settings({"one-secret-one-secret": "anna", "two-secret-two-secret": "bo"})
    address = serve.address_of("http", host, 8000)
    serve.announce(console, address, told, encrypted=False, opened=not loopback)
    text = console.export_text()
    assert ("Open to the network" in text) != loopback
    assert f"anna: {address}/?token=one-secret-one-secret" in text
    assert "0.0.0.0" not in address
    serve.announce(console, address, told, encrypted=True, opened=True)
    assert "not encrypted" not in console.export_text().split("Open to the network")[-1]


def test_addresses_of_ipv6_have_brackets() -> None:
    assert serve.address_of("https", "::1", 443) == "https://[::1]:443"


def test_a_device_is_found() -> None:
    assert serve.default_device() in ("cpu", "cuda:0")
