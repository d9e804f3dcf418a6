"""REST against a session on this machine: the same prompts give the same masks, numbers and files."""

from __future__ import annotations

import gzip
import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from anypet.io import read, read_labels, write
from anypet.objects import Patch, SegmentedObject
from anypet.server import exports
from anypet.server.boxes import decode, encode_mask, put
from anypet.server.exports import Export, register_export
from anypet.server.live import Live
from anypet.session import Session
from fakes import FakeModel, ball_scan
from serving import Served, scan_folder, settings

SCAN = ball_scan()
MIDDLE, BESIDE = [24, 20, 30], [26, 20, 30]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with Served(settings(folder, folder=scan_folder(folder))) as one:
        yield one


class Twin:
    """A session on the server and one on this machine, which get the same prompts."""

    def __init__(self, served: Served) -> None:
        self.client = served.client()
        self.path = served.session(self.client)
        self.session = Session(SCAN, FakeModel())
        self.masks: dict[str, np.ndarray] = {}

    def post(self, what: str, **body: Any) -> Any:
        answer = self.client.post(f"{self.path}/{what}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, what: str, **params: Any) -> Any:
        return self.client.get(f"{self.path}/{what}", params=params).raise_for_status().json()

    def prompt(self, what: str, **body: Any) -> Any:
        """A prompt on the server; its changed boxes are put into the masks of this side."""
        told = self.post(what, **body)
        for item in told["objects"]:
            mask = self.masks.setdefault(item["name"], np.zeros(SCAN.shape, bool))
            if item["changed"] is not None:
                put(decode(item["changed"]), mask)
        return told

    def check(self) -> None:
        """The server's object, as followed and as told whole, is this machine's."""
        own = self.session.selected
        told = self.client.get(self.path).json()
        assert told["selected"] == own.name
        assert [o["name"] for o in told["objects"]] == list(self.session.objects)
        assert np.array_equal(self.masks.get(own.name, np.zeros(SCAN.shape, bool)), own.mask)
        assert np.array_equal(decode(self.get("mask")["mask"]).on_grid(SCAN.shape, bool), own.mask)
        item = next(o for o in told["objects"] if o["name"] == own.name)
        for name, value in own.measures.items():
            assert item["measures"][name] == (None if np.isnan(value) else value)
        assert [p["positive"] for p in item["prompts"]["points"]] == [p.positive for p in own.prompts.points]
        assert np.allclose([p["mm"] for p in item["prompts"]["points"]], [p.mm for p in own.prompts.points])
        assert item["can_undo"] == (own.cursor > 0)
        assert item["can_redo"] == (own.cursor + 1 < len(own.steps))


def test_a_whole_session_goes_as_on_this_machine(served: Served) -> None:
    twin = Twin(served)
    mm = SCAN.to_mm(MIDDLE).tolist()
    twin.prompt("point", point=mm)
    twin.session.add_point(mm, space="mm")
    twin.check()
    twin.prompt("point", point=BESIDE, positive=False, space="voxel")
    twin.session.add_point(BESIDE, False)
    twin.check()
    line = [[20 + 0.1 * n, 20, 30] for n in range(60)]
    twin.prompt("scribble", points=line, space="voxel")
    twin.session.add_scribble(line)
    twin.check()
    for what in ("undo", "undo", "redo", "reset", "undo", "redo", "redo"):
        twin.prompt(what)
        getattr(twin.session, what)()
        twin.check()
    twin.post("objects", name="second")
    twin.session.new_object("second")
    twin.prompt("box", lo=[18, 14, 22], hi=[30, 26, 38], space="voxel")
    twin.session.add_box([18, 14, 22], [30, 26, 38])
    twin.check()
    rough = np.zeros(SCAN.shape, bool)
    rough[22:27, 18:23, 28:33] = True
    twin.prompt("mask", mask=encode_mask(Patch.tight(rough, rough)))
    twin.session.add_mask(rough)
    twin.check()
    twin.prompt("point", point=MIDDLE, space="voxel", object="object 1")
    twin.session.select("object 1")
    twin.session.add_point(MIDDLE)
    twin.check()
    found = twin.get("suggestion")["suggestion"]
    expected = twin.session.suggest_point()
    assert expected is not None
    assert (tuple(found["voxel"]), found["positive"]) == expected
    assert np.allclose(found["mm"], SCAN.to_mm(expected.voxel))
    for what, values in (
        ("uncertainty", twin.session.uncertainty),
        ("probability", twin.session.probability),
    ):
        box = decode(twin.get(what)["box"])
        assert np.abs(box.on_grid(SCAN.shape, np.float32) - values).max() <= 0.5 / 255 + 1e-4
    twin.get("uncertainty", object="second")
    assert twin.client.get(twin.path).json()["selected"] == "object 1"  # looking selects nothing


def test_objects_have_names_and_colours(served: Served) -> None:
    twin = Twin(served)
    twin.prompt("point", point=MIDDLE, space="voxel")
    told = twin.post("objects")
    assert [o["name"] for o in told["objects"]] == ["object 1", "object 2"]
    colours = [o["colour"] for o in told["objects"]]
    assert len(set(colours)) == 2
    change = {"name": "object 1", "rename": "liver", "colour": "#123456", "hidden": True}
    told = twin.client.patch(f"{twin.path}/objects", json=change).json()
    assert told["objects"][0]["name"] == "liver"
    assert (told["objects"][0]["colour"], told["objects"][0]["hidden"]) == ("#123456", True)
    assert told["objects"][0]["measures"]["voxels"] > 100
    assert twin.post("select", name="liver")["selected"] == "liver"
    told = twin.client.request("DELETE", f"{twin.path}/objects", params={"name": "liver"}).json()
    assert [o["name"] for o in told["objects"]] == ["object 2"]
    for body in (
        {"name": "liver"},
        {"name": "object 2", "colour": "red"},
        {"name": "object 2", "rename": ""},
    ):
        assert twin.client.patch(f"{twin.path}/objects", json=body).status_code == 422


BAD = [
    ("point", {"point": [24, 20, 300], "space": "voxel"}, "outside"),
    ("point", {"point": [1, 2]}, "point"),
    ("point", {"point": [1, 2, "a"]}, "number"),
    ("point", {"point": MIDDLE, "object": "nobody"}, "no object"),
    ("point", {"point": MIDDLE, "space": "pixel"}, "space"),
    ("scribble", {"points": []}, "points"),
    ("box", {"lo": [5, 5, 5], "hi": [5, 9, 9], "space": "voxel"}, "flat"),
    (
        "mask",
        {"mask": {"start": [40, 30, 50], "shape": [20, 20, 20], "encoding": "bits", "data": ""}},
        "no box",
    ),
    ("mask", {"mask": {}}, "no box"),
    ("lesions/click", {"point": MIDDLE, "space": "voxel"}, "first"),
    ("text", {"text": ""}, "text"),
    ("objects", {"name": ""}, "name"),
    ("nothing", {}, "Not Found"),
]


@pytest.mark.parametrize(("what", "body", "says"), BAD)
def test_what_is_wrong_is_said_and_changes_nothing(
    served: Served, what: str, body: dict[str, Any], says: str
) -> None:
    twin = Twin(served)
    twin.prompt("point", point=MIDDLE, space="voxel")
    before = twin.client.get(twin.path).json()
    answer = twin.client.post(f"{twin.path}/{what}", json=body)
    assert answer.status_code in (404, 422), answer.text
    assert says in answer.json()["detail"]
    after = twin.client.get(twin.path).json()
    assert after["objects"] == before["objects"]


def test_numbers_that_are_none_are_refused(served: Served) -> None:
    twin = Twin(served)
    for text in ("NaN", "Infinity", "1e400"):
        body = f'{{"point": [{text}, 1, 1]}}'.encode()
        answer = twin.client.post(
            f"{twin.path}/point", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422


def test_scans_are_sent_opened_and_told(served: Served, tmp_path: Path) -> None:
    client = served.client()
    write(SCAN.with_array(SCAN.array + 1), tmp_path / "a.nrrd")
    sent = client.post("/api/scans", files={"files": ("a.nrrd", (tmp_path / "a.nrrd").read_bytes())}).json()
    assert (sent["name"], sent["kind"], sent["open"]) == ("a.nrrd", "upload", False)
    told = client.get(f"/api/scans/{sent['id']}").json()
    assert told["shape"] == list(SCAN.shape)
    assert np.allclose(told["affine"], SCAN.affine)
    assert (told["unit"], told["ct"]) == ("SUVbw", False)
    assert str(served.engine.settings.state) not in json.dumps(told)
    path = tmp_path / "back.nii.gz"
    path.write_bytes(client.get(f"/api/scans/{sent['id']}/pet.nii.gz").content)
    assert np.array_equal(read(path).array, SCAN.array + 1)
    assert client.get(f"/api/scans/{sent['id']}/ct.nii.gz").status_code == 404
    assert client.get(f"/api/scans/{sent['id']}/other.nii.gz").status_code in (404, 422)
    key = client.post("/api/sessions", json={"scan": sent["id"]}).json()["id"]
    answer = client.request("DELETE", f"/api/scans/{sent['id']}")
    assert (answer.status_code, "sessions" in answer.text) == (422, True)
    client.request("DELETE", f"/api/sessions/{key}").raise_for_status()
    client.request("DELETE", f"/api/scans/{sent['id']}").raise_for_status()
    assert client.get(f"/api/scans/{sent['id']}").status_code == 404
    write(SCAN.with_array(SCAN.array, "HU"), tmp_path / "ct.nrrd")
    sent = client.post("/api/scans", files={"files": ("ct.nrrd", (tmp_path / "ct.nrrd").read_bytes())}).json()
    answer = client.get(f"/api/scans/{sent['id']}")
    assert answer.status_code == 422
    assert "CT" in answer.json()["detail"]
    first = client.get("/api/scans").json()[0]["id"]
    told = client.post(f"/api/scans/{first}/open", json={"ct": sent["id"]}).json()
    assert told["ct"] is True
    client.post(f"/api/scans/{first}/open", json={}).raise_for_status()


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize(("axis", "start", "stop"), [(2, 0, None), (2, 30, 31), (0, 5, 9), (1, 39, 99)])
def test_slabs_are_the_voxels(served: Served, dtype: str, axis: int, start: int, stop: int | None) -> None:
    client = served.client()
    key = client.get("/api/scans").json()[0]["id"]
    params = {"axis": axis, "start": start, "dtype": dtype, **({} if stop is None else {"stop": stop})}
    answer = client.get(f"/api/scans/{key}/pet/slab", params=params)
    meta = json.loads(answer.headers["X-Meta"])
    stored = np.frombuffer(answer.content, "<f4" if dtype == "float32" else "<u2")
    values = stored.reshape(meta["shape"], order="F") * meta["slope"] + meta["intercept"]
    index = tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))
    assert np.abs(values - SCAN.array[index]).max() <= (0 if dtype == "float32" else 8 / 65535)
    assert client.get(f"/api/scans/{key}/pet/slab", params={"start": 56}).status_code == 422
    assert client.get(f"/api/scans/{key}/ct/slab").status_code == 404


