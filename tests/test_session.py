"""Sessions: prompts in and masks out, history, objects, labels, files, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.archive import fingerprint
from anypet.errors import AnyPETError, PromptError, ReadError
from anypet.prompts import Point
from anypet.session import Session
from anypet.volume import Volume
from fakes import FakeModel, ball_scan, dice

SCAN = ball_scan()
TRUTH = SCAN.array > 4


@pytest.fixture
def session() -> Session:
    return Session(SCAN, FakeModel())


# -- prompts -------------------------------------------------------------------------------------------------


def test_a_click_gives_a_mask_on_the_scans_grid(session: Session) -> None:
    mask = session.add_point((24, 20, 30))
    assert mask.dtype == bool
    assert mask.shape == SCAN.shape
    assert dice(mask, TRUTH) > 0.95
    assert np.array_equal(mask, session.mask)
    assert session.probability.dtype == np.float32
    assert (session.probability[mask] > 0.5).all()


def test_millimetres_and_voxels_are_the_same_click(session: Session) -> None:
    mask = session.add_point((24, 20, 30))
    other = Session(SCAN, FakeModel())
    assert np.array_equal(other.add_point(SCAN.to_mm((24, 20, 30)), space="mm"), mask)
    box = Session(SCAN, FakeModel()).add_box((18, 14, 22), (30, 26, 38))
    again = Session(SCAN, FakeModel())
    corners = SCAN.to_mm([[30, 14, 38], [18, 26, 22]])  # other corners of the same box
    assert np.array_equal(again.add_box(*corners, space="mm"), box)


clicks = st.lists(
    st.tuples(st.integers(0, 47), st.integers(0, 39), st.integers(0, 55), st.booleans()),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=12)
@given(clicks, st.booleans())
def test_every_click_is_obeyed(given_clicks: list[tuple[int, int, int, bool]], stubborn: bool) -> None:
    session = Session(SCAN, FakeModel(24, stubborn=stubborn))
    wishes: dict[tuple[int, int, int], bool] = {}
    for i, j, k, positive in given_clicks:
        mask = session.add_point((i, j, k), positive)
        wishes[i, j, k] = positive
        if any(wishes.values()):
            assert all(mask[voxel] == wish for voxel, wish in wishes.items())
        else:
            assert not mask[i, j, k]


def test_negative_clicks_alone_give_an_empty_mask_and_count_later(session: Session) -> None:
    assert not session.add_point((26, 20, 30), positive=False).any()
    mask = session.add_point((22, 20, 30))
    assert mask[22, 20, 30]
    assert not mask[26, 20, 30]


def test_a_scribble_is_at_most_eight_clicks_of_one_step(session: Session) -> None:
    mask = session.add_scribble([(20 + 0.1 * n, 20, 30) for n in range(60)])
    assert len(session.selected.prompts.points) == 8
    assert dice(mask, TRUTH) > 0.9
    session.undo()
    assert not session.mask.any()


def test_a_box_takes_the_place_of_the_one_before(session: Session) -> None:
    session.add_box((0, 0, 0), (5, 5, 5))
    mask = session.add_box((18, 14, 22), (30, 26, 38))
    assert len(session.selected.prompts.boxes) == 1
    assert dice(mask, TRUTH) > 0.9


def test_a_mask_is_refined_and_then_corrected(session: Session) -> None:
    rough = np.zeros(SCAN.shape, np.uint8)
    rough[22:27, 18:23, 28:33] = 1
    assert dice(session.add_mask(Volume(rough, SCAN.affine, "label")), TRUTH) > 0.95
    assert not session.add_point((24, 20, 33), positive=False)[24, 20, 33]


@pytest.mark.parametrize("voxel", [(0, 0, 0), (47, 39, 55), (2, 2, 2), (-0.5, -0.5, -0.5), (47.4, 39, 55)])
def test_clicks_on_air_and_at_corners_do_no_harm(session: Session, voxel: tuple[float, float, float]) -> None:
    array = SCAN.array.copy()
    array[:5] = 0
    mask = Session(SCAN.with_array(array), FakeModel()).add_point(voxel)
    assert mask.any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 5, 5), (40, 40, 1), (1, 40, 40), (3, 200, 2)])
def test_tiny_scans(shape: tuple[int, int, int]) -> None:
    array = np.full(shape, 3.0, np.float32)
    centre = tuple(n // 2 for n in shape)
    session = Session(Volume(array, np.diag([4.0, 4, 3, 1]), "SUVbw"), FakeModel())
    assert session.add_point(centre)[centre]
    session.reset()
    last = tuple(n - 1 for n in shape)
    assert session.add_box((0, 0, 0), last).shape == shape
    session.reset()
    assert session.add_mask(np.ones(shape, bool)).any()
    assert session.uncertainty.shape == shape
    session.suggest_point()


@settings(deadline=None, max_examples=6)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3), st.integers(0, 99))
def test_the_mask_does_not_depend_on_the_files_orientation(
    order: list[int], flips: tuple[bool, bool, bool], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scan = SCAN.with_array(SCAN.array + rng.uniform(0, 2, SCAN.shape).astype(np.float32))
    array, affine = np.transpose(scan.array, order), scan.affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    points = [((24, 20, 30), True), ((27, 21, 31), False), ((21, 20, 27), True)]
    straight = Session(scan, FakeModel())
    turned = Session(Volume(array, affine, "SUVbw"), FakeModel())
    for voxel, positive in points:
        mask = straight.add_point(voxel, positive)
        other = turned.add_point(scan.to_mm(voxel), positive, space="mm")
    for axis, flip in enumerate(flips):
        other = np.flip(other, axis) if flip else other
    back = np.transpose(other, np.argsort(order))
    # rounding may turn a voxel whose probability is 0.5 to the fourth digit
    unsure = np.abs(straight.probability - 0.5) < 2e-3
    assert mask.sum() > 100
    assert np.array_equal(back[~unsure], mask[~unsure])


# -- history -------------------------------------------------------------------------------------------------


def test_undo_and_redo_are_the_identity(session: Session) -> None:
    masks = [session.mask]
    masks.append(session.add_point((24, 20, 30)))
    masks.append(session.add_point((26, 20, 30), positive=False))
    masks.append(session.add_box((18, 14, 22), (30, 26, 38)))
    masks.append(session.add_scribble([(22, 20, 30), (22, 22, 30)]))
    masks.append(session.reset())
    masks.append(session.add_point((22, 20, 30)))
    for mask in masks[-2::-1]:
        assert np.array_equal(session.undo(), mask)
    assert not session.undo().any()
    for mask in masks[1:]:
        assert np.array_equal(session.redo(), mask)
    assert np.array_equal(session.redo(), masks[-1])


def test_a_new_prompt_after_undo_drops_what_could_be_redone(session: Session) -> None:
    session.add_point((24, 20, 30))
    session.add_point((26, 20, 30), positive=False)
    session.undo()
    mask = session.add_point((22, 20, 30), positive=False)
    assert np.array_equal(session.redo(), mask)
    fresh = Session(SCAN, FakeModel())
    fresh.add_point((24, 20, 30))
    assert np.array_equal(fresh.add_point((22, 20, 30), positive=False), mask)


def test_a_refused_prompt_changes_nothing(session: Session) -> None:
    mask = session.add_point((24, 20, 30))
    steps = len(session.selected.steps)
    with pytest.raises(PromptError):
        session.add_point((24, 20, 300))
    assert len(session.selected.steps) == steps
    assert np.array_equal(session.mask, mask)


# -- what is refused -----------------------------------------------------------------------------------------

POINTS: list[Any] = [
    (24, 20, 56), (-1, 20, 30), (48.0, 0, 0), (1e9, 0, 0), (float("nan"), 1, 2), (float("inf"), 1, 2), (1, 2),
    (1, 2, 3, 4), (), 5, "1,2,3", ("a", 1, 2), None, [[1, 2, 3]], {"i": 1},
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS, ids=repr)
def test_bad_points(session: Session, point: Any) -> None:
    with pytest.raises(PromptError):
        session.add_point(point)
    with pytest.raises(PromptError):
        session.add_scribble([(24, 20, 30), point])


def test_the_message_names_the_point_and_the_shape(session: Session) -> None:
    with pytest.raises(PromptError, match=r"\(24, 20, 56\).*\(48, 40, 56\)"):
        session.add_point((24, 20, 56))
    with pytest.raises(PromptError, match="mm"):
        session.add_point((0, 0, 5000), space="mm")


@pytest.mark.parametrize(
    ("lo", "hi"),
    [
        ((5, 5, 5), (5, 9, 9)),
        ((5, 5, 5), (5, 5, 5)),
        ((60, 5, 5), (70, 9, 9)),
        ((-9, 5, 5), (-3, 9, 9)),
        ((5, 5), (9, 9)),
        ((5, 5, float("nan")), (9, 9, 9)),
    ],
)
def test_bad_boxes(session: Session, lo: Any, hi: Any) -> None:
    with pytest.raises(PromptError):
        session.add_box(lo, hi)


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros(SCAN.shape, bool),
        np.ones((3, 3, 3), bool),
        np.full(SCAN.shape, 2),
        np.full(SCAN.shape, np.nan),
        np.full(SCAN.shape, "a"),
        np.ones(SCAN.shape[:2], bool),
        Volume(np.ones(SCAN.shape, bool), np.diag([9.0, 9, 9, 1]), "label"),
    ],
    ids=["empty", "shape", "values", "nan", "text", "2d", "grid"],
)
def test_bad_masks(session: Session, mask: Any) -> None:
    with pytest.raises(PromptError):
        session.add_mask(mask)


def test_a_renamed_object_keeps_its_place_and_its_history(session: Session) -> None:
    mask = session.add_point((24, 20, 30))
    session.new_object("node")
    session.rename("object 1", "liver")
    assert list(session.objects) == ["liver", "node"]
    assert session.selected.name == "node"
    session.rename("node", "node")
    assert np.array_equal(session.select("liver").mask, mask)
    assert not session.undo().any()
    for old, new in [("liver", "node"), ("liver", ""), ("spleen", "x")]:
        with pytest.raises(AnyPETError):
            session.rename(old, new)
    session.restore(session.objects, "node")
    assert session.selected.name == "node"
    with pytest.raises(AnyPETError, match="no object"):
        session.restore({}, "liver")


def test_several_prompts_can_be_one_step(session: Session) -> None:
    points = [Point(tuple(SCAN.to_mm(v)), sign) for v, sign in [((24, 20, 30), True), ((24, 20, 34), False)]]
    mask = session.prompt(points)
    assert mask[24, 20, 30]
    assert not mask[24, 20, 34]
    assert not session.undo().any()


def test_bad_spaces_names_and_empty_scribbles(session: Session) -> None:
    with pytest.raises(PromptError, match="space"):
        session.add_point((1, 2, 3), space="pixel")  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="scribble"):
        session.add_scribble([])
    with pytest.raises(AnyPETError, match="no object"):
        session.select("liver")
    with pytest.raises(AnyPETError, match="empty"):
        session.new_object("")
    assert session.selected.name == "object 1"
    session.new_object("liver")
    for name in ("liver", ""):
        with pytest.raises(AnyPETError, match="name"):
            session.new_object(name)


@pytest.mark.parametrize(("unit", "says"), [("HU", "CT"), ("Bq/mL", "unit="), ("unknown", "SUVbw")])
def test_only_suv_is_segmented(unit: str, says: str) -> None:
    with pytest.raises(AnyPETError, match=says):
        Session(Volume(SCAN.array, SCAN.affine, unit))


# -- results and objects -------------------------------------------------------------------------------------


def test_uncertainty_is_the_entropy_of_the_mean(session: Session) -> None:
    assert not session.uncertainty.any()
    first = session.add_point((24, 20, 30)) * 0 + session.probability
    session.add_point((26, 20, 30), positive=False)
    mean = np.clip((first + session.probability) / 2, 1e-6, 1 - 1e-6)
    expected = -(mean * np.log(mean) + (1 - mean) * np.log(1 - mean))
    assert np.allclose(session.uncertainty, expected, atol=1e-4)
    assert 0 < session.uncertainty.max() <= np.log(2) + 1e-6
    session.reset()
    assert not session.uncertainty.any()


def test_the_suggested_click_is_uncertain_and_new(session: Session) -> None:
    assert session.suggest_point() is None
    session.add_point((24, 20, 30))
    session.add_point((27, 20, 30), positive=False)
    suggestion = session.suggest_point()
    assert suggestion is not None
    assert session.uncertainty[suggestion.voxel] > 0.3
    assert suggestion.positive != session.mask[suggestion.voxel]
    assert suggestion.voxel not in [(24, 20, 30), (27, 20, 30)]


def test_objects_have_masks_measures_and_histories_of_their_own(session: Session) -> None:
    first = session.new_object("lesion")
    assert list(session.objects) == ["lesion"]  # the unused first one made room
    session.add_point((24, 20, 30))
    second = session.new_object()
    assert list(session.objects) == ["lesion", "object 2"]
    session.add_point((10, 10, 10))
    session.undo()
    assert not second.mask.any()
    assert first.mask.any()
    measures = first.measures
    assert measures["volume_ml"] == pytest.approx(first.mask.sum() * 0.048)
    assert measures["suv_max"] == SCAN.array[first.mask].max()
    assert measures["tlg"] == pytest.approx(measures["suv_mean"] * measures["volume_ml"])
    assert np.isnan(second.measures["suv_max"])
    assert second.measures["tlg"] == 0
    session.remove("lesion")
    assert session.selected is second
    session.remove("object 2")
    assert list(session.objects) == ["object 1"]


def test_labels_do_not_overlap_and_the_older_object_keeps_its_voxels(session: Session) -> None:
    session.new_object("small")
    session.add_mask(np.arange(48)[:, None, None] * np.ones(SCAN.shape) == 24)
    session.add_point((24, 20, 30))
    small = session.mask
    session.new_object("ball")
    ball = session.add_point((22, 20, 30))
    assert (small & ball).any()
    labels = session.labels
    assert labels.unit == "label"
    assert labels.array.dtype == np.uint8
    assert labels.meta["names"] == {1: "small", 2: "ball"}
    assert np.array_equal(labels.array == 1, small)
    assert np.array_equal(labels.array == 2, ball & ~small)


def test_a_session_costs_no_torch_until_the_first_prompt() -> None:
    code = (
        "import sys, numpy as np, anypet\n"
        "s = anypet.Session(anypet.Volume(np.ones((4, 4, 4), np.float32), np.eye(4), 'SUVbw'))\n"
        "s.add_point((1, 1, 1), positive=False); s.undo(); s.labels; s.uncertainty\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_by_name_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from anypet.models import registry

    calls: list[Any] = []

    def load_model(name: str, **options: Any) -> FakeModel:
        calls.append((name, options))
        return FakeModel()

    monkeypatch.setattr(registry, "load_model", load_model)
    session = Session(SCAN, "some-model", weights="w.safetensors", device="cpu")
    assert calls == []
    session.add_point((24, 20, 30))
    session.add_point((22, 20, 30))
    assert calls == [("some-model", {"weights": Path("w.safetensors"), "device": "cpu"})]


# -- files ---------------------------------------------------------------------------------------------------


def worked_on() -> Session:
    session = Session(SCAN.with_array(SCAN.array, note="kept", odd=object()), FakeModel())
    session.new_object("lesion")
    session.add_point((24, 20, 30))
    session.add_point((26, 20, 30), positive=False)
    session.new_object("box")
    session.add_box((5, 5, 5), (9, 9, 9))
    session.add_mask(TRUTH)
    session.select("lesion")
    session.undo()
    return session


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    session = worked_on()
    path = session.save(tmp_path / "work.anypet")
    assert [p.name for p in tmp_path.iterdir()] == ["work.anypet"]
    loaded = Session.load(path, model=FakeModel())
    assert np.array_equal(loaded.scan.array, SCAN.array)
    assert np.array_equal(loaded.scan.affine, SCAN.affine)
    assert loaded.scan.meta == {"note": "kept"}
    assert loaded.selected.name == "lesion"
    assert np.array_equal(loaded.labels.array, session.labels.array)
    assert np.array_equal(loaded.redo(), session.redo())
    assert np.array_equal(loaded.uncertainty, session.uncertainty)
    # it goes on as if it had never been closed
    assert np.array_equal(loaded.add_point((22, 20, 30), False), session.add_point((22, 20, 30), False))
    loaded.select("box")
    session.select("box")
    assert np.array_equal(loaded.undo(), session.undo())
    assert np.array_equal(loaded.undo(), session.undo())


def test_a_session_without_its_scan_wants_that_very_scan(tmp_path: Path) -> None:
    session = worked_on()
    full, path = session.save(tmp_path / "full.anypet"), tmp_path / "thin.anypet"
    session.save(path, include_scan=False)
    assert path.stat().st_size < full.stat().st_size
    with pytest.raises(AnyPETError, match="without its scan"):
        Session.load(path)
    fortran = SCAN.with_array(np.asfortranarray(SCAN.array))
    assert np.array_equal(Session.load(path, fortran).mask, session.mask)
    array = SCAN.array.copy()
    array[0, 0, 0] += 1
    for other in (SCAN.with_array(array), Volume(SCAN.array[1:], SCAN.affine, "SUVbw")):
        with pytest.raises(AnyPETError, match="another scan"):
            Session.load(path, other)
    with pytest.raises(AnyPETError, match="another scan"):
        Session.load(path, Volume(SCAN.array, np.diag([4.0, 4, 4, 1]), "SUVbw"))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = worked_on().save(tmp_path / "work.anypet")
    data = path.read_bytes()
    bad = tmp_path / "bad.anypet"
    for content in (b"", b"hello", data[: len(data) // 2]):
        bad.write_bytes(content)
        with pytest.raises(ReadError, match=r"bad\.anypet"):
            Session.load(bad)
    with pytest.raises(ReadError, match="no such file"):
        Session.load(tmp_path / "none.anypet")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members["session.json"])
    edits: list[dict[str, Any]] = [{"version": 99}, {"format": "x"}, {"selected": "x"}, {"scan": {}}]
    for edit in [*edits, {"objects": [{}]}]:
        with zipfile.ZipFile(bad, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, json.dumps({**header, **edit}) if name == "session.json" else content)
        with pytest.raises(ReadError):
            Session.load(bad)


def test_saved_arrays_need_no_pickle(tmp_path: Path) -> None:
    path = worked_on().save(tmp_path / "work.anypet")
    with np.load(path, allow_pickle=False) as arrays:
        names = [name for name in arrays.files if name != "session.json"]
        assert all(isinstance(arrays[name], np.ndarray) for name in names)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = worked_on()
    path = session.save(tmp_path / "work.anypet")
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="disk full"):
        session.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["work.anypet"]


def test_the_fingerprint_is_of_the_values_not_of_their_place_in_memory() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    same = [np.asfortranarray(array), array.astype(">f4"), np.repeat(array, 2, 0)[::2]]
    assert {fingerprint(a) for a in same} == {fingerprint(array)}
    assert fingerprint(array + 1) != fingerprint(array)
