"""nnInteractive's own client, as it comes from PyPI, drives whole sessions in its own bytes."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blosc2
import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as fewer
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nnInteractive.inference.remote import (
    ServerAtCapacityError,
    SessionExpiredError,
    nnInteractiveRemoteInferenceSession,
)
from nnInteractive.inference.remote import serialization as theirs

from anypet.errors import PromptError, ReadError
from anypet.objects import SegmentedObject
from anypet.server.client_images import check_plausible, volume_of
from anypet.server.drawn import box_prompts, spread
from anypet.server.leases import ExpiredError, FullError, Leases
from anypet.server.nnia import pack, unpack
from anypet.server.nninteractive import drop_unused
from anypet.server.uploads import TooLargeError
from anypet.session import Session
from fakes import FakeModel, ball_scan, dice
from serving import OTHER, TOKEN, Served, settings

# as viewers send it: slices, rows, columns
IMAGE = np.ascontiguousarray(ball_scan(spacing=(4.0, 4.0, 3.0)).array.transpose(2, 1, 0))[None]
SPACING = [3.0, 4.0, 4.0]
TRUTH = IMAGE[0] > 4
MIDDLE, BESIDE = (30, 20, 24), (30, 20, 27)
Remote = nnInteractiveRemoteInferenceSession


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(settings(tmp_path_factory.mktemp("served"), leases=4)) as one:
        yield one


@pytest.fixture
def remote(served: Served) -> Iterator[Remote]:
    """A client with an image and an empty buffer."""
    with Remote(served.url, TOKEN) as one:
        one.set_image(IMAGE, {"spacing": np.array(SPACING)})
        one.set_target_buffer(np.zeros(IMAGE.shape[1:], np.uint8))
        yield one


def local() -> Session:
    """The same session without a server."""
    return Session(volume_of(IMAGE, {"spacing": SPACING}), FakeModel())


def held(remote: Remote) -> np.ndarray:
    return np.asarray(remote.target_buffer) > 0


# -- a whole session -----------------------------------------------------------------------------------------


def test_what_the_plugins_ask_first(served: Served, remote: Remote) -> None:
    assert remote.ping()
    assert all(remote.supported_interactions[k] for k in ("points", "scribble", "lasso", "bbox2d", "bbox3d"))
    assert remote.supports_undo
    assert remote.supports_initial_label
    assert len(remote.preferred_scribble_thickness) == 3
    assert remote.original_image_shape == IMAGE.shape
    assert remote.channel_mapping["points"] == (3, 4)
    assert remote.license == "Apache-2.0"
    remote.set_do_autozoom(False)
    assert remote.heartbeat() > 500
    assert remote.lease_status()["idle_timeout_seconds"] == 600


def test_points_and_undo_to_the_beginning(remote: Remote) -> None:
    own = local()
    masks = [own.mask]
    changes = []
    for voxel, positive in [(MIDDLE, True), (BESIDE, False), ((28, 20, 24), True), ((30, 23, 24), True)]:
        masks.append(own.add_point(voxel, positive))
        changes.append(remote.add_point_interaction(voxel, positive))
        assert np.array_equal(held(remote), masks[-1])
    assert changes[0] is not None
    assert [b[0] for b in changes[0]] == list(np.argwhere(masks[1]).min(0))  # half open, and tight
    assert [b[1] for b in changes[0]] == list(np.argwhere(masks[1]).max(0) + 1)
    for mask in masks[-2::-1]:  # undo several, where nnInteractive's own server knows one
        assert remote.undo()
        assert np.array_equal(held(remote), mask)
    assert not remote.undo()
    assert remote.add_point_interaction(MIDDLE, True) is not None
    assert np.array_equal(held(remote), masks[1])


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.int16, np.int64])
def test_buffers_of_every_type(remote: Remote, dtype: Any) -> None:
    remote.set_target_buffer(np.zeros(IMAGE.shape[1:], dtype))
    remote.add_point_interaction(MIDDLE, True)
    assert dice(held(remote), TRUTH) > 0.9


def test_boxes_in_3d_and_in_a_slice(remote: Remote) -> None:
    own = local()
    remote.add_bbox_interaction([[22, 39], [14, 27], [18, 31]], True)
    assert np.array_equal(held(remote), own.add_box((22, 14, 18), (38, 26, 30)))
    remote.reset_interactions()
    remote.add_bbox_interaction([[30, 31], [14, 27], [18, 31]], True)  # drawn in one slice
    assert dice(held(remote), TRUTH) > 0.8
    volume = float(held(remote).sum())
    remote.add_bbox_interaction([[22.0, 39.0], [14.0, 27.0], [18.0, 31.0]], True)  # and once more, in 3D
    assert dice(held(remote), TRUTH) >= 0.9
    remote.add_bbox_interaction([[0, 30], [0, 40], [0, 48]], False)  # nothing below slice 30
    assert 0 < held(remote)[:30].sum() < 0.9 * TRUTH[:30].sum()
    assert volume > 0


def test_scribbles_whole_or_cropped(remote: Remote) -> None:
    line = np.zeros(IMAGE.shape[1:], np.uint8)
    line[30, 20, 20:29] = 1
    remote.add_scribble_interaction(line, True)
    first = held(remote).copy()
    assert dice(first, TRUTH) > 0.9
    assert first[30, 20, 20:29].all()
    remote.reset_interactions()
    box = [[29, 32], [18, 23], [19, 30]]
    crop = line[tuple(slice(a, b) for a, b in box)]
    remote.add_scribble_interaction(crop, True, interaction_bbox=box)
    assert np.array_equal(held(remote), first)
    remote.add_scribble_interaction(np.roll(line, 4, 1), False)
    assert not held(remote)[30, 24, 24]


def test_lassos(remote: Remote) -> None:
    inside = np.zeros(IMAGE.shape[1:], np.uint8)
    inside[30] = TRUTH[30]
    remote.add_lasso_interaction(inside, True)
    assert dice(held(remote), TRUTH) > 0.8
    away = np.zeros(IMAGE.shape[1:], np.uint8)
    away[26:34, 22:28, 20:28] = 1
    before = held(remote)[away > 0].sum()
    remote.add_lasso_interaction(away, False)
    assert held(remote)[away > 0].sum() < before


def test_a_mask_to_begin_with(remote: Remote) -> None:
    rough = np.zeros(IMAGE.shape[1:], np.uint8)
    rough[28:33, 18:23, 22:27] = 1
    remote.add_point_interaction((5, 5, 5), True)
    remote.add_initial_seg_interaction(rough)  # not refined yet
    assert np.array_equal(held(remote), rough > 0)
    own = local()
    own.add_mask(rough)
    remote.add_point_interaction((30, 20, 28), False)
    assert not held(remote)[30, 20, 28]
    assert held(remote).sum() > 2 * rough.sum()
    assert remote.undo()
    assert np.array_equal(held(remote), rough > 0)
    remote.reset_interactions()
    remote.add_initial_seg_interaction(rough, run_prediction=True)
    assert np.array_equal(held(remote), own.mask)


def test_an_empty_mask_begins_anew(remote: Remote) -> None:
    remote.add_point_interaction(MIDDLE, True)
    remote.add_initial_seg_interaction(np.zeros(IMAGE.shape[1:], np.uint8), run_prediction=True)
    assert not held(remote).any()
    own = local()
    remote.add_point_interaction(BESIDE, True)
    assert np.array_equal(held(remote), own.add_point(BESIDE))


def test_prompts_that_want_no_prediction_wait_for_it(remote: Remote) -> None:
    assert remote._predict() is None  # nothing waits
    assert remote.add_point_interaction(MIDDLE, True, run_prediction=False) is None
    assert remote.add_point_interaction(BESIDE, False, run_prediction=False) is None
    assert remote.add_point_interaction((1, 1, 1), True, run_prediction=False) is None
    assert not held(remote).any()
    assert remote.undo()  # the last of those that wait
    assert remote._predict() is not None
    assert held(remote)[MIDDLE]
    assert not held(remote)[BESIDE]
    assert not held(remote)[1, 1, 1]
    assert remote.undo()
    assert not held(remote).any()


def test_a_reset_begins_another_object_and_keeps_the_first(served: Served, remote: Remote) -> None:
    client = served.client()
    remote.add_point_interaction(MIDDLE, True)
    first = held(remote).copy()
    remote.reset_interactions()
    remote.reset_interactions()
    assert not held(remote).any()
    assert not remote.undo()
    remote.add_point_interaction((10, 10, 10), True)
    assert not (held(remote) & first).any()
    card = client.get("/api/sessions").json()[0]
    assert card["client"] == "nninteractive"
    objects = client.get(f"/api/sessions/{card['id']}").json()["objects"]
    assert [o["measures"]["voxels"] for o in objects] == [first.sum(), held(remote).sum()]


def test_another_image_begins_anew(served: Served, remote: Remote) -> None:
    remote.add_point_interaction(MIDDLE, True)
    small = IMAGE[:, 10:50, 5:35, 5:45]
    remote.set_image(small, {"spacing": SPACING})
    remote.set_target_buffer(np.zeros(small.shape[1:], np.uint8))
    remote.add_point_interaction((20, 15, 19), True)
    assert dice(held(remote), small[0] > 4) > 0.9


def test_sessions_stay_after_release_if_anything_was_done(served: Served) -> None:
    client = served.client()
    before = {one["id"] for one in client.get("/api/sessions").json()}
    scans = len(client.get("/api/scans").json())
    with Remote(served.url, TOKEN) as one:
        one.set_image(IMAGE + 0.25)
        one.set_image(IMAGE + 0.5)  # the first was never used
    assert {one["id"] for one in client.get("/api/sessions").json()} == before
    assert len(client.get("/api/scans").json()) == scans
    with Remote(served.url, TOKEN) as one:
        one.set_image(IMAGE, {"spacing": SPACING})
        one.set_target_buffer(np.zeros(IMAGE.shape[1:], np.uint8))
        one.add_point_interaction(MIDDLE, True)
    new = {one["id"] for one in client.get("/api/sessions").json()} - before
    assert len(new) == 1
    told = client.get(f"/api/sessions/{new.pop()}").json()
    assert told["objects"][0]["measures"]["voxels"] == local().add_point(MIDDLE).sum()


# -- leases --------------------------------------------------------------------------------------------------


def test_capacity_release_and_wrong_keys(served: Served) -> None:
    held_ = [Remote(served.url, TOKEN) for _ in range(4)]
    with pytest.raises(ServerAtCapacityError, match="capacity"):
        Remote(served.url, TOKEN)
    held_[0].close()
    Remote(served.url, OTHER).close()
    for one in held_:
        one.close()
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        Remote(served.url, "wrong")


def test_a_lease_expires_and_the_work_stays(tmp_path: Path) -> None:
    with Served(settings(tmp_path)) as served, Remote(served.url, TOKEN) as one:
        one.set_image(IMAGE, {"spacing": SPACING})
        one.set_target_buffer(np.zeros(IMAGE.shape[1:], np.uint8))
        one.add_point_interaction(MIDDLE, True)
        served.app.state.leases._now = lambda clock=served.app.state.leases._now: clock() + 601.0
        with pytest.raises(SessionExpiredError):
            one.add_point_interaction(MIDDLE, True)
        with pytest.raises(SessionExpiredError):
            one.heartbeat()
        assert len(served.app.state.leases) == 0
        assert len(served.client().get("/api/sessions").json()) == 1


def test_an_image_that_nobody_clicked_on_goes_with_its_lease(tmp_path: Path) -> None:
    with (
        Served(settings(tmp_path)) as served,
        Remote(served.url, TOKEN) as used,
        Remote(served.url, TOKEN) as one,
    ):
        used.set_image(IMAGE, {"spacing": SPACING})
        used.set_target_buffer(np.zeros(IMAGE.shape[1:], np.uint8))
        used.add_point_interaction(MIDDLE, True)
        one.set_image(IMAGE * 0.5, {"spacing": SPACING})
        leases = served.app.state.leases
        assert (len(served.client().get("/api/sessions").json()), leases.lost()) == (2, [])
        leases._now = lambda clock=leases._now: clock() + 1000.0
        for lease in leases.lost():
            drop_unused(served.engine, lease)
        assert leases.lost() == []
        assert len(served.client().get("/api/sessions").json()) == 1
        assert len(served.client().get("/api/scans").json()) == 1


def test_clocks_of_leases() -> None:
    now = [100.0]
    leases = Leases(2, idle_s=600, liveness_s=60, now=lambda: now[0])
    lease = leases.claim("anna")
    for _ in range(11):  # beats keep it alive, but not for ever
        now[0] += 50
        leases.get(lease.token, "anna", "life")
    assert leases.remaining(lease) == 50
    leases.get(lease.token, "anna", "look")
    assert leases.remaining(lease) == 50
    leases.get(lease.token, "anna")
    assert leases.remaining(lease) == 600
    now[0] += 59
    leases.get(lease.token, "anna", "look")  # looking is no sign of life
    now[0] += 2
    with pytest.raises(ExpiredError, match="expired"):
        leases.get(lease.token, "anna")
    with pytest.raises(ExpiredError, match="missing"):
        leases.get(None, "anna")
    one, two = leases.claim("anna"), leases.claim("bo")
    with pytest.raises(FullError):
        leases.claim("anna")
    assert leases.release(two.token, "anna") is None
    assert leases.release(two.token, "bo") is two
    assert leases.release(two.token, "bo") is None
    now[0] += 61
    leases.claim("anna")  # makes room by itself
    assert len(leases) == 1
    assert one.token != two.token


# -- what is refused -----------------------------------------------------------------------------------------


def test_bad_prompts_are_400_and_change_nothing(remote: Remote) -> None:
    remote.add_point_interaction(MIDDLE, True)
    before, buffer = held(remote).copy(), remote.target_buffer
    empty = np.zeros(IMAGE.shape[1:], np.uint8)
    calls = [
        lambda: remote.add_point_interaction((500, 0, 0), True),
        lambda: remote.add_point_interaction((1, 2), True),
        lambda: remote.add_bbox_interaction([[500, 600], [0, 5], [0, 5]], True),
        lambda: remote.add_bbox_interaction([[0, 5], [0, 5]], True),
        lambda: remote.add_scribble_interaction(empty, True),
        lambda: remote.add_scribble_interaction(empty[:5] + 1, True),
        lambda: remote.add_lasso_interaction(
            empty[:2, :2, :2] + 1, True, interaction_bbox=[[-1, 1], [0, 2], [0, 2]]
        ),
        lambda: remote.add_lasso_interaction(
            empty[:2, :2, :2] + 1, True, interaction_bbox=[[55, 57], [0, 2], [0, 2]]
        ),
        lambda: remote.set_target_buffer(np.zeros((3, 3, 3), np.uint8)),
        lambda: remote.set_image(IMAGE * 4000),
        lambda: remote.set_image(np.zeros_like(IMAGE)),
        lambda: remote.set_image(IMAGE - 1000),
        lambda: remote.set_image(IMAGE, {"spacing": [0, 1, 1]}),
        lambda: remote.set_image(IMAGE, {"spacing": "wide"}),
        lambda: remote._post_json("/add_point_interaction", {"coordinates": [1, 1, 1]}),
        lambda: remote._post_json("/set_target_buffer", {"shape": [1, 1, 1], "dtype": "float32"}),
        lambda: remote._post_json("/set_target_buffer", {"shape": [1, True, 1], "dtype": "uint8"}),
        lambda: remote._post_json("/set_target_buffer", {"shape": [1, 1, 1], "dtype": "nothing"}),
        lambda: remote._post_binary("/add_scribble_interaction", {"include_interaction": True}, b"NNIA"),
    ]
    for call in calls:
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            call()
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        remote._post_json("/set_target_buffer", {"shape": [9999, 9999, 9999], "dtype": "uint8"})
    raw = remote._http.post(
        "/add_scribble_interaction",
        content=b"x",
        headers={"X-Meta": "[", "Content-Type": "application/octet-stream"},
    )
    assert raw.status_code == 400
    remote.target_buffer = buffer  # the client had replaced its own before it asked
    remote.undo()
    assert not held(remote).any()
    remote.add_point_interaction(MIDDLE, True)
    assert np.array_equal(held(remote), before)


def test_an_image_comes_first(served: Served) -> None:
    with Remote(served.url, TOKEN) as one:
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            one.add_point_interaction(MIDDLE, True)
        one.reset_interactions()
        one.set_target_buffer(np.zeros((3, 3, 3), np.uint8))


# -- arrays on the wire --------------------------------------------------------------------------------------

arrays = hnp.arrays(
    st.sampled_from([np.uint8, np.bool_, np.float32, np.float16, np.int64, np.dtype(">i2")]),
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=9),
)


@fewer(deadline=None, max_examples=60)
@given(arrays)
def test_our_bytes_are_theirs(array: np.ndarray) -> None:
    assert np.array_equal(theirs.unpack_array(pack(array)), array, equal_nan=array.dtype.kind == "f")
    ours = unpack(theirs.pack_array(array), 10**6)
    assert np.array_equal(ours, array, equal_nan=array.dtype.kind == "f")
    assert np.array_equal(
        unpack(theirs.pack_array(array, codec=blosc2.Codec.LZ4), 10**6),
        ours,
        equal_nan=array.dtype.kind == "f",
    )


def test_the_header_byte_by_byte() -> None:
    data = pack(np.zeros((2, 3), np.uint8))
    assert data[:8] == b"NNIA\x01\x01\x02\x05"
    assert data[8:13] == b"uint8"
    assert data[13:29] == struct.pack("<qq", 2, 3)
    assert data[29:33] == struct.pack("<I", 1)
    assert data[33:41] == struct.pack("<Q", 6)
    assert struct.unpack("<Q", data[41:49])[0] == len(data) - 49


def test_chunks_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anypet.server.nnia.CHUNK", 64)
    monkeypatch.setattr(theirs, "_CHUNK_SIZE", 64)
    array = np.arange(1000, dtype=np.float32).reshape(10, 100)
    assert np.array_equal(theirs.unpack_array(pack(array)), array)
    assert np.array_equal(unpack(theirs.pack_array(array), 10**6), array)


@fewer(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_bytes_never_do_worse_than_an_error(data: st.DataObject) -> None:
    good = bytearray(pack(np.arange(60, dtype=np.int16).reshape(3, 4, 5)))
    if data.draw(st.booleans()):
        good = good[: data.draw(st.integers(0, len(good) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            good[data.draw(st.integers(0, 60))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ReadError):
        assert unpack(bytes(good), 10**5).nbytes <= 10**5


def test_arrays_that_are_too_large_or_no_numbers_are_refused() -> None:
    with pytest.raises(TooLargeError):
        unpack(pack(np.zeros(1001, np.uint8)), 1000)
    for name, shape in (
        ("object", (1,)),
        ("U5", (1,)),
        ("uint8", (1,) * 5),
        ("uint8", (-1,)),
        ("nothing", (1,)),
    ):
        head = struct.pack("<4sBBBB", b"NNIA", 1, 1, len(shape), len(name)) + name.encode()
        with pytest.raises(ReadError):
            unpack(head + struct.pack(f"<{len(shape)}q", *shape) + struct.pack("<I", 0), 10**6)


# -- drawings and images -------------------------------------------------------------------------------------


@fewer(deadline=None, max_examples=40)
@given(hnp.arrays(bool, (6, 7, 8)), st.integers(1, 8))
def test_clicks_of_a_drawing_are_in_it_and_apart(drawing: np.ndarray, most: int) -> None:
    spacing = np.array([2.0, 3.0, 4.0])
    if not drawing.any():
        with pytest.raises(PromptError, match="nothing is drawn"):
            spread(drawing, (0, 0, 0), spacing, most)
        return
    voxels = spread(drawing, (10, 20, 30), spacing, most)
    assert 1 <= len(voxels) <= most
    assert len(set(voxels)) == len(voxels)
    places = (np.array(voxels) - (10, 20, 30)) * spacing
    assert all(drawing[tuple(np.array(v) - (10, 20, 30))] for v in voxels)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(len(places))
    assert len(places) == 1 or apart.min() > 2 * 4.0


def test_the_first_click_of_a_thick_drawing_is_its_middle() -> None:
    drawing = np.zeros((21, 21, 21), bool)
    drawing[5:16, 5:16, 5:16] = True
    assert spread(drawing, (0, 0, 0), np.ones(3))[0] == (10, 10, 10)


def test_flat_boxes_get_a_depth_and_grow_with_further_boxes() -> None:
    scan = ball_scan()
    item = SegmentedObject("x", scan)
    points, box = box_prompts(scan, np.array([[18, 31], [14, 27], [30, 31]], float), True, item)
    assert points == []
    assert box is not None
    corners = scan.to_voxel(np.array([box.lo_mm, box.hi_mm]))
    assert np.allclose(corners[0], [18, 14, 30 - 26 / 3], atol=0.01)  # 13 voxels of 4 mm: 52 mm deep
    assert np.allclose(corners[1], [30, 26, 30 + 26 / 3], atol=0.01)
    session = Session(scan, FakeModel())
    session.prompt(box=box)
    _, wider = box_prompts(scan, np.array([[10, 20], [14, 27], [25, 35]], float), True, session.selected)
    assert wider is not None
    corners = scan.to_voxel(np.array([wider.lo_mm, wider.hi_mm]))
    assert np.allclose(corners, [[10, 14, 30 - 26 / 3], [30, 26, 30 + 26 / 3]], atol=0.01)


def test_images_are_taken_as_axial_slices_or_as_they_say() -> None:
    volume = volume_of(IMAGE, {"spacing": SPACING})
    # array axis 0 goes up, axis 1 to the back, axis 2 to the left
    assert np.allclose(volume.affine[:3, :3], [[0, 0, -4], [0, -4, 0], [3, 0, 0]])
    affine = np.diag([2.0, 2, 2, 1])
    assert np.array_equal(volume_of(IMAGE, {"affine": affine.tolist()}).affine, affine)
    assert np.allclose(volume_of(np.repeat(IMAGE, 2, 0), {}).spacing, 4.0)
    for bad in (IMAGE[0], IMAGE.astype(bool), IMAGE[:, :0], np.full(IMAGE.shape, np.nan, np.float32)):
        with pytest.raises(ReadError):
            volume_of(bad, {})
    for affine_ in (np.zeros((4, 4)), np.eye(3), "x"):
        with pytest.raises(ReadError, match="geometry"):
            volume_of(IMAGE, {"affine": affine_})
    for array, says in ((IMAGE - 1000, "CT"), (IMAGE * 1000, "activity"), (IMAGE * 0, "empty")):
        with pytest.raises(ReadError, match=says):
            check_plausible(array)