def test_files_hold_what_the_session_holds(served: Served, tmp_path: Path) -> None:
    twin = Twin(served)
    answer = twin.client.get(f"{twin.path}/export/nifti")
    assert (answer.status_code, "nothing is segmented" in answer.text) == (422, True)
    for name, voxel in (("liver", MIDDLE), ("node", [24, 16, 30]), ("empty", None)):
        twin.post("objects", name=name)
        twin.session.new_object(name)
        if voxel is not None:
            twin.prompt("point", point=voxel, space="voxel")
            twin.session.add_point(voxel)
    kinds = [one["kind"] for one in twin.get("exports")]
    assert {"nifti", "nrrd", "session", "timers"} <= set(kinds)
    for kind, suffix in (("nifti", ".nii.gz"), ("nrrd", ".nrrd")):
        answer = twin.client.get(f"{twin.path}/export/{kind}")
        assert suffix in answer.headers["Content-Disposition"]
        (tmp_path / f"labels{suffix}").write_bytes(answer.content)
        labels = read_labels(tmp_path / f"labels{suffix}")
        expected = twin.session.labels
        assert labels.same_grid(SCAN)
        assert np.array_equal(labels.array, expected.array)
        assert labels.meta["names"] == expected.meta["names"]
    answer = twin.client.get(f"{twin.path}/export/nifti", params={"object": ["node"]})
    (tmp_path / "node.nii.gz").write_bytes(answer.content)
    assert np.array_equal(read_labels(tmp_path / "node.nii.gz").array > 0, twin.session.objects["node"].mask)
    (tmp_path / "a.anypet").write_bytes(twin.client.get(f"{twin.path}/export/session").content)
    loaded = Session.load(tmp_path / "a.anypet", model=FakeModel())
    assert np.array_equal(loaded.labels.array, twin.session.labels.array)
    assert np.array_equal(loaded.select("node").mask, twin.session.objects["node"].mask)
    assert not loaded.undo().any()
    assert twin.client.get(f"{twin.path}/export/nonsense").status_code == 404
    assert twin.client.get(f"{twin.path}/export/nifti", params={"object": ["x"]}).status_code == 404


