"""`Volume`: geometry as properties, with SimpleITK and nibabel as independent judges."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anypet.errors import AnyPETError
from anypet.grids import affine_of, from_sitk, resample, to_sitk
from anypet.volume import Volume

SETTINGS = settings(max_examples=40, deadline=None)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any rotation, any axis flips, anisotropic spacing, any origin."""
    quaternion = draw(
        hnp.arrays(float, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1)
    )
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    rotation = rotation.round(9)  # no subnormal numbers, at which matrix inversion inside ITK stumbles
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    spacing = draw(st.tuples(*[st.floats(0.5, 10)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(signs) * np.array(spacing)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-1000, 1000)] * 3))
    return affine


shapes = st.tuples(*[st.integers(1, 6)] * 3)


def numbered(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    return Volume(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), affine, "SUVbw")


@SETTINGS
@given(affines(), hnp.arrays(float, (5, 3), elements=st.floats(-100, 100)))
def test_voxel_to_mm_and_back(affine: np.ndarray, voxels: np.ndarray) -> None:
    volume = Volume(np.zeros((2, 3, 4)), affine, "SUVbw")
    np.testing.assert_allclose(volume.to_voxel(volume.to_mm(voxels)), voxels, atol=1e-6)
    np.testing.assert_allclose(volume.to_mm(voxels), nib.affines.apply_affine(affine, voxels), atol=1e-6)
    assert volume.voxel_volume_ml == pytest.approx(np.prod(volume.spacing) / 1000)


@SETTINGS
@given(affines(), shapes)
def test_simpleitk_agrees_on_every_place(affine: np.ndarray, shape: tuple[int, int, int]) -> None:
    volume = numbered(shape, affine)
    image = to_sitk(volume)
    index = tuple(n - 1 for n in shape)
    place = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]  # LPS to RAS
    np.testing.assert_allclose(place, volume.to_mm(index), atol=1e-4)
    assert image[index] == volume.array[index]
    again = from_sitk(image, "SUVbw")
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(affine_of(image), affine, atol=1e-6)


@SETTINGS
@given(affines(), shapes, st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_reorienting_moves_no_voxel_in_the_world(
    affine: np.ndarray, shape: tuple[int, int, int], order: list[int], flips: tuple[bool, bool, bool]
) -> None:
    """The same voxels stored in another axis order and direction resample onto each other exactly."""
    volume = numbered(shape, affine)
    columns = affine[:3, :3].copy()
    origin, array = affine[:3, 3].copy(), volume.array
    for axis in range(3):
        if flips[axis]:
            array = np.flip(array, axis)
            origin = origin + columns[:, axis] * (shape[axis] - 1)
            columns[:, axis] *= -1
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = columns[:, order], origin
    other = Volume(array.transpose(order), moved, "SUVbw")
    np.testing.assert_array_equal(resample(other, volume, linear=False).array, volume.array)


def test_resampling_keeps_booleans_and_fills_the_outside() -> None:
    small = Volume(np.ones((2, 2, 2), bool), np.diag([4.0, 4, 4, 1]), "label")
    large = Volume(np.zeros((6, 6, 6)), np.diag([2.0, 2, 2, 1]), "SUVbw")
    moved = resample(small, large, linear=False)
    assert moved.array.dtype == bool
    assert moved.array[0, 0, 0]
    assert not moved.array[5, 5, 5]
    ct = Volume(np.full((2, 2, 2), 40.0, np.float32), np.diag([4.0, 4, 4, 1]), "HU")
    assert resample(ct, large, outside=-1024.0).array[5, 5, 5] == -1024
    assert resample(large, large) is large


def test_contains_and_same_grid() -> None:
    volume = Volume(np.zeros((4, 5, 6)), np.eye(4), "SUVbw")
    assert volume.contains((-0.5, 0, 5.5))
    assert not volume.contains((0, 0, 5.6))
    moved = np.eye(4)
    moved[0, 3] = 0.02
    assert not volume.same_grid(Volume(np.zeros((4, 5, 6)), moved, "SUVbw"))
    assert volume.same_grid(Volume(np.zeros((4, 5, 6)), moved, "SUVbw"), tolerance_mm=0.05)
    assert not volume.same_grid(Volume(np.zeros((4, 5, 7)), np.eye(4), "SUVbw"))


def test_with_array_keeps_place_and_adds_to_meta() -> None:
    volume = Volume(np.zeros((2, 2, 2)), np.eye(4), "SUVbw", {"a": 1})
    other = volume.with_array(np.ones((2, 2, 2), bool), "label", b=2)
    assert (other.unit, other.meta) == ("label", {"a": 1, "b": 2})
    assert volume.with_array(np.ones((2, 2, 2))).unit == "SUVbw"


@pytest.mark.parametrize(
    ("array", "affine", "pattern"),
    [
        (np.zeros((2, 2)), np.eye(4), "3D array"),
        (np.zeros((2, 0, 2)), np.eye(4), "non-empty"),
        (np.zeros((2, 2, 2)), np.eye(3), "4 x 4"),
        (np.zeros((2, 2, 2)), np.full((4, 4), np.nan), "finite"),
        (np.zeros((2, 2, 2)), np.diag([1.0, 1, 0, 1]), "singular"),
    ],
)
def test_refused_volumes(array: np.ndarray, affine: np.ndarray, pattern: str) -> None:
    with pytest.raises(AnyPETError, match=pattern):
        Volume(array, affine, "SUVbw")
