"""A short run in a process of its own, alone or under torchrun: `small_run.py FOLDER STEPS [--slow]`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from toys import TINY, OneStudy, tiny_learner

from anypet.training.config import Settings
from anypet.training.distributed import join_world
from anypet.training.run import Run
from anypet.training.sources import Mixture

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, steps, slow = Path(sys.argv[1]), int(sys.argv[2]), "--slow" in sys.argv
    world = join_world("cpu")
    settings = Settings(**TINY)
    run = Run(folder, settings, tiny_learner(), Mixture(OneStudy(), [], settings), world=world)
    if (folder / "checkpoint.pt").is_file():
        run.resume()
    losses = []
    while run.progress.step < steps:
        run.step(run.progress.step / steps, run.draw(run.progress.step))
        losses.append(run.progress.loss)
        if run.progress.step == 5 and world.leads:
            run.save_checkpoint()
        if slow:
            time.sleep(0.2)
    if world.leads:
        (folder / "losses.json").write_text(json.dumps(losses))
        run.record.finish(run.average, steps)
    world.leave()
