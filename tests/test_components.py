"""Components against SciPy, lines of voxels included."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from anypet.components import connected_components


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 1), (7, 1, 1), (1, 1, 1), (1, 4, 5), (6, 7, 8)])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_components_agree_with_scipy(shape: tuple[int, int, int], connectivity: int) -> None:
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    rng = np.random.default_rng(0)
    for _ in range(40):
        mask = rng.random(shape) < rng.random()
        labels = connected_components(mask, connectivity)
        expected, count = ndimage.label(mask, structure)
        assert labels.max() == count
        pairs = set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
