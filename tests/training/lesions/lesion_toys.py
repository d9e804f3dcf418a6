"""A scan that is quick to make: two kidneys, a hot bladder, three lesions."""

import numpy as np

from anypet.lesions.config import ORGANS
from anypet.training.lesions.scans import LesionScan

LEFT, RIGHT = (1 + ORGANS.index(f"{side} kidney") for side in ("left", "right"))


def ball(shape, centre, radius):
    axes = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij", sparse=True)
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def toy_scan(tracer="FDG", lesions=True, ct=True) -> LesionScan:
    shape = (40, 36, 48)
    rng = np.random.default_rng(0)
    pet = np.where(ball(shape, (20, 18, 24), 30), 0.8, 0.0)
    organs, labels = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for value, centre in ((LEFT, (10, 18, 24)), (RIGHT, (30, 18, 24))):
        kidney = ball(shape, centre, 5)
        organs[kidney], pet[kidney] = value, 4.0
    bladder = ball(shape, (20, 18, 6), 4)
    organs[bladder], pet[bladder] = 1 + ORGANS.index("urinary bladder"), 20.0
    if lesions:
        for n, (centre, radius) in enumerate((((20, 10, 34), 4), ((12, 26, 36), 2), ((28, 26, 38), 1))):
            lesion = ball(shape, centre, radius)
            labels[lesion], pet[lesion] = n + 1, 6.0
    pet = pet * (1 + 0.03 * rng.standard_normal(shape))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    hu = np.where(pet > 0.1, 40.0, -1000.0) if ct else None
    return LesionScan(pet.astype(np.float16), hu, organs, labels, affine, tracer, np.array([[20, 18, 6]]))
