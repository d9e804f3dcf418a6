"""Tiny patches, studies and settings for the tests of training."""

from __future__ import annotations

import numpy as np
import torch

from anypet.models.compact import CompactNet
from anypet.models.compact.parts import LESION, PARTS
from anypet.training.config import Settings
from anypet.training.learners import CompactLearner
from anypet.training.patches import Patch
from anypet.training.pool import Pool, PoolStudy, Target
from anypet.volume import Volume

NETWORK = {"window": 32, "widths": (8,) * 5, "blocks": (1,) * 4, "half": False}
TINY = {**NETWORK, "batch": 2, "clicks": 2, "seed": 1, "studies": 1, "real_share": 0.0, "targets": 2}
LIVER, HEART = PARTS.index("liver"), PARTS.index("heart")


def ball(size: int = 32, radius: float = 7.0, kind: str = "lesion") -> Patch:
    """A hot ball in the middle, all parts known."""
    axes = np.arange(size) - size / 2
    inside = torch.from_numpy(sum(a**2 for a in np.meshgrid(axes, axes, axes, indexing="ij")) < radius**2)
    parts = torch.where(inside, LESION, PARTS.index("muscle")).to(torch.uint8)
    return Patch(torch.where(inside, 5.0, 0.5), (inside,), 4.0, kind, parts, mirror=kind != "organ")


def study() -> PoolStudy:
    """A liver and a heart, blocks of 4 mm voxels, a lesion in the liver; PET on a grid of 3 x 3 x 5 mm."""
    parts = np.full((40, 36, 50), PARTS.index("muscle"), dtype=np.uint8)
    parts[8:28, 6:26, 5:20] = LIVER
    parts[10:22, 8:20, 30:42] = HEART
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    occupancy = np.zeros((6, 6, 6), dtype=np.float16)
    occupancy[1:5, 1:5, 1:5] = 1.0
    pet = Volume(np.ones((53, 48, 40), dtype=np.float16), np.diag([3.0, 3.0, 5.0, 1.0]), "SUVbw")
    organs = [
        (LIVER, (slice(8, 28), slice(6, 26), slice(5, 20))),
        (HEART, (slice(10, 22), slice(8, 20), slice(30, 42))),
    ]
    lesion = Target((slice(12, 18), slice(10, 16), slice(8, 14)), occupancy)
    return PoolStudy(pet, affine, parts.shape, [lesion], parts, organs)


class OneStudy(Pool):
    """A pool that holds one made-up study, as often as wanted."""

    def __init__(self, number: int = 1):
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, item: int) -> PoolStudy:
        return study()


def tiny_learner(settings: Settings | None = None) -> CompactLearner:
    """A compact network that learns fast and badly, the same every time."""
    torch.manual_seed(0)
    return CompactLearner(CompactNet((settings or Settings(**TINY)).network))
