"""An Orthanc (a free PACS) of our own on loopback, for tests of DICOMweb."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

USER, PASSWORD = "reader", "only-for-tests"
_PROGRAMS = ("Orthanc", "/usr/sbin/Orthanc")
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Runs while the context lasts -> the address of its services; skips where it is not installed."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None or not _PLUGIN.is_file():
        pytest.skip("Orthanc is not installed (Debian: orthanc orthanc-dicomweb)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"),
        "HttpPort": port, "DicomServerEnabled": False, "RemoteAccessAllowed": False, "SslEnabled": False,
        "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}, "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(told))
    url = f"http://127.0.0.1:{port}"
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/dicom-web/studies", auth=(USER, PASSWORD)).raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None, (folder / "orthanc.log").read_text()
                assert time.monotonic() < until, (folder / "orthanc.log").read_text()
                time.sleep(0.1)
        yield f"{url}/dicom-web"
    finally:
        process.terminate()
        process.wait(30)
