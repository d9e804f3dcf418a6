from dataclasses import replace

import numpy as np
import pytest
import torch
from lesion_toys import LEFT, RIGHT, toy_scan

from anypet.errors import AnyPETError
from anypet.lesions.click_maps import distance_map, gaussian_map
from anypet.training.config import load_any
from anypet.training.lesions.patches import LesionPatches, _clicks, _cut, _ended, _misaligned, click_map
from anypet.training.lesions.scans import UNKNOWN

STILL = {"misalign_share": 0.0, "ct_share": 1.0, "tracer_share": 1.0, "end_share": 0.0}


def settings(**changes):
    return load_any("lesions-compact", **{"patch": 16, **STILL, **changes})


def draw(source, count=60):
    found = [source(np.random.default_rng((5, n))) for n in range(count)]
    return [p for p in found if p is not None]


def test_a_patch_has_channels_and_labels_of_one_size():
    patch = draw(LesionPatches([toy_scan()], settings()), 1)[0]
    assert patch.inputs.shape == (4, 16, 16, 16)
    assert patch.inputs.dtype == torch.float32
    assert patch.lesion.dtype == torch.bool
    assert patch.organs.shape == patch.lesion.shape == (16, 16, 16)
    assert torch.isfinite(patch.inputs).all()


def test_the_same_generator_gives_the_same_patch():
    source = LesionPatches([toy_scan()], settings(ct_share=0.5, misalign_share=0.5))
    for n in range(5):
        one, other = (source(np.random.default_rng(n)) for _ in range(2))
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.organs, other.organs)


def test_lesions_are_sampled_alike_often_whatever_their_size():
    """With lesion_share 1 every patch holds one, and the smallest (7 voxels) is hit as often as others."""
    patches = draw(LesionPatches([toy_scan()], settings(lesion_share=1.0)), 90)
    assert all(bool(p.lesion.any()) for p in patches)
    small = sum(int(p.lesion.sum()) < 60 for p in patches)
    assert small > 20


def test_small_organs_are_seen_where_patches_are_cut_around_organs():
    scan = replace(toy_scan(), hot=np.zeros((0, 3), dtype=np.int64))
    scan.organs[:] = 0
    scan.organs[6:8, 6:8, 6:8] = LEFT  # a speck in a corner
    shares = []
    for share in (0.0, 0.6):
        source = LesionPatches([scan], settings(lesion_share=0.0, organ_share=share, patch=16))
        organs = [patch.organs for patch in draw(source, 120)]
        shares.append(np.mean([bool(((seen > 0) & (seen != UNKNOWN)).any()) for seen in organs]))
    assert shares[0] < 0.3
    assert shares[1] > 0.5


def test_kidneys_change_names_with_sides():
    """In half of the draws the picture is mirrored: the left kidney must stay on the left (low R)."""
    scan = toy_scan()
    source = LesionPatches([scan], settings(lesion_share=0.0, patch=40))
    seen = 0
    for patch in draw(source, 40):
        left, right = (np.argwhere((patch.organs == v).numpy()) for v in (LEFT, RIGHT))
        if len(left) and len(right):
            seen += 1
            assert left[:, 0].mean() < right[:, 0].mean()
    assert seen > 20


def test_clicks_lie_on_what_they_say():
    scan = toy_scan()
    raw = _cut(scan, np.array([0, 0, 0]), 48)
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(60):
        tumour, background = _clicks(raw, raw.pet, scan.hot, 3, rng, 10)
        assert all(raw.lesions[tuple(c)] > 0 for c in tumour)
        assert all(raw.lesions[tuple(c)] == 0 for c in background)
        kinds.add((len(tumour) > 0, len(background) > 0))
    assert kinds == {(a, b) for a in (True, False) for b in (True, False)}


@pytest.mark.parametrize("how", [{"clicks": 0}, {"silent_share": 1.0}])
def test_no_clicks_means_an_empty_channel(how):
    for patch in draw(LesionPatches([toy_scan()], settings(**how)), 10):
        assert (patch.inputs[2] == 0).all()
        assert not patch.clicked


