import numpy as np
import pytest

from anypet.lesions.sites import Site, sites

NAMES = ("liver", "spleen")


def grid():
    return np.zeros((40, 30, 30), np.uint8)


def test_an_organ_around_a_lesion_is_its_site():
    organs, lesions = grid(), grid()
    organs[5:20, 5:20, 5:20] = 1
    lesions[10:12, 10:12, 10:12] = 1
    organs[lesions > 0] = 0  # the organ head does not call a lesion organ
    assert sites(lesions, organs, NAMES, (2, 2, 2)) == {1: Site("liver", 0.0)}


@pytest.mark.parametrize(("spacing", "mm"), [((2.0, 2.0, 2.0), 8.0), ((5.0, 2.0, 2.0), 20.0)])
def test_else_the_nearest_organ_and_how_far(spacing, mm):
    """Last organ plane 9, first lesion plane 13: centres are four voxels apart."""
    organs, lesions = grid(), grid()
    organs[:10] = 2
    organs[30:] = 1
    lesions[13:15, 10:12, 10:12] = 4
    found = sites(lesions, organs, NAMES, spacing)
    assert list(found) == [4]
    assert found[4].organ == "spleen"
    assert found[4].distance_mm == pytest.approx(mm)
    assert str(found[4]) == f"{mm:.0f} mm from spleen"


def test_far_from_all_organs():
    organs, lesions = grid(), grid()
    organs[0, 0, 0] = 1
    lesions[39, 29, 29] = 1
    assert str(sites(lesions, organs, NAMES, (4, 4, 4))[1]) == "no organ within 60 mm"


def test_no_lesion_no_site():
    assert sites(grid(), grid(), NAMES, (4, 4, 4)) == {}
