"""Simulated clicks lie where the challenge's rules say, its own published clicks among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from anypet.autopet.simulate import simulate_clicks
from anypet.clicks import bounding_box
from anypet.errors import PromptError
from anypet.io import read_labels
from anypet.volume import Volume

CORNERS = np.ones((3, 3, 3), int)


def volume(array: npt.NDArray[Any], unit: str = "SUVbw") -> Volume:
    return Volume(array, np.diag([2.0, 2.0, 3.0, 1.0]), unit)


def blobs(seed: int, shape: tuple[int, int, int] = (40, 36, 30)) -> tuple[Volume, Volume]:
    """A label of a few blobs, some at the rim, and a PET with hot spots outside of them."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    label = field > np.quantile(field, 1 - rng.uniform(0.002, 0.05))
    pet = ndimage.gaussian_filter(rng.normal(size=shape), 1.5) + 5 * label
    return volume(label.astype(np.uint8), "label"), volume(pet.astype(np.float32))


def components(mask: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """For each 26-connected component of a scan: its voxels, the deepest of them, and the outermost."""
    labels, count = ndimage.label(mask, CORNERS)
    found = []
    for number in range(1, count + 1):
        inside = labels == number
        depth = ndimage.distance_transform_edt(inside)
        deepest = tuple(int(v) for v in np.unravel_index(np.argmax(depth), depth.shape))
        edge = inside & (depth == depth[inside].min())
        found.append({"inside": inside, "deepest": deepest, "edge": edge})
    return found


@pytest.mark.parametrize("seed", range(12))
def test_every_click_lies_where_the_rules_say(seed: int) -> None:
    label, pet = blobs(seed)
    lesion = label.array != 0
    hot = ~lesion & (pet.array > np.percentile(pet.array[~lesion], 99.75))
    clicks = simulate_clicks(label, pet, np.random.default_rng(seed))
    for voxels, mask, region in ((clicks.tumour, lesion, "edge"), (clicks.background, hot, "inside")):
        parts = components(mask)
        centres = [part["deepest"] for part in parts]
        assert len(voxels) == 10
        drawn = voxels[: len(parts)]
        assert len(set(drawn)) == len(drawn) == min(10, len(parts))  # each component once
        assert set(drawn) <= set(centres)
        for turn, voxel in enumerate(voxels[len(parts) :]):  # then the same components in the same order
            assert parts[centres.index(drawn[turn % len(drawn)])][region][voxel]


def test_ten_of_many_lesions_are_drawn_at_random() -> None:
    label, pet = blobs(0)
    dots = np.zeros(label.shape, np.uint8)
    dots[2:-2:5, 2:-2:5, 2:-2:5] = 1
    drawn = [simulate_clicks(volume(dots), pet, np.random.default_rng(s)).tumour for s in range(20)]
    assert all(len(set(clicks)) == 10 for clicks in drawn)
    assert all(dots[voxel] for clicks in drawn for voxel in clicks)
    counts = np.zeros(dots.shape)
    for clicks in drawn:
        np.add.at(counts, tuple(np.array(clicks).T), 1)
    assert np.count_nonzero(counts) > 100  # of 294 lesions; not the first ones again and again


def test_a_lesion_at_the_rim_is_deepest_at_the_rim() -> None:
    label, pet = blobs(1)
    mask = np.zeros(label.shape, np.uint8)
    mask[:6, 10:17, 10:17] = 1  # cut by the scan's border, behind which it may go on
    assert simulate_clicks(volume(mask), pet, np.random.default_rng(0), budget=1).tumour == ((0, 13, 13),)


def test_no_lesion_gives_background_clicks_only() -> None:
    label, pet = blobs(2)
    clicks = simulate_clicks(volume(np.zeros(label.shape, np.uint8)), pet, np.random.default_rng(0))
    assert clicks.tumour == ()
    assert len(clicks.background) == 10


def test_same_seed_same_clicks_in_any_memory_order() -> None:
    label, pet = blobs(3)
    first = simulate_clicks(label, pet, np.random.default_rng(5))
    other = label.with_array(np.asfortranarray(label.array)), pet.with_array(np.asfortranarray(pet.array))
    assert simulate_clicks(*other, np.random.default_rng(5)) == first
    assert simulate_clicks(label, pet, np.random.default_rng(6)) != first


@pytest.mark.parametrize("thin", [(slice(5, 9), 4, 4), (slice(5, 6), slice(3, 7), slice(3, 6))])
def test_thin_uptake_keeps_its_clicks(thin: Any) -> None:
    # the official script would click anywhere in the scan here, and stop where that is tumour
    uptake = np.zeros((20, 20, 20), np.float32)
    uptake[thin] = 9
    label = np.zeros((20, 20, 20), np.uint8)
    label[12:18, 2:18, 2:18] = 1
    for seed in range(20):
        clicks = simulate_clicks(volume(label), volume(uptake), np.random.default_rng(seed))
        assert len(clicks.background) == 10
        assert all(uptake[voxel] == 9 for voxel in clicks.background)


def test_a_flat_scan_ends_without_background_clicks(caplog: pytest.LogCaptureFixture) -> None:
    label, _ = blobs(4)
    clicks = simulate_clicks(label, volume(np.ones(label.shape, np.float32)), np.random.default_rng(0))
    assert len(clicks.tumour) == 10
    assert clicks.background == ()
    assert "no background clicks" in caplog.text
    full = volume(np.ones(label.shape, np.uint8))
    assert simulate_clicks(full, full, np.random.default_rng(0)).background == ()


def test_offsets_move_both_ways_and_never_change_sides() -> None:
    label, pet = blobs(5)
    lesion = label.array != 0
    still = simulate_clicks(label, pet, np.random.default_rng(0), budget=4)
    centres = np.array([part["deepest"] for part in components(lesion)])
    moves = []
    for seed in range(25):
        moved = simulate_clicks(label, pet, np.random.default_rng(seed), centre_offset=2, edge_offset=3)
        assert all(lesion[voxel] for voxel in moved.tumour)
        assert not any(lesion[voxel] for voxel in moved.background)
        steps = np.array(moved.tumour[0]) - centres
        moves.append(steps[np.argmin(np.abs(steps).max(axis=1))])
    assert np.abs(moves).max() <= 2
    assert np.min(moves) < 0 < np.max(moves)
    assert len(still.tumour) == len(still.background) == 4


def test_bad_input_is_refused() -> None:
    label, pet = blobs(6)
    rng = np.random.default_rng(0)
    with pytest.raises(PromptError, match="one grid"):
        simulate_clicks(label, volume(pet.array[:-1]), rng)
    with pytest.raises(PromptError, match="same affine"):
        simulate_clicks(label, Volume(pet.array, np.eye(4), "SUVbw"), rng)
    with pytest.raises(PromptError, match="0 or more"):
        simulate_clicks(label, pet, rng, budget=-1)
    holed = pet.array.copy()
    holed[0, 0, 0] = np.nan
    with pytest.raises(PromptError, match="not finite"):
        simulate_clicks(volume(np.zeros(label.shape)), volume(holed), rng)


@pytest.mark.data
@pytest.mark.parametrize("name", ["fdg_0b57b247b6_05-02-2002", "psma_95b833d46f153cd2_2018-04-16"])
def test_the_published_clicks_of_real_lesions_obey_the_same_rules(shared_data: Path, name: str) -> None:
    whole = read_labels(shared_data / "lesion_masks" / f"{name}.nii.gz")
    published = json.loads((shared_data / "anatomy" / "lesion_clicks.json").read_text())[name]["tumor"]
    box = bounding_box(whole.array != 0, margin=2)  # tumour clicks depend on the lesions alone
    assert box is not None
    label = volume(np.ascontiguousarray(whole.array[box]), "label")
    uptake = label.with_array(label.array.astype(np.float32), "SUVbw")
    every = simulate_clicks(label, uptake, np.random.default_rng(0), budget=500).tumour
    labels, count = ndimage.label(label.array, CORNERS)
    centres = set(every[:count])  # with that budget every lesion's centre is drawn
    corner = [s.start for s in box]
    voxels = [tuple(int(v) for v in np.rint(whole.to_voxel(mm)) - corner) for mm in published]
    drawn = voxels[: min(10, count)]
    assert len(voxels) == 10
    assert set(drawn) <= centres
    for turn, voxel in enumerate(voxels[count:]):
        assert labels[voxel] == labels[drawn[turn % count]]
        assert not ndimage.binary_erosion(label.array)[voxel]
