"""One step of the paper's network in every process of torchrun: `vit_step.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from toys import OneStudy

from anypet.training.config import load_settings
from anypet.training.distributed import join_world
from anypet.training.learners import make_learner
from anypet.training.run import Run
from anypet.training.sources import Mixture

if __name__ == "__main__":
    torch.set_num_threads(1)
    world = join_world("cpu")
    settings = load_settings("segany-vit-b", batch=2, accumulate=1, clicks=2, studies=1)
    learner = make_learner(settings)
    source = Mixture(OneStudy(), [], settings, learner.spacing)
    run = Run(Path(sys.argv[1]), settings, learner, source, world=world)
    run.step(0.5, run.draw(0))
    if world.leads:
        (Path(sys.argv[1]) / "loss.txt").write_text(f"{run.progress.step} {run.progress.loss}")
    world.leave()
