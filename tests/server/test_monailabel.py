"""MONAI Label's API: its own client (one file of its release) and OHIF's requests drive whole sessions."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from anypet.errors import PromptError
from anypet.io import read, read_labels, write
from anypet.server.monai_infer import asked_of
from anypet.server.monai_store import Datastore
from anypet.session import Session
from anypet.volume import Volume
from dicom_factory import make_series
from fakes import FakeModel, ball_scan, dice
from serving import OTHER, TOKEN, Served, scan_folder, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "lesions"))
from lesion_fakes import HotNet

SCAN = ball_scan()
TRUTH = SCAN.array > 4
MIDDLE, BESIDE = [24, 20, 30], [26, 20, 30]
RELEASE = "monailabel==0.8.5"


@pytest.fixture(scope="session")
def monai(request: pytest.FixtureRequest) -> types.ModuleType:
    """The client module of MONAI Label's release, unchanged; the release itself is not installed."""
    if sys.version_info >= (3, 13):
        pytest.skip("MONAI Label's client needs the module cgi, which Python 3.13 has not")
    folder = Path(request.config.cache.mkdir("monailabel"))  # type: ignore[union-attr]
    path = folder / "client.py"
    if not path.is_file():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), RELEASE]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(folder.glob("monailabel-*.whl"))
        if done.returncode or not wheels:
            pytest.skip(f"{RELEASE} cannot be fetched: {done.stderr.strip()[-200:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            path.write_bytes(wheel.read("monailabel/client/client.py"))
        wheels[0].unlink()
    spec = importlib.util.spec_from_file_location("monailabel_client", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    make_series(scan_folder(folder) / "study" / "PT", (SCAN.array * 1000).astype(np.int16))
    lesions = {"nets": [HotNet()], "tracer": "fdg"}
    with Served(
        settings(folder, folder=folder / "scans", lesions=lesions, origins=("https://ohif.example",))
    ) as one:
        yield one


class Slicer:
    """Makes a client and logs in for every call, as 3D Slicer's plugin does."""

    def __init__(self, monai: types.ModuleType, url: str, folder: Path, token: str) -> None:
        self.make = lambda: monai.MONAILabelClient(url, str(folder), "a reader")
        self.token = token

    def __getattr__(self, name: str) -> Any:
        one = self.make()
        assert one.auth_enabled()
        one.update_auth(one.auth_token("a reader", self.token))
        assert one.auth_valid_token()
        return getattr(one, name)


@pytest.fixture
def client(served: Served, monai: types.ModuleType, tmp_path: Path) -> Any:
    return Slicer(monai, served.url, tmp_path, TOKEN)


def pet_id(client: Any) -> str:
    return next(
        k for k, v in client.datastore()["objects"].items() if v["image"]["info"]["name"] == "pet.nii.gz"
    )


# what 3D Slicer's plugin adds to every request
SLICER = {"result_extension": ".nrrd", "result_dtype": "uint8"}


# -- the client of the release -------------------------------------------------------------------------------


def test_info_has_what_the_plugins_look_for(client: Any) -> None:
    info = client.info()
    assert info["name"] == "AnyPET"
    assert info["labels"][0] == "background"
    assert info["models"]["anypet"]["type"] == "deepgrow"
    assert info["models"]["anypet"]["dimension"] == 3
    assert info["models"]["anypet_lesions"]["type"] == "segmentation"
    for model in info["models"].values():
        assert {"type", "labels", "dimension", "description", "config"} <= set(model)
    assert "config" not in info  # or 3D Slicer asks for an upgrade
    assert set(info["datastore"]) == {"total", "completed", "label_tags"}
    assert info["trainers"] == {}
    assert client.train_status(check_if_running=True) is False


def test_clicks_are_answered_with_masks(client: Any) -> None:
    own = Session(SCAN, FakeModel())
    own.new_object("liver")
    steps = [([MIDDLE], []), ([MIDDLE], [BESIDE]), ([MIDDLE, [24, 23, 30]], [BESIDE])]
    for n, (foreground, background) in enumerate(steps):
        params = {"label": "liver", "foreground": foreground, "background": background, **SLICER}
        path, told = client.infer("anypet", pet_id(client), params)
        expected = own.add_point(*[(MIDDLE, True), (BESIDE, False), ([24, 23, 30], True)][n])
        image = sitk.ReadImage(path)
        assert path.endswith(".nrrd")
        assert image.GetPixelID() == sitk.sitkUInt8
        labels = read_labels(Path(path))
        assert labels.same_grid(SCAN)
        assert np.array_equal(labels.array == 1, expected)
        assert told["label_names"] == {"liver": 1}
        assert told["measures"]["liver"]["voxels"] == expected.sum()
        value, *middle = told["centroids"]["liver"]
        assert value == 1
        assert np.allclose(middle, np.argwhere(expected).mean(0), atol=0.01)


def test_a_click_that_was_taken_away_is_forgotten(client: Any) -> None:
    image = pet_id(client)
    for foreground in ([MIDDLE], [MIDDLE, [2, 2, 2]], [MIDDLE]):
        params = {"label": "node", "foreground": foreground, "background": [], **SLICER}
        path, _ = client.infer("anypet", image, params)
    expected = Session(SCAN, FakeModel()).add_point(MIDDLE)
    assert np.array_equal(read_labels(Path(path)).array > 0, expected)


def test_labels_have_sessions_objects_of_their_own(client: Any, served: Served) -> None:
    image = pet_id(client)
    for label, voxel in (("one", MIDDLE), ("two", [5, 5, 5])):
        client.infer("anypet", image, {"label": label, "foreground": [voxel], "background": [], **SLICER})
    rest = served.client()
    cards = [
        c for c in rest.get("/api/sessions").json() if c["client"] == "monailabel" and c["scan"] == image
    ]
    assert len(cards) == 1
    names = [o["name"] for o in rest.get(f"/api/sessions/{cards[0]['id']}").json()["objects"]]
    assert {"one", "two"} <= set(names)


def test_all_lesions(client: Any) -> None:
    path, told = client.infer("anypet_lesions", pet_id(client), {**SLICER})
    labels = read_labels(Path(path))
    assert told["label_names"] == {"lesion": 1}
    assert set(np.unique(labels.array)) == {0, 1}
    assert dice(labels.array > 0, TRUTH) > 0.9
    assert "lesion 1" in told["measures"]
    again, _ = client.infer("anypet_lesions", pet_id(client), {**SLICER})  # found already
    assert np.array_equal(read_labels(Path(again)).array, labels.array)


def test_sessions_of_uploaded_images(
    client: Any, monai: types.ModuleType, tmp_path: Path, served: Served
) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(SCAN.array.transpose(2, 1, 0)))  # as Slicer saves it
    image.SetSpacing((4.0, 4.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / "node.nii.gz"))
    began = client.create_session(str(tmp_path / "node.nii.gz"))
    key = began["session_id"]
    assert client.get_session(key)["name"] == key
    params = {"label": "liver", "foreground": [MIDDLE], "background": [], **SLICER}
    path, _ = client.infer("anypet", "name of the node", params, session_id=key)
    found = sitk.ReadImage(path)
    assert found.GetSpacing() == image.GetSpacing()
    assert found.GetOrigin() == pytest.approx(image.GetOrigin())
    mask = sitk.GetArrayFromImage(found).transpose(2, 1, 0) > 0
    assert dice(mask, TRUTH) > 0.9
    client.remove_session(key)
    with pytest.raises(monai.MONAILabelClientException):
        client.get_session(key)
    assert key not in client.datastore()["objects"]
    other = Slicer(monai, served.url, tmp_path, OTHER)
    key = client.create_session(str(tmp_path / "node.nii.gz"))["session_id"]
    with pytest.raises(monai.MONAILabelClientException):
        other.get_session(key)
    client.remove_session(key)


def test_an_upload_that_is_no_suv_is_refused_with_the_reason(
    client: Any, monai: types.ModuleType, tmp_path: Path
) -> None:
    image = sitk.GetImageFromArray((SCAN.array.transpose(2, 1, 0) * 5000).astype(np.float32))
    sitk.WriteImage(image, str(tmp_path / "counts.nii.gz"))
    key = client.create_session(str(tmp_path / "counts.nii.gz"))["session_id"]
    with pytest.raises(monai.MONAILabelClientException) as caught:
        client.infer("anypet", "x", {"foreground": [MIDDLE]}, session_id=key)
    assert "Bq/mL" in caught.value.msg
    client.remove_session(key)


def test_the_datastore_keeps_images_and_labels(client: Any, tmp_path: Path) -> None:
    write(SCAN, tmp_path / "sent.nrrd")
    image = client.upload_image(str(tmp_path / "sent.nrrd"), "my patient")["image"]
    sample = client.next_sample("random", {})
    assert {"id", "name"} <= set(sample)
    assert sample["name"].endswith(".nii.gz")
    total = client.info()["datastore"]
    labels = Volume(TRUTH.astype(np.uint8), SCAN.affine, "label")
    write(labels, tmp_path / "label.nrrd")
    info = {"label_info": [{"name": "liver", "idx": 1}]}
    assert client.save_label("my patient", str(tmp_path / "label.nrrd"), params=info)["label"] == image
    stored = client.datastore()["objects"][image]["labels"]["final"]
    assert stored["info"]["params"]["label_info"] == info["label_info"]
    now = client.info()["datastore"]
    assert now["completed"] == total["completed"] + 1
    assert now["label_tags"]["final"] >= 1
    back = read_labels(Path(client.download_label(image, "final")))
    assert back.same_grid(SCAN)
    assert np.array_equal(back.array, labels.array)
    path, _ = client.infer(
        "anypet", image, {"label": "liver", "foreground": [MIDDLE], **SLICER}, str(tmp_path / "label.nrrd")
    )
    assert dice(read_labels(Path(path)).array > 0, TRUTH) > 0.9  # the label is refined


# -- requests as 3D Slicer and OHIF record them --------------------------------------------------------------


def infer(served: Served, params: dict[str, Any], image: str = "pet.nii.gz", **query: str) -> httpx.Response:
    return served.client().post(
        "/infer/anypet", params={"image": image, **query}, data={"params": json.dumps(params)}
    )


def nrrd(content: bytes) -> tuple[dict[str, str], np.ndarray]:
    """An uncompressed NRRD taken apart by hand: header fields, and the voxels, first axis fastest."""
    head, raw = content.split(b"\n\n", 1)
    lines = head.decode("ascii").splitlines()
    assert lines[0].startswith("NRRD")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    kind = {"unsigned char": np.uint8, "uchar": np.uint8, "uint8": np.uint8, "unsigned short": np.uint16}[
        fields["type"]
    ]
    sizes = [int(n) for n in fields["sizes"].split()]
    return fields, np.frombuffer(raw, kind).reshape(sizes, order="F")


def test_ohif_v3_wants_bare_nrrd_as_the_body(served: Served) -> None:
    series = served.client().get("/api/scans").json()
    dicom = next(s["id"] for s in series if s["name"] == "study")
    meta = served.client().get(f"/api/scans/{dicom}").json()["meta"]
    params = {
        "foreground": [[24, 20, 30]],
        "background": [],
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
        "result_compress": False,
        "restore_label_idx": False,
    }
    boundary = "----WebKitFormBoundaryabc"
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n\r\n'
    body = f"{part}{json.dumps(params)}\r\n--{boundary}--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Origin": "https://ohif.example"}
    address = f"/t/{TOKEN}/infer/anypet?image={meta['series_uid']}&output=image"  # OHIF cannot log in
    answer = served.client(None).post(address, content=body.encode(), headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://ohif.example"
    fields, voxels = nrrd(answer.content)
    assert fields["encoding"] == "raw"
    assert voxels.dtype == np.uint8
    assert voxels[24, 20, 30] == 1
    by_study = infer(served, params, meta["study_uid"], output="image")
    assert np.array_equal(nrrd(by_study.content)[1], voxels)


def test_ohif_with_output_all_takes_the_parts_apart_as_text(served: Served) -> None:
    params = {
        "foreground": [MIDDLE],
        "background": [],
        "label": "lesion",
        "result_extension": ".nrrd",
        "result_dtype": "uint16",
        "result_compress": False,
    }
    answer = infer(served, params, output="all")
    boundary = answer.headers["Content-Type"].split("boundary=")[1]
    parts = [part for part in answer.content.decode("utf-8").split(f"--{boundary}") if part.strip()]
    told = next(part for part in parts if "Content-Type: application/json" in part)
    file = next(part for part in parts if "Content-Type: application/octet-stream" in part)
    parsed = json.loads(told[told.index("{") : told.rindex("}") + 1])
    assert parsed["centroids"]["lesion"][0] == 1
    content = file.split("\r\n\r\n")[1]
    _, voxels = nrrd(content[: content.rindex("\r\n")].encode())
    assert voxels.dtype == np.uint16
    assert dice(voxels > 0, TRUTH) > 0.9


def test_deepedit_and_vista3d_spell_clicks_in_their_own_ways(served: Served) -> None:
    expected = Session(SCAN, FakeModel()).add_point(MIDDLE)
    for params in (
        {"label": "spleen", "spleen": [MIDDLE], "background": []},
        {"label": "aorta", "aorta": [MIDDLE], "liver": [], "background": []},
        {"points": [MIDDLE], "point_labels": [1], "label_prompt": ["x"], "label": "vista"},
    ):
        answer = infer(served, {**params, **SLICER}, output="image")
        assert np.array_equal(nrrd(answer.content)[1] > 0, expected), params
    both = {"a": [MIDDLE], "b": [[4, 4, 4]], "background": [[10, 10, 10]], **SLICER}
    answer = infer(served, both, output="json").json()
    assert answer["label_names"] == {"a": 1, "b": 2}
    box = {"label": "roi", "foreground": [], "background": [], "roi": [18, 30, 14, 26, 22, 38], **SLICER}
    own = Session(SCAN, FakeModel()).add_box([18, 14, 22], [30, 26, 38])
    assert np.array_equal(nrrd(infer(served, box, output="image").content)[1] > 0, own)
    moved = {**box, "roi": [18, 30, 14, 26, 22, 36]}
    own = Session(SCAN, FakeModel()).add_box([18, 14, 22], [30, 26, 36])
    assert np.array_equal(nrrd(infer(served, moved, output="image").content)[1] > 0, own)


def test_points_are_read_as_each_client_writes_them() -> None:
    found = asked_of({"points": [MIDDLE, BESIDE], "point_labels": [1, 0], "label": "x"}, SCAN)
    assert [(p.positive, np.round(SCAN.to_voxel(p.mm)).tolist()) for p in found[0].points] == [
        (True, MIDDLE),
        (False, BESIDE),
    ]
    for params in (
        {},
        {"foreground": [], "background": []},
        {"foreground": [[1, 2]]},
        {"foreground": [[1, 2, 900]]},
        {"foreground": 5},
        {"foreground": [], "roi": [1, 2]},
        {"points": "x"},
        {"liver": [["a", 1, 2]]},
    ):
        with pytest.raises(PromptError):
            asked_of(params, SCAN)


def test_labels_of_ohif_are_bare_voxels(served: Served) -> None:
    client = served.client()
    for kind in (np.uint8, np.uint16):
        raw = (TRUTH * 3).astype(kind).tobytes(order="F")
        answer = client.put("/datastore/label?image=pet.nii.gz&tag=ohif", files={"label": ("label.bin", raw)})
        assert answer.status_code == 200, answer.text
        back = client.get("/datastore/label", params={"label": "pet.nii.gz", "tag": "ohif"})
        assert "filename=" in back.headers["Content-Disposition"]
    answer = client.put("/datastore/label?image=pet.nii.gz", files={"label": ("label.bin", raw[:-1])})
    assert (answer.status_code, "voxels" in answer.text) == (422, True)
    for tag in ("../evil", "", ".hidden", "x" * 200):
        answer = client.put(
            "/datastore/label",
            params={"image": "pet.nii.gz", "tag": tag},
            files={"label": ("label.bin", raw)},
        )
        assert answer.status_code == (200 if tag == "" else 422)
    assert client.request("DELETE", "/datastore/label?id=pet.nii.gz&tag=ohif").status_code == 200
    assert client.get("/datastore/label?label=pet.nii.gz&tag=ohif").status_code == 404


def test_images_are_given_as_suv(served: Served, tmp_path: Path) -> None:
    client = served.client()
    (tmp_path / "a.nii.gz").write_bytes(client.get("/datastore/image?image=pet.nii.gz").content)
    assert np.array_equal(read(tmp_path / "a.nii.gz").array, SCAN.array)
    assert client.head("/datastore/image?image=pet.nii.gz").status_code == 200
    assert client.head("/datastore/image?image=nothing").status_code == 404
    assert client.get("/datastore/image/info?image=pet.nii.gz").json()["name"] == "pet.nii.gz"
    assert client.get("/datastore/").json()["total"] >= 2
    assert client.get("/datastore/?output=train").json() == []


@pytest.mark.parametrize(
    ("query", "params", "status", "says"),
    [
        ({"image": "nothing"}, "{}", 404, "no image"),
        ({"image": "pet.nii.gz"}, "{}", 422, "no click"),
        ({"image": "pet.nii.gz"}, "{", 422, "JSON"),
        ({"image": "pet.nii.gz"}, "[]", 422, "JSON object"),
        ({"image": "pet.nii.gz", "output": "dicom_seg"}, "{}", 422, "DICOM SEG"),
        ({"image": "pet.nii.gz", "output": "pdf"}, "{}", 422, "output"),
        ({"session_id": "u0"}, "{}", 404, "no image"),
        (
            {"image": "pet.nii.gz"},
            json.dumps({"foreground": [MIDDLE], "result_extension": "/../x"}),
            422,
            "result",
        ),
        (
            {"image": "pet.nii.gz"},
            json.dumps({"foreground": [MIDDLE], "result_dtype": "object"}),
            422,
            "result",
        ),
        ({"image": "pet.nii.gz"}, json.dumps({"foreground": [[9999, 0, 0]]}), 422, "outside"),
        ({"image": "pet.nii.gz"}, json.dumps({"foreground": 5}), 422, ""),
    ],
)
def test_what_is_wrong_is_said(
    served: Served, query: dict[str, str], params: str, status: int, says: str
) -> None:
    answer = served.client().post("/infer/anypet", params=query, data={"params": params})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]


