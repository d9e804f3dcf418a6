"""Steps, schedule, checkpoints and what a run leaves behind, on a tiny network and a tiny pool."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toys import TINY, OneStudy, study, tiny_learner

from anypet.errors import AnyPETError
from anypet.training.config import Settings, load_settings
from anypet.training.learners import make_learner
from anypet.training.patches import Draw
from anypet.training.run import Budget, Progress, Run, learning_rate
from anypet.training.sources import Mixture
from anypet.training.validation import Validation

HERE = Path(__file__).parent


def make_run(folder: Path, **changes: object) -> Run:
    settings = Settings(**{**TINY, **changes})
    return Run(folder, settings, tiny_learner(settings), Mixture(OneStudy(), [], settings))


def steps(run: Run, count: int) -> Run:
    for _ in range(count):
        run.step(0.2, run.draw(run.progress.step))
    return run


def test_overfits_one_case(tmp_path: Path):
    run = make_run(tmp_path, learning_rate=1e-2, box_share=0.0, targets=1, parts_weight=0.0)
    losses, batches = [], run.draw(0)
    for _ in range(60):
        run.step(0.1, batches)
        losses.append(run.progress.loss)
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_resumed_run_equals_an_unbroken_one(tmp_path: Path):
    whole = steps(make_run(tmp_path / "a"), 6)
    steps(make_run(tmp_path / "b"), 3).save_checkpoint()
    again = make_run(tmp_path / "b")
    again.resume()
    steps(again, 3)
    assert again.progress.step == 6
    assert again.progress.loss == whole.progress.loss
    for key, value in whole.learner.state_dict().items():
        assert torch.equal(value, again.learner.state_dict()[key])
        assert torch.equal(whole.average[key], again.average[key])


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path):
    """kill -9 in the middle: the log of the resumed run is that of one that was never stopped."""
    command = [sys.executable, str(HERE / "small_run.py")]
    subprocess.run([*command, str(tmp_path / "whole"), "12"], check=True, timeout=300)
    process = subprocess.Popen([*command, str(tmp_path / "broken"), "12", "--slow"])
    checkpoint = tmp_path / "broken" / "checkpoint.pt"
    for _ in range(1200):
        if checkpoint.is_file() or process.poll() is not None:
            break
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.is_file()
    subprocess.run([*command, str(tmp_path / "broken"), "12"], check=True, timeout=300)
    whole, broken = (json.loads((tmp_path / n / "losses.json").read_text()) for n in ("whole", "broken"))
    assert len(broken) < 12  # it did not start anew
    assert broken == whole[-len(broken) :]


def test_two_processes_learn_what_one_does(tmp_path: Path):
    """DDP over gloo: same global batch, same losses to 1e-5."""
    script = [str(HERE / "small_run.py")]
    subprocess.run([sys.executable, *script, str(tmp_path / "one"), "4"], check=True, timeout=300)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launcher, *script, str(tmp_path / "two"), "4"], check=True, timeout=300)
    one, two = (json.loads((tmp_path / n / "losses.json").read_text()) for n in ("one", "two"))
    assert two == pytest.approx(one, abs=1e-5)
    weights = [load_file(tmp_path / n / "weights.safetensors") for n in ("one", "two")]
    for key, value in weights[0].items():
        assert torch.allclose(value.float(), weights[1][key].float(), atol=2e-3)


def test_a_batch_must_divide_among_the_processes(tmp_path: Path):
    from anypet.training.distributed import World

    settings = Settings(**{**TINY, "batch": 3})
    with pytest.raises(AnyPETError, match="3 cannot be shared out among 2"):
        Run(tmp_path, settings, tiny_learner(), Mixture(OneStudy(), [], settings), world=World(0, 2))


def test_accumulated_steps_equal_a_larger_batch(tmp_path: Path):
    """The mean gradient of micro-batches is that of the same patches in one batch."""
    settings = {"clicks": 1, "batch": 1, "accumulate": 2, "box_share": 0.0, "previous_share": 0.0}
    run = make_run(tmp_path, **settings)
    grads = []
    for batches in (run.draw(0), run.draw(0)[:1]):
        run.optimiser.step = lambda: None  # type: ignore[method-assign, assignment]
        run.progress.step = 0
        run.step(0.5, batches)
        grads.append(torch.cat([p.grad.flatten() for p in run.learner.parameters() if p.grad is not None]))
    assert not torch.allclose(grads[0], grads[1])
    assert run.settings.accumulate == len(run.draw(0)) == 2


def test_draws_do_not_depend_on_what_was_drawn_before(tmp_path: Path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    a.draw(0)
    assert torch.equal(a.draw(5)[0][1].image, b.draw(5)[0][1].image)
    assert not torch.equal(b.draw(5)[0][1].image, b.draw(6)[0][1].image)


def test_a_diverging_step_touches_no_weight(tmp_path: Path):
    run = make_run(tmp_path)
    before = {k: v.clone() for k, v in run.learner.state_dict().items()}
    batches = run.draw(0)
    batches[0][0].image[:] = math.nan
    with pytest.raises(AnyPETError, match="diverged at step 0"):
        run.step(0.1, batches)
    assert all(torch.equal(before[k], v) for k, v in run.learner.state_dict().items())


def test_budget_log_curve_and_export(tmp_path: Path):
    run = make_run(tmp_path / "run")
    seen: list[Progress] = []
    run.train(Budget(steps=26), report=seen.append)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [int(r["step"]) for r in rows] == [25, 26]
    assert [p.step for p in seen] == [26] or seen[0].step == 25 or len(seen) == 1
    assert (tmp_path / "run" / "curve.png").stat().st_size > 5000
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["torch"] == torch.__version__.split("+")[0] or "torch" in environment
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert {v.dtype for v in weights.values()} == {torch.float16}
    from anypet.models.registry import load_model

    model = load_model("default", weights=tmp_path / "run" / "weights.safetensors")
    assert model.spec.window == (32, 32, 32)
    started = make_learner(Settings(**TINY), tmp_path / "run" / "weights.safetensors")
    key = next(iter(weights))
    assert torch.equal(started.state_dict()["net." + key], weights[key].float())


def test_minutes_end_a_run_too(tmp_path: Path):
    run = make_run(tmp_path)
    run.train(Budget(minutes=0.02))
    assert run.progress.step > 0
    assert run.progress.seconds >= 1.2


def test_learning_rate_warms_up_and_falls():
    settings = Settings(learning_rate=1.0)
    assert learning_rate(settings, 0.0, 0) == pytest.approx(0.01)
    assert learning_rate(settings, 0.0, 99) == pytest.approx(1.0)
    assert learning_rate(settings, 0.5, 500) == pytest.approx(0.505)
    assert learning_rate(settings, 1.0, 500) == pytest.approx(0.01)
    assert learning_rate(settings, 0.5, 10) == pytest.approx(0.505)  # of a run of 20 steps


def test_the_papers_schedule():
    settings = load_settings("segany-vit-b")
    assert (settings.learning_rate, settings.weight_decay, settings.batch, settings.accumulate) == (
        8e-4, 0.1, 12, 20
    )  # fmt: skip
    assert (settings.omega, settings.beta, settings.epochs, settings.window) == (0.1, 5.0, 200, 128)
    rates = [learning_rate(settings, epoch / 200, 1) for epoch in (0, 119.9, 120, 179.9, 180, 200)]
    assert rates == pytest.approx([8e-4, 8e-4, 8e-5, 8e-5, 8e-6, 8e-6])


def test_resume_needs_a_checkpoint_that_is_whole(tmp_path: Path):
    run = make_run(tmp_path)
    with pytest.raises(AnyPETError, match="nothing to resume"):
        run.resume()
    (tmp_path / "checkpoint.pt").write_bytes(b"half of it")
    with pytest.raises(AnyPETError, match="cannot be gone on from"):
        run.resume()
    torch.save({"net": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(AnyPETError, match="cannot be gone on from"):
        run.resume()


def test_validation_keeps_the_best_and_ends_a_run_that_gets_no_better(tmp_path: Path):
    settings = Settings(**{**TINY, "validate_every": 2, "patience": 2, "learning_rate": 1e-12, "ema": 0.0})
    learner, source = tiny_learner(settings), Mixture(OneStudy(), [], settings)
    validation = Validation([study()], Draw(32, 0.5, 1), count=6)
    assert len(validation) == 6
    run = Run(tmp_path, settings, learner, source, validation=validation)
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    scores = [validation.score(learner, before) for _ in range(2)]
    assert scores[0] == scores[1]
    run.train(Budget(steps=40))
    assert run.progress.step == 6  # the first look is the best, then two that are no better
    rows = list(csv.DictReader((tmp_path / "validation.csv").open()))
    assert [int(r["step"]) for r in rows] == [2, 4, 6]
    assert load_file(tmp_path / "best.safetensors").keys() == {k.removeprefix("net.") for k in before}
    assert (tmp_path / "samples.png").stat().st_size > 5000
    assert learner.training