def test_a_further_kind_of_file_is_one_function(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_names(live: Live, items: Sequence[SegmentedObject], path: Path, anonymise: bool) -> None:
        path.write_text(",".join(item.name for item in items))

    monkeypatch.setattr(exports, "_EXPORTS", dict(exports._EXPORTS))
    register_export(Export("names", "Names", ".txt", "text/plain", write_names, empty=True))
    twin = Twin(served)
    kinds = [one["kind"] for one in twin.get("exports")]
    assert "names" in kinds
    assert not {"seg", "rtstruct", "sr"} & set(kinds)  # the scan is no DICOM
    assert twin.client.get(f"{twin.path}/export/names").text == "object 1"
    assert twin.client.get(f"{twin.path}/export/seg").status_code == 404
    assert "seg" in [one["kind"] for one in twin.client.get("/api/info").json()["exports"]]


def test_clocks_count_seconds_and_prompts(served: Served) -> None:
    twin = Twin(served)
    twin.post("timers", object="object 1", event="start")
    time.sleep(0.3)
    twin.prompt("point", point=MIDDLE, space="voxel")
    twin.prompt("undo")
    twin.post("objects", name="second")
    twin.post("timers", object="second", event="start")  # stops the first
    told = twin.get("timers")
    first = told["object 1"]
    assert (first["running"], told["second"]["running"]) == (False, True)
    assert (first["points"], first["undos"]) == (1, 1)
    assert 0.3 <= first["seconds"] < 30
    time.sleep(0.1)
    assert twin.get("timers")["object 1"]["seconds"] == first["seconds"]
    table = twin.client.get(f"{twin.path}/export/timers").text.splitlines()
    assert table[0].startswith("object,seconds,points")
    assert len(table) == 3
    for body in ({"object": "nobody", "event": "start"}, {"object": "second", "event": "pause"}):
        assert twin.client.post(f"{twin.path}/timers", json=body).status_code in (404, 422)


def test_eight_clients_at_once_all_get_their_own_masks(served: Served) -> None:
    places = [[24 + n % 4, 20 + n // 4, 30] for n in range(8)]
    expected = []
    for place in places:
        session = Session(SCAN, FakeModel())
        session.add_point(place)
        expected.append(session.add_point(BESIDE, False))
    start = threading.Barrier(8)

    def work(n: int) -> np.ndarray:
        twin = Twin(served)
        start.wait()
        twin.prompt("point", point=places[n], space="voxel")
        twin.prompt("point", point=BESIDE, positive=False, space="voxel")
        return twin.masks["object 1"]

    with ThreadPoolExecutor(8) as pool:
        for mask, right in zip(pool.map(work, range(8)), expected, strict=True):
            assert np.array_equal(mask, right)


def test_metrics_are_prometheus_text(served: Served) -> None:
    twin = Twin(served)
    twin.prompt("point", point=MIDDLE, space="voxel")
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(twin.client.get("/metrics").text)
        for sample in family.samples
    }
    assert found["anypet_step_seconds_count"] >= 1
    assert found["anypet_sessions_loaded"] >= 1
    assert found["anypet_queue"] == 0
    assert found["anypet_answers_total"] >= 1
    assert found["process_resident_memory_bytes"] > 1e7


def test_addresses_are_described(served: Served) -> None:
    client = served.client()
    told = client.get("/openapi.json").json()
    assert len(told["paths"]) > 50
    page = client.get("/docs").text
    for path, methods in told["paths"].items():
        assert path in page
        for method in methods.values():
            assert method.get("description"), f"{path} has no description"
    assert "http" not in page.replace(served.url, "").replace("</html", "")


def test_an_upload_of_an_unknown_unit_says_what_to_do(served: Served) -> None:
    import nibabel as nib

    client = served.client()
    image = nib.Nifti1Image(SCAN.array, SCAN.affine)
    content = gzip.compress(image.to_bytes())
    sent = client.post("/api/scans", files={"files": ("a.nii.gz", io.BytesIO(content))}).json()
    answer = client.get(f"/api/scans/{sent['id']}")
    assert answer.status_code == 422
    assert "unit=" in answer.json()["detail"]
    told = client.post(f"/api/scans/{sent['id']}/open", json={"unit": "SUVbw"}).json()
    assert told["unit"] == "SUVbw"


def test_a_request_that_was_given_up_does_no_harm(served: Served) -> None:
    twin = Twin(served)
    with pytest.raises(httpx.TimeoutException):
        twin.client.post(f"{twin.path}/point", json={"point": MIDDLE, "space": "voxel"}, timeout=0.0005)
    twin.prompt("reset")
    assert twin.client.get("/healthz").status_code == 200
