"""Sessions outlive the server, idle ones leave memory, and kill -9 loses no click that was answered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.io import write
from anypet.server.boxes import decode
from anypet.server.engine import Engine
from anypet.session import Session
from fakes import FakeModel, ball_scan
from serving import OTHER, TOKEN, Served, scan_folder, settings

SCAN = ball_scan()
CLICKS = [([24, 20, 30], True), ([26, 20, 30], False), ([24, 23, 30], True)]


def click(client: httpx.Client, path: str, voxel: list[int], positive: bool = True) -> dict[str, object]:
    body = {"point": voxel, "positive": positive, "space": "voxel"}
    return client.post(f"{path}/point", json=body).raise_for_status().json()  # type: ignore[no-any-return]


def mask(client: httpx.Client, path: str) -> np.ndarray:
    return decode(client.get(f"{path}/mask").raise_for_status().json()["mask"]).on_grid(SCAN.shape, bool)


def test_sessions_are_there_after_a_restart(tmp_path: Path) -> None:
    folder = scan_folder(tmp_path)
    own = Session(SCAN, FakeModel())
    with Served(settings(tmp_path, folder=folder)) as served:
        client = served.client()
        path = served.session(client)
        for voxel, positive in CLICKS:
            click(client, path, voxel, positive)
            own.add_point(voxel, positive)
        client.post(f"{path}/objects", json={"name": "second"})
        client.patch(f"{path}/objects", json={"name": "second", "colour": "#abcdef"})
        client.post(f"{path}/select", json={"name": "object 1"})
        before = client.get(path).json()
    with Served(settings(tmp_path, folder=folder)) as served:
        client = served.client()
        assert [path.rsplit("/", 1)[1]] == [one["id"] for one in client.get("/api/sessions").json()]
        assert served.client(OTHER).get("/api/sessions").json() == []
        after = client.get(path).json()
        for key in ("id", "name", "scan", "selected"):
            assert after[key] == before[key]
        for one, other in zip(after["objects"], before["objects"], strict=True):
            assert {k: v for k, v in one.items() if k != "revision"} == {
                k: v for k, v in other.items() if k != "revision"
            }
        assert np.array_equal(mask(client, path), own.mask)
        client.post(f"{path}/undo")
        assert np.array_equal(mask(client, path), own.undo())
        told = click(client, path, [22, 20, 30])
        assert told["objects"][0]["revision"] > before["objects"][0]["revision"]  # type: ignore[index]
        assert np.array_equal(mask(client, path), own.add_point([22, 20, 30]))


def test_idle_sessions_leave_memory_and_come_back(tmp_path: Path) -> None:
    with Served(settings(tmp_path, folder=scan_folder(tmp_path), loaded=2)) as served:
        client, store = served.client(), served.engine.store
        paths = [served.session(client) for _ in range(5)]
        masks = []
        for n, path in enumerate(paths):
            click(client, path, [24, 20, 28 + n])
            masks.append(mask(client, path))
        for worker in served.engine.workers:  # one too many lets an old one go, without the sweep
            worker.submit("wait", lambda: None).result(10)
        assert store.loaded == 2
        assert store.count == 5
        for path, right in zip(paths, masks, strict=True):
            assert np.array_equal(mask(client, path), right)
            told = client.post(f"{path}/undo").json()
            assert told["objects"][0]["measures"]["voxels"] == 0
        store._idle_s = 0.0
        time.sleep(0.01)
        served.engine.sweep()
        for worker in served.engine.workers:
            worker.submit("wait", lambda: None).result(10)
        assert store.loaded == 0
        assert store.cache.nbytes == 0


def test_a_deleted_session_is_gone(tmp_path: Path) -> None:
    with Served(settings(tmp_path, folder=scan_folder(tmp_path))) as served:
        client = served.client()
        path = served.session(client)
        click(client, path, [24, 20, 30])
        assert client.request("DELETE", path).status_code == 200
        assert client.get(path).status_code == 404
        assert client.post(f"{path}/undo").status_code == 404
        assert list((tmp_path / "state" / "sessions").iterdir()) == []


def test_a_session_on_another_scan_now_is_said(tmp_path: Path) -> None:
    folder = scan_folder(tmp_path)
    with Served(settings(tmp_path, folder=folder)) as served:
        path = served.session(served.client())
    write(SCAN.with_array(SCAN.array * 2), folder / "pet.nii.gz")
    os.utime(folder / "pet.nii.gz", ns=(1, 1))
    with Served(settings(tmp_path, folder=folder)) as served:
        answer = served.client().get(path)
        assert answer.status_code == 422
        assert "other voxels" in answer.json()["detail"]
    (folder / "pet.nii.gz").unlink()
    with Served(settings(tmp_path, folder=folder)) as served:
        assert served.client().get(path).status_code == 404


def test_what_is_no_session_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "state" / "sessions"
    for name in ("0" * 32, "notes", "1" * 32):
        (root / name).mkdir(parents=True)
    (root / ("1" * 32) / "session.json").write_text(json.dumps({"id": "2" * 32}))
    with Served(settings(tmp_path, folder=scan_folder(tmp_path))) as served:
        assert served.client().get("/api/sessions").json() == []
    assert len(list(root.iterdir())) == 3


def test_one_server_at_a_time_on_a_folder(tmp_path: Path) -> None:
    engine = Engine(settings(tmp_path))
    with pytest.raises(AnyPETError, match="another server"):
        Engine(settings(tmp_path))
    engine.stop()
    Engine(settings(tmp_path)).stop()


def test_two_devices_share_the_sessions_among_them(tmp_path: Path) -> None:
    told = settings(tmp_path, folder=scan_folder(tmp_path), devices=("cpu", "cpu"))
    with Served(told) as served:
        client = served.client()
        right = Session(SCAN, FakeModel()).add_point([24, 20, 30])
        places = set()
        for _ in range(8):
            path = served.session(client)
            click(client, path, [24, 20, 30])
            assert np.array_equal(mask(client, path), right)
            places.add(served.engine._place(path.rsplit("/", 1)[1]))
        assert places == {0, 1}


SLOW = """
    import sys, time
    sys.path[:0] = {paths!r}
    from fakes import FakeModel
    from serving import settings
    from pathlib import Path
    from anypet.server.app import create_app
    import uvicorn

    class Slow(FakeModel):
        def decode(self, *given):
            if Path({slow!r}).exists():
                print("in the middle", flush=True)
                time.sleep(60)
            return super().decode(*given)

    app = create_app(settings(Path({place!r}), folder=Path({folder!r}), model=Slow()))
    uvicorn.run(app, host="127.0.0.1", port={port}, log_level="error")
