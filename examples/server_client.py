"""A session on a server: `anypet serve` on this machine or another, and clicks from a Python without torch.

python examples/server_client.py study
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anypet
from anypet.errors import AnyPETError


def main(study: Path) -> None:
    """Starts a server, waits until it answers, clicks, and ends it."""
    token = secrets.token_urlsafe(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as state:
        words = [sys.executable, "-m", "anypet", "serve", str(study), "--port", str(port), "--no-browser"]
        server = subprocess.Popen([*words, "--token", token, "--state", state])
        try:
            click(f"http://127.0.0.1:{port}", token, patience_s=120)
        finally:
            server.terminate()
            server.wait()


def click(address: str, token: str, patience_s: float) -> None:
    """The methods are those of `anypet.Session`; masks come over as the voxels that changed."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            session = anypet.connect(address, token)  # the server's only scan
            break
        except AnyPETError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
    session.new_object("lesion")
    mask = session.add_point((120, 29, 122))
    found = session.objects["lesion"]
    print(f"lesion: {mask.sum()} voxels, {found.volume_ml:.0f} mL, SUVmax {found.measures['suv_max']:.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
