import numpy as np
import pytest

from anypet.visibility import shows

SHAPE = (24, 24, 24)


def ball(centre, radius):
    axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij", sparse=True)
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


@pytest.mark.parametrize(
    ("level", "noise", "visible"),
    [(3.0, 0.05, True), (1.2, 0.05, False), (1.0, 0.05, False), (0.3, 0.05, False), (1.6, 0.5, False)],
)
def test_only_what_the_pet_shows_is_outlined(level, noise, visible):
    """Background 1: a lesion must exceed it by a third and by two standard deviations of the noise."""
    lesion = ball((12, 12, 12), 3)
    pet = np.where(lesion, level, 1.0) + noise * np.random.default_rng(1).standard_normal(SHAPE)
    assert shows(pet, lesion, np.zeros(SHAPE, bool)) is visible


def test_a_neighbour_does_not_count_as_background():
    lesion, other = ball((12, 12, 12), 3), ball((12, 12, 19), 4)
    other &= ~lesion
    pet = np.where(other, 50.0, np.where(lesion, 3.0, 1.0))
    assert shows(pet, lesion, other)


def test_a_cold_lesion_counts_only_where_it_is_asked_for():
    lesion, none = ball((12, 12, 12), 3), np.zeros(SHAPE, bool)
    pet = np.where(lesion, 0.3, 1.0)
    assert not shows(pet, lesion, none)
    assert shows(pet, lesion, none, cold=True)
    assert not shows(np.where(lesion, 0.9, 1.0), lesion, none, cold=True)


def test_a_lesion_that_fills_the_scan_has_nothing_to_be_told_from():
    assert not shows(np.ones(SHAPE), np.ones(SHAPE, bool), np.zeros(SHAPE, bool))
