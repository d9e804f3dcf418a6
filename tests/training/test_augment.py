"""Changes to a patch leave its labels true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import ball

from anypet.models.compact.parts import LESION
from anypet.training.augment import _warped, augment
from anypet.training.patches import UNKNOWN, Patch


def slope(kind: str) -> Patch:
    """A target that fills one side of the window."""
    image = torch.arange(32**3, dtype=torch.float32).reshape(32, 32, 32) / 1000 + 1
    return replace(ball(kind=kind), image=image, targets=(image > 6,), parts=None)


def centre_of(mask: torch.Tensor) -> np.ndarray:
    return mask.nonzero().float().mean(0).numpy()


def test_organs_keep_their_side_and_lesions_change_it():
    sides = {"organ": [], "lesion": []}
    for kind, found in sides.items():
        for seed in range(30):
            out = augment(slope(kind), np.random.default_rng(seed))
            assert torch.isfinite(out.image).all()
            assert out.image.min() >= 0
            found.append(centre_of(out.targets[0]) - 15.5)
    assert all(np.argmax(np.abs(v)) == 0 and v[0] > 0 for v in sides["organ"])
    assert len({(int(np.argmax(np.abs(v))), v[np.argmax(np.abs(v))] > 0) for v in sides["lesion"]}) >= 4


def test_labels_follow_the_image_when_it_is_warped():
    patch = ball(radius=8.0, kind="organ")
    axes = [torch.arange(32.0)] * 3
    away = torch.meshgrid(*axes, indexing="ij")
    off_centre = ((away[0] - 10) ** 2 + (away[1] - 18) ** 2 + (away[2] - 20) ** 2) < 36
    patch = replace(
        patch,
        image=torch.where(off_centre, 6.0, 0.0),
        targets=(off_centre,),
        parts=torch.where(off_centre, LESION, 2).to(torch.uint8),
    )
    moved = 0
    for seed in range(6):
        out = _warped(patch, np.random.default_rng(seed))
        assert torch.equal(out.image > 3, out.targets[0])
        assert out.parts is not None
        agree = (out.parts == LESION) == out.targets[0]
        assert agree.float().mean() > 0.99  # nearest and linear differ at the rim
        assert int(out.targets[0].sum()) == pytest.approx(int(off_centre.sum()), rel=0.5)
        moved += not torch.equal(out.targets[0], off_centre)
    assert moved == 6


def test_a_target_of_one_voxel_is_never_lost():
    spot = torch.zeros(32, 32, 32, dtype=torch.bool)
    spot[3, 28, 15] = True
    patch = replace(ball(), targets=(spot,))
    for seed in range(100):
        assert augment(patch, np.random.default_rng(seed)).targets[0].any()


def test_cropped_scans_say_nothing_of_what_is_outside():
    patch = ball(radius=4.0, kind="organ")
    cropped = [augment(patch, np.random.default_rng(s)) for s in range(60)]
    with_border = [p for p in cropped if p.parts is not None and (p.parts == UNKNOWN).any()]
    assert with_border
    for out in with_border:
        assert out.parts is not None
        assert out.image[out.parts == UNKNOWN].abs().max() == 0
        assert int(out.targets[0].sum()) == pytest.approx(int(patch.targets[0].sum()), rel=0.5)


def test_an_augmentation_is_its_seed():
    first, again = (augment(ball(), np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.targets[0], again.targets[0])
