"""Training patches: windows around targets, placed as a session places them, coarse and fine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from anypet.clicks import bounding_box, first_click
from anypet.models.compact.model import SPACINGS
from anypet.volume import Volume
from anypet.windows import Window, cut

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Patch:
    """One window with one target.

    Args:
        image: float32 (N, N, N), SUVbw along (R, A, S).
        target: bool (N, N, N).
        spacing: millimetres per voxel.
        kind: "organ", "lesion" or "real".
    """

    image: torch.Tensor
    target: torch.Tensor
    spacing: float
    kind: str


def place_window(truth: Volume, size: int, rng: np.random.Generator, coarse: bool) -> Window:
    """A window on a target as inference would place it.

    Args:
        truth: the target's occupancy (> 0.5 = inside) on any grid.
        size: voxels a side.
        rng: source of the draws.
        coarse: centred on a click, 4.5 to 8 mm; else fitted to the target's extent with some room.
    """
    mask = np.asarray(truth.array > 0.5)
    if coarse:
        centre = truth.to_mm(first_click(mask, rng, tuple(truth.spacing)))
        return Window(tuple(centre), float(rng.uniform(4.5, SPACINGS[1])), (size,) * 3)
    box = bounding_box(mask)
    assert box is not None
    lo = truth.to_mm([s.start for s in box])
    hi = truth.to_mm([s.stop - 1 for s in box])
    extent = float(np.abs(hi - lo).max()) + float(truth.spacing.max())
    spacing = float(np.clip(extent * rng.uniform(1.15, 2.4) / size, *SPACINGS))
    jitter = rng.uniform(-0.1, 0.1, 3) * size * spacing
    return Window(tuple((lo + hi) / 2 + jitter), spacing, (size,) * 3)


def cut_patch(pet: Volume, truth: Volume, window: Window, kind: str) -> Patch | None:
    """The patch of a window; None where the target has no voxel in it."""
    target = cut(truth, window)[0, 0] > 0.5
    if not bool(target.any()):
        return None
    return Patch(cut(pet, window)[0, 0], target, window.spacing, kind)


def augment(patch: Patch, rng: np.random.Generator) -> Patch:
    """Mirrors and turns what has no fixed place (lesions), scales the uptake, adds noise."""
    image, target = patch.image, patch.target
    if patch.kind != "organ":
        dims = [d for d in range(3) if rng.random() < 0.5]
        image, target = image.flip(dims), target.flip(dims)
        order = [int(v) for v in rng.permutation(3)]
        image, target = image.permute(order), target.permute(order)
    image = image * float(np.exp(rng.normal(0, 0.2)))
    if rng.random() < 0.3:
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
        image = image + noise * float(rng.uniform(0, 0.12)) * image.clamp_min(0.05)
    return Patch(image.clamp_min(0).contiguous(), target.contiguous(), patch.spacing, patch.kind)
