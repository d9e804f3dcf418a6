import numpy as np
import pytest
import torch
from lesion_toys import toy_scan

from anypet.errors import AnyPETError
from anypet.lesions.discriminator import MipCNN, load_discriminator
from anypet.training.config import load_any
from anypet.training.lesions.tracer import Projections, TracerObjective
from anypet.training.run import Budget, Run


def test_pictures_are_of_one_size_and_of_both_tracers():
    source = Projections([toy_scan("FDG"), toy_scan("PSMA")])
    drawn = [source(np.random.default_rng(n)) for n in range(30)]
    assert {p.psma for p in drawn} == {True, False}
    assert {tuple(p.image.shape) for p in drawn} == {(1, 224, 224)}
    assert max(float(p.image.max()) for p in drawn) < np.arcsinh(60)


def test_scans_of_other_tracers_are_left_out():
    other = toy_scan("")
    other.pet[...] = 50.0
    source = Projections([toy_scan("FDG"), toy_scan("PSMA"), other])
    assert max(float(source(np.random.default_rng(n)).image.max()) for n in range(20)) < np.arcsinh(45)


def test_one_tracer_alone_teaches_nothing():
    with pytest.raises(AnyPETError, match="FDG and of PSMA"):
        Projections([toy_scan("FDG")])


def test_a_run_tells_two_pictures_apart_and_its_weights_load(tmp_path):
    psma = toy_scan("PSMA")
    psma.pet[...] = psma.pet * 8
    settings = load_any("tracer", batch=16, learning_rate=5e-4, ema=0.0)
    torch.manual_seed(0)
    net = MipCNN()
    run = Run(tmp_path, settings, net, Projections([toy_scan(), psma]), objective=TracerObjective(net))
    run.train(Budget(steps=60))
    source = Projections([toy_scan(), psma])
    drawn = [source(np.random.default_rng((9, n))) for n in range(40)]
    with torch.inference_mode():
        said = net.eval()(torch.stack([p.image for p in drawn])) > 0
    assert np.mean([bool(s) == p.psma for s, p in zip(said, drawn, strict=True)]) > 0.9
    again = load_discriminator(tmp_path / "weights.safetensors")
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in net.parameters())
