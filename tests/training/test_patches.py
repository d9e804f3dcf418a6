"""Windows on targets, further targets in them, parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import HEART, LIVER, study

from anypet.models.compact.parts import LESION, PARTS
from anypet.training.patches import (
    UNKNOWN,
    Draw,
    cut_target,
    draw_patch,
    object_truth,
    organ_truth,
    place_window,
)
from anypet.volume import Volume
from anypet.windows import Window


def test_fine_windows_hold_the_target():
    truth = np.zeros((60, 50, 70), dtype=np.float32)
    truth[20:40, 10:30, 15:60] = 1
    volume = Volume(truth, np.diag([4.0, 4.0, 3.0, 1.0]), "label")
    for seed in range(8):
        window = place_window(volume, 32, np.random.default_rng(seed), coarse=False)
        ml = float(cut_target(volume, window).sum()) * window.spacing**3 / 1000
        assert ml == pytest.approx(truth.sum() * 48 / 1000, rel=0.25)
    coarse = place_window(volume, 32, np.random.default_rng(0), coarse=True)
    assert volume.array[tuple(np.round(volume.to_voxel(coarse.centre_mm)).astype(int))] == 1


def test_draws_keep_the_share_of_organs_and_name_the_parts():
    simulated, rng = study(), np.random.default_rng(0)
    patches = [draw_patch(simulated, rng, Draw(32, 0.7, 1)) for _ in range(120)]
    kinds = [p.kind for p in patches if p is not None]
    assert kinds.count("organ") / len(kinds) == pytest.approx(0.7, abs=0.12)
    for patch in patches:
        assert patch is not None
        assert patch.parts is not None
        inside = patch.parts[patch.targets[0]]
        assert len(inside)
        # the border is cut with interpolation in one and without in the other
        wanted = [LESION] if patch.kind == "lesion" else [LIVER, HEART, LESION]
        assert torch.isin(inside, torch.tensor(wanted, dtype=torch.uint8)).float().mean() > 0.6
        assert patch.mirror == (patch.kind == "lesion")
        assert patch.image.unique().numel() < 2000
    named = torch.cat([p.parts.flatten() for p in patches if p is not None and p.parts is not None]).unique()
    assert {0, LIVER, HEART, LESION, PARTS.index("muscle")} == set(named.tolist())


def test_further_targets_come_from_the_same_window():
    rng = np.random.default_rng(1)
    patches = [p for p in (draw_patch(study(), rng, Draw(48, 0.5, 3)) for _ in range(20)) if p is not None]
    assert max(len(p.targets) for p in patches) == 3
    for patch in patches:
        assert all(bool(t.any()) for t in patch.targets)
        assert patch.mirror == (len(patch.targets) == 1 and patch.kind == "lesion")


def test_lesion_keeps_its_place_and_volume():
    truth = object_truth(study(), 0)
    window = Window((60.0, 52.0, 44.0), 2.0, (32,) * 3)
    target = cut_target(truth, window)
    assert float(target.sum()) * 8 == pytest.approx(4**3 * 64, rel=0.02)
    middle = torch.nonzero(target).float().mean(0).numpy()
    assert window.to_mm(middle) == pytest.approx([58.0, 50.0, 42.0], abs=0.2)


def test_organs_left_out_are_no_targets_and_nothing_is_said_of_them():
    rng = np.random.default_rng(2)
    draw = Draw(48, 1.0, 3, left_out=frozenset({LIVER}))
    patches = [p for p in (draw_patch(study(), rng, draw) for _ in range(20)) if p is not None]
    assert patches
    hearts = sum(int((p.parts == HEART).sum()) for p in patches if p.parts is not None)
    assert hearts > 0
    for patch in patches:
        assert patch.parts is not None
        assert not (patch.parts == LIVER).any()
        for target in patch.targets:
            assert (patch.parts[target] != UNKNOWN).float().mean() > 0.6


def test_spoilt_labels_stay_the_same_and_differ_from_the_good():
    good, bad = Draw(32, 1.0, 1), Draw(32, 1.0, 1, spoil=0.8)

    def targets(draw: Draw, number: int) -> list[torch.Tensor]:
        found = [draw_patch(study(), np.random.default_rng(s), draw, number) for s in range(6)]
        return [p.targets[0] for p in found if p is not None]

    one, again, other = targets(bad, 3), targets(bad, 3), targets(bad, 4)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one, targets(good, 3), strict=True))
    patch = draw_patch(study(), np.random.default_rng(0), bad, 3)
    assert patch is not None
    assert not patch.high_quality
    assert patch.parts is None


def test_one_spacing_is_kept():
    truth = organ_truth(study(), *study().organs[0])
    rng = np.random.default_rng(0)
    assert {place_window(truth, 32, rng, coarse, 1.5).spacing for coarse in (True, False)} == {1.5}
