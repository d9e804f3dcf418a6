import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.lesions.grid import MARGIN_MM, body_grid
from anypet.volume import Volume


def scan(axes=(0, 1, 2), flips=(1, 1, 1), spacing=(3.0, 2.0, 4.0), shape=(30, 40, 25)) -> Volume:
    """A blob of 40 mm at (5, -8, 12) mm, stored along any axes."""
    matrix = np.zeros((3, 3))
    for n, (axis, flip, step) in enumerate(zip(axes, flips, spacing, strict=True)):
        matrix[axis, n] = flip * step
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = -matrix @ (np.array(shape) - 1) / 2
    volume = Volume(np.zeros(shape, np.float32), affine, "SUVbw")
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    r = np.linalg.norm(volume.to_mm(index) - [5, -8, 12], axis=-1)
    return volume.with_array(np.exp(-0.5 * (r / 14) ** 2).astype(np.float32) * 6)


@settings(max_examples=12, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_the_way_there_and_back_keeps_the_picture(axes, flips):
    pet = scan(axes, flips)
    grid = body_grid(pet, (2.0, 2.0, 2.0))
    there = grid.take(pet)
    peak = np.array(np.unravel_index(there.argmax(), there.shape)) * 2.0 + grid.affine[:3, 3]
    assert np.abs(peak - [5, -8, 12]).max() <= 4.0
    back = grid.give_back(there, pet).astype(np.float32)
    inside = pet.array > 0.5
    assert np.abs(back - pet.array)[inside].max() < 0.35  # two interpolations of a smooth blob
    assert back.shape == pet.shape


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (2.5, 2.5, 3.5)])
def test_a_grid_of_any_spacing_holds_the_body(spacing):
    pet = scan()
    grid = body_grid(pet, spacing)
    assert grid.spacing == pytest.approx(spacing)
    seen = pet.to_mm(np.argwhere(pet.array > 0.05))
    far = grid.affine[:3, 3] + (np.array(grid.shape) - 1) * spacing
    assert (seen.min(0) >= grid.affine[:3, 3] - np.array(spacing)).all()
    assert (seen.max(0) <= far + np.array(spacing)).all()
    assert (far - seen.max(0) <= MARGIN_MM + 2 * max(*spacing, *pet.spacing)).all()
    assert grid.give_back(grid.take(pet), pet).max() == pytest.approx(6, abs=0.6)


def test_outside_of_a_ct_there_is_air():
    pet = scan()
    ct = Volume(np.full((4, 4, 4), 40, np.int16), np.diag([5.0, 5.0, 5.0, 1.0]), "HU")
    taken = body_grid(pet, (4.0, 4.0, 4.0)).take(ct)
    assert taken.min() == pytest.approx(-1000)
    assert taken.max() == pytest.approx(40, abs=1e-3)


def test_clicks_land_on_the_nearest_voxel():
    grid = body_grid(scan(), (4.0, 4.0, 4.0))
    middle = np.array([3, 4, 2])
    mm = grid.affine[:3, 3] + middle * 4.0
    assert grid.voxels([mm + 1.9, mm - 1.9]).tolist() == [middle.tolist()] * 2
    assert grid.voxels([[-1e4, 0, 1e4]])[0].tolist()[0] == 0


def test_an_empty_scan_is_taken_whole():
    pet = scan()
    grid = body_grid(pet.with_array(np.zeros_like(pet.array)), (4.0, 4.0, 4.0))
    assert np.prod(grid.shape) * 64 >= pet.array.size * 24
