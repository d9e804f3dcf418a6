"""Patches, click loop, losses and the run, on a tiny network and a tiny pool."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case
from anypet.models.compact import CompactConfig, CompactNet
from anypet.training.click_loop import LoopSettings, answer, open_dialogue, rough_mask, run_loop
from anypet.training.config import Settings, load_settings
from anypet.training.losses import dice_ce, hard_dice
from anypet.training.patches import Patch, augment, cut_patch, place_window
from anypet.training.pool import Pool, build_pool, write_shard
from anypet.training.real import RealCases
from anypet.training.run import Run, learning_rate
from anypet.volume import Volume

TINY = {"window": 32, "widths": (8, 8, 8, 8, 8), "blocks": (1, 1, 1, 1), "batch": 2, "clicks": 2, "seed": 1}


def ball(size: int = 32, radius: float = 7.0) -> Patch:
    axes = np.arange(size) - size / 2
    inside = sum(a**2 for a in np.meshgrid(axes, axes, axes, indexing="ij")) < radius**2
    image = torch.from_numpy(np.where(inside, 5.0, 0.5).astype(np.float32))
    return Patch(image, torch.from_numpy(inside), 4.0, "lesion")


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    folder = tmp_path / "pool"
    folder.mkdir()
    write_shard(folder / "a.safetensors", [ball(radius=r) for r in (4.0, 6.0, 9.0)])
    return Pool(folder, 32)


def test_loss_by_hand():
    logits = torch.tensor([2.0, -1.0]).reshape(1, 1, 1, 1, 2)
    target = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    p = 1 / (1 + np.exp(-np.array([2.0, -1.0])))
    dice = 1 - (2 * p[0] + 1) / (p[0] ** 2 + p[1] ** 2 + 1 + 1)
    ce = -(np.log(p[0]) + np.log(1 - p[1])) / 2
    assert float(dice_ce(logits, target)) == pytest.approx(dice + ce, abs=1e-6)
    assert float(hard_dice(logits, target)) == 1.0


def test_loss_against_monai():
    from monai.losses import DiceLoss

    gen = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 8, 8, 8, generator=gen)
    target = (torch.rand(3, 1, 8, 8, 8, generator=gen) > 0.6).float()
    dice = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0, reduction="none")(
        logits, target
    )
    ce = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(
        (1, 2, 3, 4)
    )
    assert torch.allclose(dice_ce(logits, target), dice.flatten() + ce, atol=1e-5)


def test_shards_give_back_what_was_written(pool: Pool):
    assert len(pool) == 3
    patch, original = pool[1], ball(radius=6.0)
    assert torch.equal(patch.target, original.target)
    assert torch.allclose(patch.image, original.image, atol=1e-2)
    assert patch.kind == "lesion"


def test_draws_keep_the_share_of_organs(tmp_path: Path):
    small = Patch(ball().image, ball(radius=3).target, 4.0, "organ")
    write_shard(tmp_path / "a.safetensors", [small, *(ball() for _ in range(9))])
    pool, rng = Pool(tmp_path, 32), np.random.default_rng(0)
    kinds = [pool.draw(rng, 0.6).kind for _ in range(300)]
    assert kinds.count("organ") / 300 == pytest.approx(0.6, abs=0.1)
    assert {pool.draw(rng, 0.0).kind for _ in range(20)} == {"lesion"}


def test_pool_is_built_once(tmp_path: Path):
    assert list(build_pool(tmp_path, [], 1, 32, 4, 0, 0.5, workers=1))[-1] == 1
    shard = next(tmp_path.glob("*.safetensors"))
    stamp = shard.stat().st_mtime_ns
    assert list(build_pool(tmp_path, [], 1, 32, 4, 0, 0.5, workers=1)) == [1]
    assert shard.stat().st_mtime_ns == stamp
    assert 1 <= len(Pool(tmp_path, 32)) <= 4  # a window that misses its target is left out


def test_fine_windows_hold_the_target():
    truth = np.zeros((60, 50, 70), dtype=np.float32)
    truth[20:40, 10:30, 15:60] = 1
    volume = Volume(truth, np.diag([4.0, 4.0, 3.0, 1.0]), "label")
    pet = Volume(truth * 4 + 1, volume.affine, "SUVbw")
    for seed in range(8):
        window = place_window(volume, 32, np.random.default_rng(seed), coarse=False)
        patch = cut_patch(pet, volume, window, "lesion")
        assert patch is not None
        ml = float(patch.target.sum()) * window.spacing**3 / 1000
        assert ml == pytest.approx(truth.sum() * 48 / 1000, rel=0.25)
    coarse = place_window(volume, 32, np.random.default_rng(0), coarse=True)
    assert volume.array[tuple(np.round(volume.to_voxel(coarse.centre_mm)).astype(int))] == 1


def test_a_window_beside_the_target_gives_no_patch():
    truth = np.zeros((60, 10, 10), dtype=np.float32)
    truth[0] = 1
    volume = Volume(truth, np.diag([8.0, 8.0, 8.0, 1.0]), "label")
    from anypet.windows import Window

    assert cut_patch(volume, volume, Window((470.0, 40.0, 40.0), 2.0, (16,) * 3), "organ") is None


def test_organs_are_not_turned():
    image = torch.arange(32**3, dtype=torch.float32).reshape(32, 32, 32) + 1
    patch = Patch(image, image > 5, 4.0, "organ")
    for seed in range(6):
        out = augment(patch, np.random.default_rng(seed))
        assert torch.equal(out.target, patch.target)
        assert torch.isfinite(out.image).all()
    turned = [
        augment(Patch(image, image > 5, 4.0, "lesion"), np.random.default_rng(s)).target for s in range(6)
    ]
    assert any(not torch.equal(t, patch.target) for t in turned)


def test_dialogue_opens_on_the_target_and_answers_errors():
    patch, rng = ball(), np.random.default_rng(0)
    talk = open_dialogue(patch, rng, box_share=0.0)
    assert patch.target[talk.points[0]]
    assert talk.anchor_suv == pytest.approx(5.0, rel=0.3)
    for _ in range(6):
        empty = torch.full((32, 32, 32), -5.0)
        answer(patch, empty, talk, rng)
    assert talk.labels == [1] * 7
    full = torch.full((32, 32, 32), 5.0)
    answer(patch, full, talk, rng)
    assert talk.labels[-1] == 0
    assert not patch.target[talk.points[-1]]
    before = len(talk.points)
    answer(patch, torch.where(patch.target, 5.0, -5.0), talk, rng)
    assert len(talk.points) == before
    box = open_dialogue(patch, rng, box_share=1.0)
    assert box.points == []
    assert box.box is not None
    assert all(lo <= 10.5 and hi >= 21.5 for lo, hi in zip(*box.box, strict=True))


def test_rough_masks_resemble_the_target():
    patch = ball(radius=10)
    scores = [
        float(hard_dice(rough_mask(patch.target, np.random.default_rng(s)), patch.target[None, None]))
        for s in range(20)
    ]
    assert 0.4 < np.mean(scores) < 0.98


@pytest.mark.parametrize("mode", ["all", "ends"])
def test_loop_has_gradients_everywhere(mode: str):
    net = CompactNet(CompactConfig(32, TINY["widths"], TINY["blocks"]))
    loss, first, last = run_loop(
        net, [ball(), ball(radius=5)], LoopSettings(3, mode, 0.3, 0.5), np.random.default_rng(0)
    )
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert first.shape == last.shape == (2,)


def test_overfits_one_patch(pool: Pool, tmp_path: Path):
    run = Run(tmp_path / "run", Settings(**TINY, real_share=0.0, learning_rate=5e-3), pool)
    losses = []
    for _ in range(40):
        run.step(0.1)
        losses.append(run.progress.loss)
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_resumed_run_equals_an_unbroken_one(pool: Pool, tmp_path: Path):
    settings = Settings(**TINY, real_share=0.0)
    whole = Run(tmp_path / "a", settings, pool)
    for _ in range(6):
        whole.step(0.2)
    broken = Run(tmp_path / "b", settings, pool)
    for _ in range(3):
        broken.step(0.2)
    broken.save_checkpoint()
    again = Run(tmp_path / "b", settings, pool)
    again.resume()
    for _ in range(3):
        again.step(0.2)
    assert again.progress.step == 6
    assert again.progress.loss == whole.progress.loss
    for key, value in whole.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[key])


def test_budget_log_curve_and_export(pool: Pool, tmp_path: Path):
    run = Run(tmp_path / "run", Settings(**TINY, real_share=0.0), pool)
    seen = []
    run.train(minutes=0.03, report=seen.append)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert int(rows[-1]["step"]) == run.progress.step > 0
    assert (tmp_path / "run" / "curve.png").stat().st_size > 5000
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert {v.dtype for v in weights.values()} == {torch.float16}
    from anypet.models.registry import load_model

    model = load_model("default", weights=tmp_path / "run" / "weights.safetensors")
    assert model.spec.window == (32, 32, 32)
    started = Run(tmp_path / "more", Settings(**TINY), pool, start=tmp_path / "run" / "weights.safetensors")
    key = next(iter(weights))
    assert torch.equal(started.net.state_dict()[key], weights[key].float())


def test_real_cases_are_drawn(pool: Pool, tmp_path: Path):
    truth = np.zeros((30, 30, 30), dtype=bool)
    truth[10:20, 8:22, 9:21] = True
    pet = Volume(truth.astype(np.float32) * 3 + 0.5, np.diag([5.0, 5.0, 3.0, 1.0]), "SUVbw")
    real = RealCases([Case.of("p", pet, {"tumour": truth})], 32)
    assert len(real) == 1
    assert real.draw(np.random.default_rng(0)).kind == "real"
    run = Run(tmp_path / "run", Settings(**TINY, real_share=1.0), pool, real)
    assert {p.kind for p in run.draw()} == {"real"}


def test_learning_rate_warms_up_and_falls():
    settings = Settings(learning_rate=1.0)
    assert learning_rate(settings, 0.0, 0) == pytest.approx(0.01)
    assert learning_rate(settings, 0.0, 99) == pytest.approx(1.0)
    assert learning_rate(settings, 0.5, 500) == pytest.approx(0.505)
    assert learning_rate(settings, 1.0, 500) == pytest.approx(0.01)


def test_nothing_to_train_on(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    run = Run(tmp_path / "run", Settings(**TINY), Pool(tmp_path / "empty", 32))
    with pytest.raises(AnyPETError, match="nothing to train on"):
        run.train(0.01)


def test_resume_needs_a_checkpoint(pool: Pool, tmp_path: Path):
    with pytest.raises(AnyPETError, match="resume"):
        Run(tmp_path / "new", Settings(**TINY), pool).resume()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("bathc: 4", "bathc"),
        ("batch: 0", "batch"),
        ("window: 50", "window"),
        ("gradient_clicks: some", "gradient_clicks"),
        ("- a list", "settings"),
        ("a: [", "settings"),
    ],
)
def test_bad_settings_name_the_key(tmp_path: Path, text: str, cause: str):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(AnyPETError, match=cause):
        load_settings(path)


def test_settings_by_name_and_override(tmp_path: Path):
    assert load_settings("compact", batch=2, seed=None).batch == 2
    with pytest.raises(AnyPETError, match="compact"):
        load_settings("nothing")
    with pytest.raises(AnyPETError, match="no settings at"):
        load_settings(tmp_path / "absent.yaml")
