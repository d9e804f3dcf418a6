"""The two families as learners, the full ViT of the paper among them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import NETWORK, OneStudy, ball, tiny_learner

from anypet.errors import WeightsError
from anypet.models.base import Embedding
from anypet.models.segany import NetworkConfig, SegAny, SegAnyNetwork
from anypet.prompts import WindowPrompts
from anypet.training.config import Settings, load_settings
from anypet.training.dialogue import Dialogue
from anypet.training.learners import SegAnyLearner, make_learner
from anypet.training.objective import Objective
from anypet.training.run import Run
from anypet.training.sources import Mixture

SMALL = NetworkConfig(image_size=64, dim=48, depth=2, heads=3, global_blocks=(1,), window=7, embed_dim=48)
PAPER = {"batch": 1, "accumulate": 1, "clicks": 2, "studies": 1}


def talk(*points: tuple[int, int, int]) -> Dialogue:
    return Dialogue(list(points), [1] * len(points), None, points[0], 5.0)


@pytest.mark.parametrize("clicks", ["all", "latest"])
def test_segany_learns_what_it_infers(clicks: str):
    """One turn of the learner gives the logits of the model in evaluation mode, whatever the policy."""
    torch.manual_seed(0)
    learner = SegAnyLearner(SegAnyNetwork(SMALL), clicks)  # type: ignore[arg-type]
    model = SegAny(learner.net, clicks=clicks)  # type: ignore[arg-type]
    image = torch.rand(64, 64, 64) * 5
    talks = [talk((30, 30, 30)), talk((10, 20, 30), (40, 40, 40))]
    rows = torch.tensor([0, 0])
    with torch.no_grad():
        features = learner.encode(image[None], torch.tensor([1.5]), rows, talks)
        first = learner.decode(features, talks, [None, None])
        second = learner.decode(features, talks, list(first.state))
    assert first.logits.shape == (2, 1, 64, 64, 64)
    assert first.state.shape == (2, 16, 16, 16)
    embedding: Embedding = model.encode(image[None, None], 1.5)
    for n, dialogue in enumerate(talks):
        prompts = WindowPrompts(np.array(dialogue.points, float), np.array(dialogue.labels))
        one = model.decode(embedding, prompts)
        assert torch.allclose(one[0, 0], first.state[n], atol=1e-5)
        two = model.decode(embedding, prompts, one)
        assert torch.allclose(two[0, 0], second.state[n], atol=1e-5)


def test_images_are_normalised_one_by_one():
    """Released training normalises a whole batch together; then a neighbour would change an image."""
    torch.manual_seed(0)
    learner = SegAnyLearner(SegAnyNetwork(SMALL))
    images = torch.stack([torch.rand(64, 64, 64), torch.rand(64, 64, 64) * 50])
    talks = [talk((30, 30, 30))]
    with torch.no_grad():
        alone = learner.encode(images[:1], torch.tensor([1.5]), torch.tensor([0]), talks)
        beside = learner.encode(images, torch.tensor([1.5, 1.5]), torch.tensor([0]), talks)
    assert torch.allclose(alone, beside, atol=1e-5)


def test_the_papers_network_takes_a_step(tmp_path: Path):
    """One optimisation step of the whole 128^3 ViT with the paper's settings, equation (6) and all."""
    settings = load_settings("segany-vit-b", **PAPER, low_share=1.0)
    learner = make_learner(settings)
    run = Run(tmp_path, settings, learner, Mixture(OneStudy(), [], settings, learner.spacing))
    names = ["net.image_encoder.patch_embed.proj.weight", "net.mask_decoder.mask_tokens.weight"]
    before = {name: learner.state_dict()[name].clone() for name in names}
    batches = run.draw(0)
    assert batches[0][0].image.shape == (128, 128, 128)
    assert batches[0][0].spacing == 1.5
    assert not batches[0][0].high_quality
    run.step(0.5, batches)
    assert np.isfinite(run.progress.loss)
    assert run.progress.rectified > 0
    for name in names:
        assert not torch.equal(before[name], learner.state_dict()[name])


def test_the_papers_network_takes_a_step_in_two_processes(tmp_path: Path):
    script = str(Path(__file__).parent / "vit_step.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, script, str(tmp_path)], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[:6000]
    assert (tmp_path / "loss.txt").read_text().startswith("1 ")


def test_named_parts_start_anew_with_older_weights(tmp_path: Path):
    from safetensors.torch import save_file

    settings = Settings(**NETWORK)
    learner = tiny_learner(settings)
    state = {k.removeprefix("net."): v for k, v in learner.state_dict().items()}
    old = {k: v.contiguous() for k, v in state.items() if not k.startswith("decoder.parts.")}
    save_file(old, tmp_path / "old.safetensors")
    again = make_learner(settings, tmp_path / "old.safetensors")
    assert torch.equal(again.state_dict()["net.decoder.head.weight"], state["decoder.head.weight"])
    with pytest.raises(WeightsError):
        make_learner(load_settings("compact"), tmp_path / "old.safetensors")


def test_the_default_model_can_be_gone_on_from():
    learner = make_learner(load_settings("compact"), "default")
    assert sum(p.numel() for p in learner.parameters()) > 5e6
    with pytest.raises(WeightsError, match="known"):
        make_learner(load_settings("compact"), "no-such-model")


def test_segany_has_a_gradient_everywhere_but_where_the_release_has_none():
    from anypet.training.click_loop import LoopSettings

    torch.manual_seed(0)
    learner = SegAnyLearner(SegAnyNetwork(SMALL))
    objective = Objective(learner, LoopSettings(2, "all", 0.0, 0.0), None, 0.0)
    loss, _ = objective([ball(64, 12.0)], [np.random.default_rng(0)], 2, 0.5)
    loss.backward()
    idle = {name for name, p in learner.named_parameters() if p.grad is None}
    unused = ("no_mask_embed", "iou_prediction_head", "output_hypernetworks_mlps.1", "_mlps.2", "_mlps.3")
    assert all(any(part in name for part in (*unused, "point_embeddings")) for name in idle)
