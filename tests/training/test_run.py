"""The run and its settings, on a tiny network and a tiny pool."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toys import TINY, study

from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case
from anypet.training.config import Settings, load_settings
from anypet.training.pool import Pool, PoolStudy
from anypet.training.real import RealCases
from anypet.training.run import Run, learning_rate
from anypet.volume import Volume


class OneStudy(Pool):
    """A pool that holds one made-up study."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, item: int) -> PoolStudy:
        return study()


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return OneStudy(tmp_path)


def steps(run: Run, count: int) -> Run:
    for _ in range(count):
        run.step(0.2, run.draw(run.progress.step))
    return run


def test_overfits_one_batch(pool: Pool, tmp_path: Path):
    run = Run(tmp_path / "run", Settings(**TINY, real_share=0.0, learning_rate=5e-3, box_share=0.0), pool)
    losses, patches = [], run.draw(0)
    for _ in range(40):
        run.step(0.1, patches)
        losses.append(run.progress.loss)
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_resumed_run_equals_an_unbroken_one(pool: Pool, tmp_path: Path):
    settings = Settings(**TINY, real_share=0.0)
    whole = steps(Run(tmp_path / "a", settings, pool), 6)
    broken = steps(Run(tmp_path / "b", settings, pool), 3)
    broken.save_checkpoint()
    again = Run(tmp_path / "b", settings, pool)
    again.resume()
    steps(again, 3)
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
    assert getattr(real.draw(np.random.default_rng(0)), "kind", None) == "real"
    run = Run(tmp_path / "run", Settings(**TINY, real_share=1.0), pool, real)
    assert {p.kind for p in run.draw(0)} == {"real"}


def test_learning_rate_warms_up_and_falls():
    settings = Settings(learning_rate=1.0)
    assert learning_rate(settings, 0.0, 0) == pytest.approx(0.01)
    assert learning_rate(settings, 0.0, 99) == pytest.approx(1.0)
    assert learning_rate(settings, 0.5, 500) == pytest.approx(0.505)
    assert learning_rate(settings, 1.0, 500) == pytest.approx(0.01)


def test_nothing_to_train_on(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    run = Run(tmp_path / "run", Settings(**TINY), Pool(tmp_path / "empty"))
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
        ("window: 32", "half"),
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
