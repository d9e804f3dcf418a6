"""`anypet.connect`: the same calls on a server and on this machine give the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import anypet
from anypet.errors import AnyPETError, PromptError
from anypet.io import read_labels
from anypet.remote import RemoteSession
from anypet.session import Session
from dicom_factory import make_series
from fakes import FakeModel, ball_scan
from serving import TOKEN, Served, scan_folder, settings

sys.path.insert(0, str(Path(__file__).parent / "lesions"))
from lesion_fakes import HotNet

SCAN = ball_scan()
MIDDLE, BESIDE = (24, 20, 30), (26, 20, 30)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    lesions = {"nets": [HotNet()], "tracer": "fdg"}
    with Served(settings(folder, folder=scan_folder(folder), lesions=lesions)) as one:
        yield one


@pytest.fixture
def remote(served: Served) -> Iterator[RemoteSession]:
    with anypet.connect(served.url, TOKEN, "pet.nii.gz") as one:
        yield one


def test_no_torch_is_needed() -> None:
    code = (
        "import sys; import anypet; from anypet import remote; anypet.connect;"
        "bad = {'torch', 'fastapi', 'uvicorn'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_call_gives_what_a_session_gives(remote: RemoteSession, tmp_path: Path) -> None:
    own = Session(SCAN, FakeModel())
    rough = np.zeros(SCAN.shape, bool)
    rough[22:27, 18:23, 28:33] = True

    def same() -> None:
        assert np.array_equal(remote.mask, own.mask)
        assert remote.selected.name == own.selected.name
        assert list(remote.objects) == list(own.objects)
        ours, theirs = own.selected.measures, remote.selected.measures
        assert ours.keys() == theirs.keys()
        assert np.allclose(list(ours.values()), list(theirs.values()), equal_nan=True)
        assert remote.selected.voxels == own.selected.voxels
        assert remote.selected.volume_ml == own.selected.volume_ml
        assert len(remote.selected.prompts.points) == len(own.selected.prompts.points)
        assert np.allclose(
            [p.mm for p in remote.selected.prompts.points], [p.mm for p in own.selected.prompts.points]
        )
        assert len(remote.selected.prompts.boxes) == len(own.selected.prompts.boxes)

    for session in (own, remote):
        mask = session.add_point(MIDDLE)
    assert np.array_equal(mask, own.mask)
    same()
    for call in (
        lambda s: s.add_point(SCAN.to_mm(BESIDE), positive=False, space="mm"),
        lambda s: s.add_scribble([(20 + 0.1 * n, 20, 30) for n in range(60)]),
        lambda s: s.undo(),
        lambda s: s.undo(),
        lambda s: s.redo(),
        lambda s: s.reset(),
        lambda s: s.undo(),
        lambda s: s.new_object("node"),
        lambda s: s.add_box((18, 14, 22), (30, 26, 38)),
        lambda s: s.add_mask(rough),
        lambda s: s.rename("node", "lymph node"),
        lambda s: s.select("object 1"),
        lambda s: s.new_object(),
        lambda s: s.remove("object 3"),
        lambda s: s.select("object 1"),
    ):
        call(own)
        call(remote)
        same()
    assert remote.suggest_point() == own.suggest_point()
    assert np.abs(remote.uncertainty - own.uncertainty).max() < 0.002
    assert np.abs(remote.probability - own.probability).max() < 0.003
    assert np.array_equal(remote.labels.array, own.labels.array)
    assert remote.labels.meta["names"] == own.labels.meta["names"]
    assert np.array_equal(remote.scan.array, SCAN.array)
    assert remote.scan.same_grid(SCAN)
    assert remote.model_name == "fake"
    loaded = Session.load(remote.save(tmp_path / "a.anypet"), model=FakeModel())
    assert np.array_equal(loaded.labels.array, own.labels.array)
    remote.save(tmp_path / "a.nii.gz", kind="nifti", objects=["lymph node"])
    assert np.array_equal(read_labels(tmp_path / "a.nii.gz").array > 0, own.objects["lymph node"].mask)
    assert "nifti" in remote.exports


def test_a_session_is_gone_on_with(served: Served, remote: RemoteSession) -> None:
    mask = remote.add_point(MIDDLE)
    with anypet.connect(served.url, TOKEN, session=remote.id) as other:
        assert np.array_equal(other.mask, mask)
        assert not other.undo().any()
    changed = remote.add_point(BESIDE, positive=False)  # a step that this side has not seen lies between
    fresh = Session(SCAN, FakeModel())
    assert np.array_equal(changed, fresh.add_point(BESIDE, positive=False))
    assert np.array_equal(remote.mask, fresh.mask)


def test_masks_that_are_handed_out_are_copies(remote: RemoteSession) -> None:
    mask = remote.add_point(MIDDLE)
    mask[:] = True
    assert not remote.mask.all()


def test_the_whole_scan(remote: RemoteSession) -> None:
    told: list[tuple[int, int]] = []
    found = remote.find_lesions(mirror=0, progress=lambda done, planned: told.append((done, planned)))
    own = Session(SCAN, FakeModel())
    own.find_lesions(mirror=0, nets=[HotNet()], tracer="fdg")
    assert found.names == ("lesion 1",)
    assert found.tracers == ("FDG",)
    assert told
    assert np.array_equal(remote.objects["lesion 1"].mask, own.objects["lesion 1"].mask)
    assert [o.name for o in remote.click_lesion(MIDDLE, positive=False)] == ["lesion 1"]
    assert not remote.objects["lesion 1"].voxels
    masks = remote.add_text("all lesions")
    assert isinstance(masks, dict)
    with pytest.raises(AnyPETError, match="'spleen' is not known"):
        remote.add_text("spleen")


def test_work_that_is_interrupted_is_cancelled(remote: RemoteSession) -> None:
    def stop(done: int, planned: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remote.find_lesions(mirror=0, progress=stop)
    assert remote.add_point(MIDDLE).any()


def test_scans_by_id_by_name_by_file_and_by_volume(served: Served, tmp_path: Path) -> None:
    client = served.client()
    key = client.get("/api/scans").json()[0]["id"]
    assert anypet.connect(f"{served.url}/?token={TOKEN}", scan=key).add_point(MIDDLE).any()
    anypet.write(SCAN, tmp_path / "mine.nrrd")
    with anypet.connect(f"{served.url}/t/{TOKEN}/", scan=tmp_path / "mine.nrrd") as session:
        assert np.array_equal(session.scan.array, SCAN.array)
    make_series(tmp_path / "dicom", (SCAN.array * 1000).astype(np.int16))
    with anypet.connect(served.url, TOKEN, tmp_path / "dicom") as session:
        assert np.array_equal(session.scan.array, anypet.read(tmp_path / "dicom").array)
    with anypet.connect(served.url, TOKEN, SCAN) as session:
        assert np.array_equal(session.add_point(MIDDLE), Session(SCAN, FakeModel()).add_point(MIDDLE))
    with pytest.raises(AnyPETError, match=r"4 scans; name one: pet\.nii\.gz"):
        anypet.connect(served.url, TOKEN)
    with pytest.raises(AnyPETError, match="not on this machine"):
        anypet.connect(served.url, TOKEN, tmp_path / "nothing.nii.gz")


def test_the_only_scan_needs_no_name(tmp_path: Path) -> None:
    with Served(settings(tmp_path, folder=scan_folder(tmp_path))) as served:
        assert anypet.connect(served.url, TOKEN).scan.shape == SCAN.shape


def test_refusals_are_errors_with_the_servers_words(served: Served, remote: RemoteSession) -> None:
    with pytest.raises(PromptError, match="outside"):
        remote.add_point((500, 0, 0))
    for bad in ("abc", 5, None, [1, 2, "x"]):
        with pytest.raises(PromptError, match="three numbers"):
            remote.add_point(bad)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="no voxel"):
        remote.add_mask(np.zeros(SCAN.shape, bool))
    with pytest.raises(AnyPETError, match="no object"):
        remote.select("nobody")
    with pytest.raises(AnyPETError, match="HTTP 401"):
        anypet.connect(served.url, "wrong")
    with pytest.raises(AnyPETError, match="no session"):
        anypet.connect(served.url, TOKEN, session="0" * 32)
    with pytest.raises(AnyPETError, match="is the server running"):
        anypet.connect("http://127.0.0.1:1", TOKEN)
    assert remote.suggest_point() is None
