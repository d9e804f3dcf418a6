"""Trains a task-specific network for a given time: same scans, same patches, same loss for each of them.

The loss is Dice and cross entropy, the optimiser AdamW with a rate that falls as a cosine over the budget.
Patches are drawn from (seed, step), so two networks see the same ones in the same order. A checkpoint is
written every minute; a run that was cut off goes on from there, and its time counts.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anypet.baselines.scans import TrainingScan, patch
from anypet.baselines.task import TaskConfig, build, save_task
from anypet.errors import AnyPETError
from anypet.files import write_whole

CHECKPOINT_S = 60.0


@dataclass(frozen=True)
class Budget:
    """When to stop: after so many minutes, or steps where these are given (for tests and comparisons)."""

    minutes: float = 60.0
    steps: int | None = None

    def share(self, seconds: float, step: int) -> float:
        """How much of it is used, 0 to 1."""
        return min(1.0, step / self.steps if self.steps else seconds / (60 * self.minutes))


@dataclass
class Progress:
    """How far a run is; `losses` are means of ten steps."""

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


def take_steps(
    progress: Progress,
    budget: Budget,
    step: Callable[[float], float],
    save: Callable[[], None],
    report: Callable[[Progress], None] | None = None,
) -> None:
    """Takes steps until the budget is used; saves every `CHECKPOINT_S` seconds and at the end.

    Args:
        progress: how far the run is; moved on in place.
        budget: when to stop.
        step: one step at a share of the budget (0 to 1) -> its loss.
        save: writes a checkpoint.
        report: called after each step.
    """
    recent: list[float] = []
    began, earlier = time.monotonic(), progress.seconds
    saved = began
    while (share := budget.share(progress.seconds, progress.step)) < 1:
        recent.append(step(share))
        progress.step += 1
        progress.seconds = earlier + time.monotonic() - began
        if len(recent) == 10:
            progress.losses.append(float(np.mean(recent)))
            recent.clear()
        if time.monotonic() - saved > CHECKPOINT_S:
            save()
            saved = time.monotonic()
        if report is not None:
            report(progress)
    save()


class BaselineRun:
    """One network being trained in a folder.

    Args:
        folder: gets checkpoint.pt, losses.csv and, at the end, weights.pt.
        config: of the network.
        scans: to learn from.
        rate: highest learning rate.
        batch: patches of a step.
        seed: of weights and patches.
        device: "cpu", "cuda", ...

    Raises:
        AnyPETError: no scan has a label.
    """

    def __init__(
        self,
        folder: Path,
        config: TaskConfig,
        scans: Sequence[TrainingScan],
        rate: float = 1e-3,
        batch: int = 2,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        if not any(scan.places for scan in scans):
            raise AnyPETError("none of the scans has a target; there is nothing to learn")
        self.folder, self.config, self._scans = folder, config, scans
        self._rate, self._batch, self._seed, self._device = rate, batch, seed, device
        torch.manual_seed(seed)
        self.network = build(config).to(device)
        self._optimiser = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=1e-5)
        self.progress = Progress()

    def resume(self) -> None:
        """Goes on from the folder's checkpoint; from the start where there is none."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        held = torch.load(path, map_location=self._device, weights_only=True)
        self.network.load_state_dict(held["network"])
        self._optimiser.load_state_dict(held["optimiser"])
        self.progress = Progress(held["step"], held["seconds"], held["losses"])

    def train(self, budget: Budget, report: Callable[[Progress], None] | None = None) -> Path:
        """Trains until the budget is used; gives the weights' file."""
        from monai.losses import DiceCELoss

        self.folder.mkdir(parents=True, exist_ok=True)
        loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        self.network.train()

        def step(share: float) -> float:
            return self._step(loss_of, self._rate * 0.5 * (1 + math.cos(math.pi * share)))

        take_steps(self.progress, budget, step, self._checkpoint, report)
        save_task(self.folder / "weights.pt", self.config, self.network.eval())
        return self.folder / "weights.pt"

    def _step(self, loss_of: Any, rate: float) -> float:
        rng = np.random.default_rng([self._seed, self.progress.step])
        drawn = [patch(self._scans, self.config.patch, rng) for _ in range(self._batch)]
        image, labels = (
            torch.from_numpy(np.stack([pair[n] for pair in drawn]))[:, None].to(self._device) for n in (0, 1)
        )
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of(self.network(image), labels)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12.0)
        self._optimiser.step()
        return float(loss.detach())

    def _checkpoint(self) -> None:
        file = io.BytesIO()
        held = {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "losses": self.progress.losses,
        }
        torch.save(held, file)
        write_whole(self.folder / "checkpoint.pt", file.getvalue())
        rows = [f"{10 * n},{loss:.5g}" for n, loss in enumerate(self.progress.losses, start=1)]
        write_whole(self.folder / "losses.csv", "\n".join(["step,loss", *rows]) + "\n")
