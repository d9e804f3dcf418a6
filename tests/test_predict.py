"""Windows placed to fit the object, blending, growth, correction, and the memory they take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anypet import canvas as cv
from anypet.models.base import Embedding
from anypet.objects import Group, Patch, Tile, bounds
from anypet.predict import EmbeddingCache, Policy, Predictor
from anypet.prompts import Box, Point, Prompts
from anypet.volume import Volume
from fakes import FakeModel, ball_scan, dice

LONG = ball_scan((24, 24, 200), (4, 4, 4), (12, 12, 100), (25, 25, 370))


def at(scan: Volume, *voxel: float, positive: bool = True) -> Point:
    return Point(tuple(float(x) for x in scan.to_mm(voxel)), positive)


def test_first_look_is_coarse_and_the_second_as_close_as_the_scan_allows() -> None:
    scan, model = ball_scan(), FakeModel()
    result = Predictor(scan, model).predict(Prompts((at(scan, 24, 20, 30),)))
    assert model.encoded == [Policy().coarse_mm, 3.0]
    assert dice(result.mask.on_grid(scan.shape), scan.array > 4) > 0.95


def test_an_object_that_fills_the_first_window_is_not_looked_at_again() -> None:
    scan, model = ball_scan((60, 60, 60), (4, 4, 4), (30, 30, 30), (55, 55, 55)), FakeModel()
    Predictor(scan, model, Policy(coarse_mm=5.0)).predict(Prompts((at(scan, 30, 30, 30),)))
    assert model.encoded == [5.0]


def test_the_click_stays_inside_when_it_lies_at_the_end_of_the_object() -> None:
    scan, model = ball_scan((60, 60, 60), (4, 4, 4), (30, 30, 30), (80, 30, 30)), FakeModel()
    predictor = Predictor(scan, model, Policy(coarse_mm=5.0))
    result = predictor.predict(Prompts((at(scan, 12, 30, 30),)))
    assert dice(result.mask.on_grid(scan.shape), scan.array > 4) > 0.95
    assert model.encoded[1] == 8.0  # the first window was too small
    assert len(result.groups) == 1


@pytest.mark.parametrize(
    "model",
    [FakeModel(32, (2, 8)), FakeModel(64, (2, 2), coarse=4), FakeModel(32, (4, 4))],
    ids=["ranged", "fixed", "fixed-small"],
)
def test_a_long_object_is_followed_without_seams(model: FakeModel) -> None:
    result = Predictor(LONG, model).predict(Prompts((at(LONG, 12, 12, 100),)))
    mask, truth = result.mask.on_grid(LONG.shape), LONG.array > 4
    assert len(result.groups[0].tiles) > 3
    assert dice(mask, truth) > 0.94
    # a seam would be a sudden change of the cross-section that the object does not have
    area, expected = mask.sum((0, 1)).astype(int), truth.sum((0, 1)).astype(int)
    assert np.abs(np.diff(area))[20:180].max() <= np.abs(np.diff(expected))[20:180].max() + 12


def test_growth_is_bounded() -> None:
    scan = Volume(np.full((120, 120, 120), 5.0, np.float32), np.diag([4.0, 4, 4, 1]), "SUVbw")
    model = FakeModel(16, (4, 4))
    predictor = Predictor(scan, model, Policy(max_windows=5))
    result = predictor.predict(Prompts((at(scan, 60, 60, 60),)))
    assert len(result.groups[0].tiles) == 5
    assert len(model.encoded) == 5


def test_a_scan_full_of_the_object_is_covered_and_then_it_ends() -> None:
    scan = Volume(np.full((20, 20, 20), 5.0, np.float32), np.diag([4.0, 4, 4, 1]), "SUVbw")
    result = Predictor(scan, FakeModel(16, (4, 4))).predict(Prompts((at(scan, 10, 10, 10),)))
    assert result.mask.on_grid(scan.shape).mean() > 0.85


def test_constant_logits_blend_to_the_constant() -> None:
    tiles = tuple(
        Tile(cell, np.full((8, 8, 8), 3.0, np.float16))
        for cell in [(0, 0, 0), (1, 0, 0), (1, 1, 0), (-1, 0, 2)]
    )
    canvas = cv.blend(Group((0.0, 0.0, 0.0), 2.0, 1.0, (0.0, 0.0, 0.0), tiles), (8, 8, 8))
    assert canvas.logits.shape == (16, 12, 16)
    assert np.allclose(canvas.logits[canvas.known], 3.0, atol=1e-5)
    assert (canvas.logits[~canvas.known] == cv.UNSEEN).all()
    first = cv.tile_window((0.0, 0.0, 0.0), 2.0, (8, 8, 8), (-1, 0, 2))
    assert np.allclose(canvas.window.to_index(first.to_mm([0, 0, 0])), canvas.corners[3])


def test_corrections_reuse_the_embedding() -> None:
    scan, model = ball_scan(), FakeModel()
    predictor = Predictor(scan, model)
    first = predictor.predict(Prompts((at(scan, 24, 20, 30),)))
    encodes = len(model.encoded)
    points = (at(scan, 24, 20, 30), at(scan, 26, 20, 30, positive=False))
    second = predictor.predict(Prompts(points), before=first)
    assert len(model.encoded) == encodes
    assert not second.mask.on_grid(scan.shape)[26, 20, 30]
    assert len(model.decoded[-1].points) == 2


def test_only_the_windows_that_hold_a_correction_are_decoded_again() -> None:
    model = FakeModel(32, (4, 4))
    predictor = Predictor(LONG, model)
    first = predictor.predict(Prompts((at(LONG, 12, 12, 100),)))
    decodes = len(model.decoded)
    predictor.predict(Prompts((at(LONG, 12, 12, 100), at(LONG, 12, 12, 20, positive=False))), before=first)
    assert 1 <= len(model.decoded) - decodes <= 4 < len(first.groups[0].tiles)


def test_a_positive_click_nearby_moves_the_window_and_one_far_off_begins_a_new_group() -> None:
    scan = ball_scan((40, 40, 200), (4, 4, 4), (20, 20, 20), (16, 16, 16))
    array = scan.array.copy()
    array[18:23, 18:23, 40:45] = 8.0
    array[18:23, 18:23, 180:185] = 6.0
    scan = scan.with_array(array)
    model = FakeModel()
    predictor = Predictor(scan, model)
    clicks = (at(scan, 20, 20, 20), at(scan, 20, 20, 42), at(scan, 20, 20, 182))
    first = predictor.predict(Prompts(clicks[:1]))
    second = predictor.predict(Prompts(clicks[:2]), before=first)
    assert len(second.groups) == 1
    assert second.groups[0].centre_mm[2] > first.groups[0].centre_mm[2] + 30
    third = predictor.predict(Prompts(clicks), before=second)
    assert len(third.groups) == 2
    assert third.groups[1].anchor_suv == pytest.approx(6.0)
    mask = third.mask.on_grid(scan.shape)
    assert mask[20, 20, 20]
    assert mask[20, 20, 42]
    assert mask[20, 20, 182]
    assert not mask[20, 20, 100]


def test_a_fixed_model_adds_a_window_for_a_click_outside() -> None:
    scan = ball_scan((40, 40, 80), (4, 4, 4), (20, 20, 20), (12, 12, 12))
    array = scan.array.copy()
    array[18:23, 18:23, 38:43] = 8.0
    scan = scan.with_array(array)
    predictor = Predictor(scan, FakeModel(32, (4, 4)))
    first = predictor.predict(Prompts((at(scan, 20, 20, 20),)))
    second = predictor.predict(Prompts((at(scan, 20, 20, 20), at(scan, 20, 20, 40))), before=first)
    assert len(second.groups[0].tiles) == 2
    assert second.mask.on_grid(scan.shape)[20, 20, 40]


@pytest.mark.parametrize("positive", [True, False])
def test_a_stubborn_model_is_overruled_at_the_click(positive: bool) -> None:
    scan = ball_scan()
    predictor = Predictor(scan, FakeModel(stubborn=True))
    voxel = (24, 34, 30) if positive else (25, 20, 30)
    prompts = Prompts((at(scan, 24, 20, 30), at(scan, *voxel, positive=positive)))
    before = predictor.predict(Prompts(prompts.points[:1]))
    old, new = (
        before.mask.on_grid(scan.shape),
        predictor.predict(prompts, before=before).mask.on_grid(scan.shape),
    )
    assert old[voxel] != positive
    assert new[voxel] == positive
    assert new[24, 20, 30]
    assert (old != new).sum() < 40  # the repair is small


def test_the_newest_of_two_clicks_in_a_voxel_wins() -> None:
    scan = ball_scan()
    predictor = Predictor(scan, FakeModel(stubborn=True))
    clicks = [at(scan, 24, 20, 30), at(scan, 25, 20, 30, positive=False), at(scan, 25, 20, 30)]
    assert predictor.predict(Prompts(tuple(clicks))).mask.on_grid(scan.shape)[25, 20, 30]
    assert not predictor.predict(Prompts((*clicks, clicks[1]))).mask.on_grid(scan.shape)[25, 20, 30]


def test_only_parts_with_a_click_are_kept() -> None:
    scan = ball_scan()
    array = scan.array.copy()
    array[10:14, 18:22, 28:32] = 8.0  # another lesion in the same window
    scan = scan.with_array(array)
    predictor = Predictor(scan, FakeModel())
    one = predictor.predict(Prompts((at(scan, 24, 20, 30),)))
    assert not one.mask.on_grid(scan.shape)[12, 20, 30]
    both = predictor.predict(Prompts((at(scan, 24, 20, 30), at(scan, 12, 20, 30))), before=one)
    assert both.mask.on_grid(scan.shape)[12, 20, 30]
    corners = tuple(scan.to_mm([8, 10, 20])), tuple(scan.to_mm([34, 30, 40]))
    box = predictor.predict(Prompts(boxes=(Box(*corners),)))
    assert box.mask.on_grid(scan.shape)[24, 20, 30]
    assert not box.mask.on_grid(scan.shape)[12, 20, 30]


@pytest.mark.parametrize("kinds", [("point", "box", "mask"), ("point",)])
def test_box_alone_and_mask_alone(kinds: tuple[str, ...]) -> None:
    scan = ball_scan()
    truth = scan.array > 4
    model = FakeModel(prompts=kinds)
    predictor = Predictor(scan, model)
    box = Box(tuple(scan.to_mm([18, 14, 22])), tuple(scan.to_mm([30, 26, 38])))
    result = predictor.predict(Prompts(boxes=(box,)))
    assert dice(result.mask.on_grid(scan.shape), truth) > 0.95
    assert result.groups[0].anchor_suv == pytest.approx(8.0)
    assert len(model.decoded[-1].boxes) == ("box" in kinds)
    assert len(model.decoded[-1].points) == ("box" not in kinds)  # its centre stands in
    rough = np.zeros(scan.shape, bool)
    rough[22:27, 18:23, 28:33] = True
    result = predictor.predict(Prompts(), Patch.tight(rough, rough))
    assert dice(result.mask.on_grid(scan.shape), truth) > 0.95


def test_a_model_without_boxes_is_held_to_the_box() -> None:
    scan = ball_scan()
    predictor = Predictor(scan, FakeModel(prompts=("point",)))
    box = Box(tuple(scan.to_mm([20, 16, 30])), tuple(scan.to_mm([28, 24, 38])))
    mask = predictor.predict(Prompts(boxes=(box,))).mask.on_grid(scan.shape)
    assert mask.any()
    assert not mask[:, :, :29].any()


def test_a_mask_that_no_window_reaches_stays() -> None:
    mask = np.zeros(LONG.shape, bool)
    mask[10:14, 10:14, 20:24] = True
    mask[2:4, 2:4, 190:194] = True  # on air, far away
    predictor = Predictor(LONG, FakeModel(32, (4, 4)), Policy(max_windows=1))
    result = predictor.predict(Prompts(), Patch.tight(mask, mask))
    assert result.mask.on_grid(LONG.shape)[2:4, 2:4, 190:194].all()


def test_the_cache_keeps_its_bound_and_forgets_the_oldest() -> None:
    cache = EmbeddingCache(limit=100)
    for n in range(10):
        cache.put(n, Embedding((torch.zeros(10),)))  # 40 bytes
        assert cache.nbytes <= 100
    assert len(cache) == 2
    assert cache.get(9) is not None
    assert cache.get(7) is None
    cache.get(8)
    cache.put(10, Embedding((torch.zeros(10),)))
    assert cache.get(8) is not None
    assert cache.get(9) is None
    cache.put(11, Embedding((torch.zeros(1000),)))
    assert cache.get(11) is None
    assert cache.nbytes <= 100


def test_a_predictor_with_no_cache_gives_the_same_mask() -> None:
    points = Prompts((at(LONG, 12, 12, 100),))
    with_cache = Predictor(LONG, FakeModel()).predict(points)
    predictor = Predictor(LONG, FakeModel(), Policy(cache_bytes=0))
    without = predictor.predict(points)
    assert predictor.cache.nbytes == 0
    assert np.array_equal(with_cache.mask.values, without.mask.values)


def test_voxels_that_are_not_numbers_reach_no_network() -> None:
    scan = ball_scan()
    array = scan.array.copy()
    array[20, 20, 20:40] = np.nan
    array[21, 20, 20:40] = np.inf
    scan = scan.with_array(array)
    result = Predictor(scan, FakeModel()).predict(Prompts((at(scan, 24, 20, 30), at(scan, 20, 20, 30))))
    assert result.mask.on_grid(scan.shape)[24, 20, 30]
    assert np.isfinite(result.probability.values).all()


def test_bounds_and_patches() -> None:
    support = np.zeros((4, 5, 6), bool)
    assert bounds(support) is None
    support[1, 2:4, 5] = True
    patch = Patch.tight(support, support)
    assert patch.start == (1, 2, 5)
    assert patch.values.shape == (1, 2, 1)
    assert np.array_equal(patch.on_grid((4, 5, 6)), support)
    assert not Patch.empty(bool).on_grid((4, 5, 6)).any()