"""


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start(tmp_path: Path, folder: Path, port: int) -> tuple[subprocess.Popen[str], httpx.Client]:
    """A server in a process of its own."""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    slow = str(tmp_path / "slow")
    code = textwrap.dedent(SLOW).format(
        paths=paths, place=str(tmp_path), folder=str(folder), port=port, slow=slow
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)
    until = time.monotonic() + 240
    while True:
        try:
            client.get("/healthz")
            return process, client
        except httpx.TransportError:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_kill_9_in_the_middle_of_a_click_loses_no_earlier_click(tmp_path: Path) -> None:
    folder, port = scan_folder(tmp_path), free_port()
    own = Session(SCAN, FakeModel())
    process, client = start(tmp_path, folder, port)
    try:
        scan = client.get("/api/scans").json()[0]["id"]
        path = "/api/sessions/" + client.post("/api/sessions", json={"scan": scan}).json()["id"]
        masks = []
        for voxel, positive in CLICKS:
            click(client, path, voxel, positive)
            masks.append(own.add_point(voxel, positive))
        (tmp_path / "slow").touch()
        with pytest.raises(httpx.TimeoutException):
            client.post(f"{path}/point", json={"point": [22, 20, 30], "space": "voxel"}, timeout=1.0)
        assert process.stdout is not None
        assert "in the middle" in process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    finally:
        process.kill()
        client.close()
    (tmp_path / "slow").unlink()
    process, client = start(tmp_path, folder, port)
    try:
        assert np.array_equal(mask(client, path), masks[-1])
        for right in [*masks[-2::-1], np.zeros(SCAN.shape, bool)]:
            client.post(f"{path}/undo").raise_for_status()
            assert np.array_equal(mask(client, path), right)
        for _ in masks:
            client.post(f"{path}/redo").raise_for_status()
        click(client, path, [22, 20, 30])
        assert np.array_equal(mask(client, path), own.add_point([22, 20, 30]))
    finally:
        process.terminate()
        assert process.wait(60) is not None
        client.close()