def test_a_share_of_the_patches_shows_no_click_at_all():
    patches = draw(LesionPatches([toy_scan()], settings(silent_share=0.5, lesion_share=1.0)), 60)
    assert 0.4 < np.mean([not p.clicked for p in patches]) < 0.75


@pytest.mark.parametrize(("kind", "direct"), [("gaussian", gaussian_map), ("distance", distance_map)])
def test_the_click_channel_is_the_one_of_the_settings(kind, direct):
    pet, clicks = np.asarray(toy_scan().pet, np.float32), np.array([[20, 10, 34]])
    chosen = settings(click_map=kind)
    found = click_map(pet, clicks, np.zeros((0, 3)), chosen)
    how = {"sigma": 8.0} if kind == "gaussian" else {"reach_mm": 8.0}
    np.testing.assert_array_equal(found, direct(pet, (4, 4, 4), clicks, **how))


def test_ct_and_tracer_are_sometimes_withheld():
    patches = draw(LesionPatches([toy_scan("PSMA")], settings(ct_share=0.5, tracer_share=0.5)), 60)
    assert {bool((p.inputs[1] == 0).all()) for p in patches} == {True, False}
    assert {float(p.inputs[3].max()) for p in patches} == {-1.0, 0.0}
    bare = draw(LesionPatches([toy_scan(ct=False)], settings()), 5)
    assert all((p.inputs[1] == 0).all() for p in bare)


def test_only_the_ct_is_misaligned():
    ct = np.asarray(toy_scan().ct, np.float32)
    moved = _misaligned(ct, np.random.default_rng(1))
    assert moved.shape == ct.shape
    assert 0.5 < np.mean(moved == ct) < 1
    assert moved.min() >= -1000.1
    still, shaken = (
        LesionPatches([toy_scan()], settings(misalign_share=share))(np.random.default_rng(3))
        for share in (0.0, 0.0)
    )
    assert torch.equal(still.inputs[0], shaken.inputs[0])


def test_beyond_the_scan_there_is_air_and_nothing_is_known():
    raw = _cut(toy_scan(), np.array([-4, 0, 40]), 16)
    assert (raw.pet[:4] == 0).all()
    assert raw.ct is not None
    assert (raw.ct[:4] == -1000).all()
    assert (raw.organs[:, :, 8:] == UNKNOWN).all()
    assert not raw.lesions[:, :, 8:].any()


def test_the_field_of_view_can_end_in_a_patch():
    """Beyond its end nothing is seen, known or clicked; before it the truth is as it was."""
    ends = set()
    for n in range(20):
        raw = _cut(toy_scan(), np.array([10, 10, 16]), 16)
        cut = _ended(raw, np.random.default_rng(n))
        unseen = (cut.pet == 0).all((0, 1))
        top = bool(unseen[-1])
        ends.add(top if unseen.any() else None)
        seen = int((~unseen).sum())
        rows = slice(0, seen) if top else slice(16 - seen, 16)
        assert seen >= 3
        assert np.array_equal(cut.lesions[..., rows], raw.lesions[..., rows])
        assert np.array_equal(cut.organs[..., rows], raw.organs[..., rows])
        assert (cut.organs[..., unseen] == UNKNOWN).all()
        assert not cut.lesions[..., unseen].any()
        assert raw.ct is not None
        assert cut.ct is not None
        assert (cut.ct[..., unseen] == -1000).all()
    assert {True, False} <= ends


def test_noise_stands_out_at_the_end_of_the_field_of_view():
    raw = replace(_cut(toy_scan(lesions=False), np.array([10, 10, 12]), 16), pet=np.ones((16, 16, 16)))
    deep, last = [], []
    for n in range(40):
        pet = _ended(raw, np.random.default_rng(n)).pet
        slices = [pet[..., k].std() for k in range(16) if pet[..., k].any()]
        deviations = slices if pet[..., 15].any() else slices[::-1]
        last.append(deviations[0])
        deep.append(deviations[-1])
    assert np.mean(last) > 2 * np.mean(deep)


def test_without_scans_there_is_nothing_to_train_on():
    with pytest.raises(AnyPETError, match="no scan"):
        LesionPatches([], settings())
