"""The whole scan through the server: lesions and words as jobs, clicks of others meanwhile, cancelling."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from anypet.io import write
from anypet.server.boxes import decode
from anypet.session import Session
from fakes import FakeModel
from serving import Served, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "lesions"))
from lesion_fakes import HotNet, scan

FIRST, SECOND = (28, 22, 40), (12, 20, 15)


class SlowNet(HotNet):
    """A network that does only as many tiles as it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.tiles: threading.Semaphore | None = None
        self.running = threading.Event()

    def forward(self, x: torch.Tensor, organs: bool = False, deep: bool = False) -> Any:
        self.running.set()
        if self.tiles is not None:
            assert self.tiles.acquire(timeout=20)
        return super().forward(x, organs, deep)

    def allow(self, tiles: int) -> None:
        """So many tiles and no more, until it is told otherwise."""
        if self.tiles is None:
            self.tiles = threading.Semaphore(tiles)
        else:
            self.tiles.release(tiles)


@pytest.fixture
def net() -> SlowNet:
    return SlowNet()


@pytest.fixture
def served(tmp_path: Path, net: SlowNet) -> Iterator[Served]:
    (tmp_path / "scans").mkdir()
    write(scan(), tmp_path / "scans" / "pet.nii.gz")
    lesions = {"nets": [net], "tracer": "fdg"}
    with Served(settings(tmp_path, folder=tmp_path / "scans", lesions=lesions)) as one:
        yield one


def finished(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + 30
    while job["state"] == "running":
        assert time.monotonic() < until
        job = client.get(f"/api/jobs/{job['id']}", params={"wait": 5}).json()
    return job


def test_lesions_become_objects_and_can_be_clicked(served: Served) -> None:
    client = served.client()
    path = served.session(client)
    began = client.post(f"{path}/lesions", json={"mirror": 0})
    assert began.status_code == 202
    job = finished(client, began.json())
    assert job["state"] == "done", job
    assert job["done"] == job["planned"] > 1
    own = Session(scan(), FakeModel())
    own.find_lesions(mirror=0, nets=[HotNet()], tracer="fdg")
    assert job["result"]["lesions"] == 2
    for item in job["result"]["objects"]:
        mask = decode(item["changed"]).on_grid(own.scan.shape, bool)
        assert np.array_equal(mask, own.objects[item["name"]].mask)
    told = client.post(
        f"{path}/lesions/click", json={"point": FIRST, "positive": False, "space": "voxel"}
    ).json()
    assert [(o["name"], o["measures"]["voxels"]) for o in told["objects"]] == [("lesion 1", 0)]
    assert (
        client.post(f"{path}/undo", json={"object": "lesion 1"}).json()["objects"][0]["measures"]["voxels"]
        > 0
    )


def test_words_become_objects(served: Served) -> None:
    client = served.client()
    path = served.session(client)
    job = finished(client, client.post(f"{path}/text", json={"text": "warm"}).json())
    assert job["result"]["names"] == ["warm"], job
    assert job["result"]["objects"][0]["measures"]["voxels"] > 1000
    job = finished(client, client.post(f"{path}/text", json={"text": "spleen"}).json())
    assert job["state"] == "failed"
    assert "'spleen' is not known" in job["error"]


def test_clicks_of_others_do_not_wait_for_the_search(served: Served, net: SlowNet) -> None:
    client = served.client()
    searching, clicking = served.session(client), served.session(client)
    net.allow(0)
    job = client.post(f"{searching}/lesions", json={"mirror": 0}).json()
    assert net.running.wait(20)
    answers: list[httpx.Response] = []
    other = served.client()

    def click() -> None:
        answers.append(other.post(f"{clicking}/point", json={"point": SECOND, "space": "voxel"}))

    thread = threading.Thread(target=click)
    thread.start()
    time.sleep(0.3)
    assert not answers
    net.allow(1)  # after this tile the search lets the click through, and waits for leave to do the next
    thread.join(20)
    assert answers[0].json()["objects"][0]["measures"]["voxels"] > 0
    told = client.get(f"/api/jobs/{job['id']}").json()
    assert (told["state"], told["done"]) == ("running", 1)
    net.allow(1000)
    assert finished(client, job)["result"]["lesions"] == 2


def test_a_search_can_be_cancelled(served: Served, net: SlowNet) -> None:
    client = served.client()
    path = served.session(client)
    net.allow(0)
    job = client.post(f"{path}/lesions", json={"mirror": 0}).json()
    waiting = client.post(f"{path}/text", json={"text": "warm"}).json()
    assert net.running.wait(20)
    client.request("DELETE", f"/api/jobs/{waiting['id']}").raise_for_status()
    client.request("DELETE", f"/api/jobs/{job['id']}").raise_for_status()
    net.allow(1000)
    assert finished(client, job)["state"] == "cancelled"
    assert finished(client, waiting)["state"] == "cancelled"
    assert [o["name"] for o in client.get(path).json()["objects"]] == ["object 1"]
    point = {"point": FIRST, "space": "voxel"}
    assert client.post(f"{path}/point", json=point).json()["objects"][0]["measures"]["voxels"] > 0


def test_deleting_a_session_ends_its_search(served: Served, net: SlowNet) -> None:
    client = served.client()
    path = served.session(client)
    net.allow(0)
    job = client.post(f"{path}/lesions", json={"mirror": 0}).json()
    assert net.running.wait(20)
    threading.Timer(0.5, net.allow, [1000]).start()
    client.request("DELETE", path).raise_for_status()
    assert finished(client, job)["state"] == "cancelled"
    assert client.get(path).status_code == 404
    assert list((served.engine.settings.state / "sessions").iterdir()) == []


def test_stopping_ends_a_search(tmp_path: Path) -> None:
    net = SlowNet()
    (tmp_path / "scans").mkdir()
    write(scan(), tmp_path / "scans" / "pet.nii.gz")
    lesions = {"nets": [net], "tracer": "fdg"}
    with Served(settings(tmp_path, folder=tmp_path / "scans", lesions=lesions)) as served:
        client = served.client()
        path = served.session(client)
        net.allow(0)
        client.post(f"{path}/lesions", json={"mirror": 0})
        assert net.running.wait(20)
        threading.Timer(0.5, net.allow, [1000]).start()
        began = time.monotonic()
    assert time.monotonic() - began < 20
