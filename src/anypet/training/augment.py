"""Random changes to a training patch that leave its labels true.

Lesions, which have no fixed place in the body, are mirrored and turned by right angles. Every patch may be
turned and stretched a little, blurred as by a wider point spread function, made noisier, scaled in uptake, or
end closer around the target, as cropped data sets do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from anypet.clicks import bounding_box
from anypet.training.patches import UNKNOWN, Patch

TURN_DEGREES = 7.0  # standard deviations of the turn about each axis
STRETCH = 0.07  # and of the logarithm of the stretch along each
UPTAKE = 0.2  # and of the logarithm of the uptake


def augment(patch: Patch, rng: np.random.Generator) -> Patch:
    """A changed copy of a patch, or the patch itself."""
    if patch.mirror and (patch.parts is None or rng.random() < 0.3):
        patch = _mirrored(patch, rng)
    if rng.random() < 0.2:
        patch = _warped(patch, rng)
    image = patch.image * float(np.exp(rng.normal(0, UPTAKE)))
    if rng.random() < 0.1:
        sigma = rng.uniform(0, 3.0) / patch.spacing
        image = torch.from_numpy(gaussian_filter(image.numpy(), sigma, mode="nearest"))
    if rng.random() < 0.3:
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
        image = image + noise * float(rng.uniform(0, 0.12)) * image.clamp_min(0.05)
    patch = replace(patch, image=image.clamp_min(0).contiguous())
    return _cropped(patch, rng) if rng.random() < 0.12 else patch


def _mirrored(patch: Patch, rng: np.random.Generator) -> Patch:
    """Mirrored and with axes exchanged; nothing is known of the parts any more."""
    dims = [d for d in range(3) if rng.random() < 0.5]
    order = [int(v) for v in rng.permutation(3)]
    image, *targets = (v.flip(dims).permute(order).contiguous() for v in (patch.image, *patch.targets))
    return replace(patch, image=image, targets=tuple(targets), parts=None)


def _warped(patch: Patch, rng: np.random.Generator) -> Patch:
    """Turned and stretched about the window's centre; what comes in at the rim is a reflection.

    The patch itself where a target would be lost, as one of a few voxels can be.
    """
    matrix = Rotation.from_euler("xyz", rng.normal(0, TURN_DEGREES, 3), degrees=True).as_matrix()
    matrix = matrix * np.exp(rng.normal(0, STRETCH, 3))
    theta = torch.from_numpy(np.column_stack([matrix, np.zeros(3)])).float()
    masks = torch.stack(patch.targets).float()
    grid = F.affine_grid(theta[None], [1, 1, *patch.image.shape], align_corners=False)
    smooth = torch.cat([patch.image[None], masks])[None]
    image, *moved = F.grid_sample(smooth, grid, "bilinear", "reflection", align_corners=False)[0]
    targets = tuple(mask > 0.5 for mask in moved)
    if not all(bool(mask.any()) for mask in targets):
        return patch
    parts = patch.parts
    if parts is not None:
        labels = parts.float()[None, None]
        nearest = F.grid_sample(labels, grid, "nearest", "reflection", align_corners=False)
        parts = nearest[0, 0].to(torch.uint8)
    return replace(patch, image=image, targets=targets, parts=parts)


def _cropped(patch: Patch, rng: np.random.Generator) -> Patch:
    """As if the scan ended some centimetres around the first target."""
    box = bounding_box(patch.targets[0].numpy())
    if box is None:
        return patch
    outside = torch.ones_like(patch.targets[0])
    margin = rng.uniform(25.0, 90.0, (3, 2)) / patch.spacing
    cut_box = tuple(
        slice(max(0, s.start - round(a)), s.stop + round(b)) for s, (a, b) in zip(box, margin, strict=True)
    )
    outside[cut_box] = False
    kept = tuple(t for t in (t & ~outside for t in patch.targets) if bool(t.any()))
    parts = None if patch.parts is None else patch.parts.masked_fill(outside, UNKNOWN)
    return replace(patch, image=patch.image.masked_fill(outside, 0.0), targets=kept, parts=parts)
