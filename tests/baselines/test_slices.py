"""Points slice by slice: how many, where, and in which slices."""

from __future__ import annotations

import numpy as np
import pytest

from anypet.baselines.slices import SliceBySlice, axial_axis
from anypet.volume import Volume


class Ignorant:
    """Finds nothing, and writes down what it was asked."""

    def __init__(self, perfect: bool = False) -> None:
        self.points: list[list[tuple[int, int, bool]]] = []
        self.planes: list[np.ndarray] = []
        self.perfect = perfect

    def scale(self, suv: np.ndarray) -> np.ndarray:
        return np.asarray(suv, dtype=np.float32)

    def begin(self, plane: np.ndarray) -> Ignorant:
        self.planes.append(plane)
        self.points.append([])
        return self

    def add_point(self, row: int, column: int, positive: bool) -> np.ndarray:
        self.points[-1].append((row, column, positive))
        return self.planes[-1] > 1 if self.perfect else np.zeros(self.planes[-1].shape, dtype=bool)


def scan(axis: int = 2) -> tuple[Volume, np.ndarray]:
    truth = np.zeros((20, 16, 10), dtype=bool)
    truth[5:14, 4:11, 3:7] = True
    truth[8, 8, 5] = False
    affine = np.diag([4.0, 4.0, 5.0, 1.0])
    array = 1 + 4 * truth.astype(np.float32)
    if axis == 0:  # a sagittal stack: the patient's length runs along i
        truth, array = truth.transpose(2, 0, 1), array.transpose(2, 0, 1)
        affine = np.array([[0, 4, 0, 0], [0, 0, 4, 0], [5, 0, 0, 0], [0, 0, 0, 1.0]])
    return Volume(array, affine, "SUVbw"), truth


@pytest.mark.parametrize("each", [1, 3, 5])
def test_every_slice_of_the_object_gets_its_points(each: int) -> None:
    pet, truth = scan()
    model = Ignorant()
    mask = SliceBySlice(model, each)(pet, truth)
    assert len(model.points) == 4  # N slices show it
    assert [len(points) for points in model.points] == [each] * 4
    assert SliceBySlice(model, each).points(pet, truth) == 4 * each
    for number, points in zip(range(3, 7), model.points, strict=True):
        for row, column, positive in points:  # an empty mask leaves but missed voxels to click
            assert positive
            assert truth[row, column, number]
    assert not mask.any()


def test_the_first_point_lies_deep_within_the_slice() -> None:
    pet, truth = scan()
    model = Ignorant()
    SliceBySlice(model, 1)(pet, truth)
    for points in model.points:
        row, column, _ = points[0]
        assert 6 <= row <= 12
        assert 5 <= column <= 9


@pytest.mark.parametrize("axis", [0, 2])
def test_a_perfect_mask_ends_the_points_and_comes_back_in_place(axis: int) -> None:
    pet, truth = scan(axis)
    assert axial_axis(pet) == axis
    model = Ignorant(perfect=True)
    mask = SliceBySlice(model, 5)(pet, truth)
    assert (mask == truth).all()
    assert [len(points) for points in model.points] == [1] * 4


def test_the_same_seed_gives_the_same_points() -> None:
    pet, truth = scan()
    runs = []
    for seed in (1, 1, 2):
        model = Ignorant()
        SliceBySlice(model, 3, seed)(pet, truth)
        runs.append(model.points)
    assert runs[0] == runs[1] != runs[2]