def test_what_is_not_there_is_404(served: Served) -> None:
    client = served.client()
    assert client.post("/infer/other?image=pet.nii.gz", data={"params": "{}"}).status_code == 404
    assert client.post("/activelearning/oracle", json={}).status_code == 404
    assert client.get("/train/?check_if_running=true").status_code == 404
    assert client.get("/session/x").status_code == 404
    assert client.put("/session/").status_code == 422


def test_a_file_can_come_with_the_request(served: Served, tmp_path: Path) -> None:
    write(SCAN, tmp_path / "a.nii.gz")
    files = {"file": ("a.nii.gz", (tmp_path / "a.nii.gz").read_bytes())}
    params = {"params": json.dumps({"label": "x", "foreground": [MIDDLE], **SLICER})}
    answer = served.client().post("/infer/anypet?output=image", data=params, files=files)
    assert dice(nrrd(answer.content)[1] > 0, TRUTH) > 0.9


def test_uploaded_sessions_end_when_nobody_uses_them(served: Served, tmp_path: Path) -> None:
    client = served.client()
    write(SCAN, tmp_path / "a.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    keys = [
        client.put(f"/session/?expiry={n}", files={"files": ("a.nii.gz", content)}).json()["session_id"]
        for n in (100, 9999)
    ]
    infer_on = {"params": json.dumps({"label": "x", "foreground": [MIDDLE]})}
    client.post(f"/infer/anypet?session_id={keys[0]}&output=json", data=infer_on).raise_for_status()
    for key in keys:
        mark = served.engine.library.root / key / "session.json"
        os.utime(mark, (time.time() - 500,) * 2)
    Datastore(served.engine).sweep({"anna", "bo"})
    assert client.get(f"/session/{keys[0]}").status_code == 404
    assert client.get(f"/session/{keys[1]}").status_code == 200
    assert not [c for c in client.get("/api/sessions").json() if c["scan"] == keys[0]]
    assert client.get(f"/session/{keys[1]}?update_ts=true").json()["expiry"] == 9999
