import numpy as np
import pytest
import torch
from lesion_toys import toy_scan
from monai.losses import DiceLoss

from anypet.lesions.config import NetConfig
from anypet.lesions.network import TwoHeadedUNet
from anypet.training.config import load_any
from anypet.training.lesions.objective import LesionObjective, ce_dice, coarser, deep_loss
from anypet.training.lesions.patches import LesionPatches
from anypet.training.lesions.scans import UNKNOWN
from anypet.training.lesions.validation import LesionLook
from anypet.training.run import Budget, Run

TINY = NetConfig(patch=16, widths=(4, 8, 8), blocks=(1, 1, 1))


def test_loss_by_hand():
    """Two voxels, two classes: probabilities 0.8 / 0.2 for a lesion voxel, 0.4 / 0.6 for background."""
    p = torch.tensor([[0.2, 0.6], [0.8, 0.4]])
    logits = p.log()[None, :, :, None, None]
    target = torch.tensor([1, 0])[None, :, None, None]
    entropy = -(np.log(0.8) + np.log(0.6)) / 2
    dice = 1 - (2 * 0.8 + 0.5) / (1.2 + 1 + 0.5)
    assert float(ce_dice(logits, target)) == pytest.approx(entropy + dice, rel=1e-5)


def test_balanced_classes_count_as_the_fourth_root_of_their_voxels():
    """Sixteen voxels of background and one of an organ, all predicted alike: they weigh 2 to 1."""
    p = torch.tensor([0.75, 0.25])
    logits = p.log()[None, :, None, None, None].expand(1, 2, 17, 1, 1)
    target = torch.tensor([1] + [0] * 16)[None, :, None, None]
    plain, balanced = (float(ce_dice(logits, target, way)) for way in (False, True))
    dice = 1 - (2 * 0.25 + 0.5) / (4.25 + 1 + 0.5)
    assert plain == pytest.approx(-(16 * np.log(0.75) + np.log(0.25)) / 17 + dice, rel=1e-5)
    assert balanced == pytest.approx(-(2 * np.log(0.75) + np.log(0.25)) / 3 + dice, rel=1e-5)
    unknown = torch.full_like(target, UNKNOWN)
    assert float(ce_dice(logits, unknown, balanced=True)) == 0


def test_loss_is_that_of_an_independent_library():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 4, 5, 6, 7), torch.randint(0, 4, (2, 5, 6, 7))
    dice = DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=0.5, smooth_dr=0.5
    )
    expected = torch.nn.functional.cross_entropy(logits, target) + dice(logits, target[:, None])
    assert float(ce_dice(logits, target)) == pytest.approx(float(expected), rel=1e-5)


def test_unknown_voxels_count_for_nothing():
    torch.manual_seed(0)
    logits, target = torch.randn(1, 3, 4, 4, 4), torch.randint(0, 3, (1, 4, 4, 4))
    target[..., 2:] = UNKNOWN
    changed = logits.clone()
    changed[..., 2:] = torch.randn(1, 3, 4, 4, 2) * 9
    assert torch.equal(ce_dice(logits, target), ce_dice(changed, target))
    assert float(ce_dice(logits, torch.full_like(target, UNKNOWN))) == 0


def test_deep_supervision_halves_the_weights():
    torch.manual_seed(0)
    target = torch.randint(0, 2, (1, 8, 8, 8))
    levels = [torch.randn(1, 2, n, n, n) for n in (8, 4, 2)]
    each = [ce_dice(levels[0], target)] + [ce_dice(v, coarser(target, v.shape[2:])) for v in levels[1:]]
    expected = (each[0] + 0.5 * each[1] + 0.25 * each[2]) / 1.75
    assert float(deep_loss(levels, target)) == pytest.approx(float(expected), rel=1e-6)


def tiny_run(folder, **changes):
    settings = load_any("lesions-compact", patch=16, half=False, seed=1, ema=0.0, **changes)
    torch.manual_seed(0)
    net = TwoHeadedUNet(TINY)
    source = LesionPatches([toy_scan(), toy_scan("PSMA")], settings)
    look = LesionLook([toy_scan()], settings, 4)
    objective = LesionObjective(net, settings.organ_weight)
    return Run(folder, settings, net, source, validation=look, objective=objective), look


def test_a_run_learns(tmp_path):
    run, look = tiny_run(tmp_path, validate_every=60, learning_rate=1e-2, organ_weight=0.2, lesion_share=1.0)
    first = look.score(run.learner, run.average)
    run.train(Budget(steps=60))
    assert sum(look.score(run.learner, run.average)) > sum(first) + 0.3
    assert (tmp_path / "samples.png").is_file()
    assert (tmp_path / "best.safetensors").is_file()


def test_a_run_goes_on_as_if_it_had_never_stopped(tmp_path):
    whole, _ = tiny_run(tmp_path / "whole", schedule="poly", optimiser="sgd")
    whole.train(Budget(steps=6))
    half, _ = tiny_run(tmp_path / "half", schedule="poly", optimiser="sgd")
    budget = Budget(steps=6)
    for _ in range(3):
        half.step(budget.share(half.progress), half.draw(half.progress.step))
    half.save_checkpoint()
    rest, _ = tiny_run(tmp_path / "half", schedule="poly", optimiser="sgd")
    rest.resume()
    rest.train(budget)
    assert whole.average.keys() == rest.average.keys()
    assert all(torch.equal(v, rest.average[k]) for k, v in whole.average.items())


def test_both_heads_are_asked_and_scores_say_which_patches_were_clicked():
    settings = load_any("lesions-compact", patch=16, lesion_share=1.0)
    source = LesionPatches([toy_scan()], settings)
    patches = [source(np.random.default_rng(n)) for n in range(6)]
    assert {p.clicked for p in patches} == {True, False}
    torch.manual_seed(0)
    loss, scores = LesionObjective(TwoHeadedUNet(TINY), 0.5)(patches, [], 1, 0.0)
    assert float(loss.detach()) == pytest.approx(scores.loss + 0.5 * scores.parts, rel=1e-5)
    assert scores.dice_first == scores.dice_first
    _, scores = LesionObjective(TwoHeadedUNet(TINY), 0.0)(patches, [], 1, 0.0)
    assert scores.parts == 0
