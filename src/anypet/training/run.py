"""A training run: pool, batches, optimiser, checkpoints, log, curve, export."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from anypet.errors import AnyPETError
from anypet.models.compact.network import CompactNet
from anypet.models.weights import load_state_dict, load_strictly
from anypet.training.click_loop import LoopSettings, run_loop
from anypet.training.config import Settings
from anypet.training.patches import Patch, augment, draw_patch
from anypet.training.pool import Pool
from anypet.training.real import RealCases

log = logging.getLogger(__name__)
CHECKPOINT_EVERY_S = 240.0
REPORT_EVERY = 25
COLUMNS = ("loss", "parts", "dice_first", "dice_last")


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    dice_first: float = math.nan
    dice_last: float = math.nan
    parts: float = math.nan


def learning_rate(settings: Settings, share: float, step: int) -> float:
    """Warm-up over 100 steps, then a cosine to 1 % over the time budget (`share` of it is spent)."""
    warm = min(1.0, (step + 1) / 100)
    return settings.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


class Run:
    """One run in a folder: `checkpoint.pt`, `log.csv`, `curve.png`, `settings.json`, `weights.safetensors`.

    Args:
        folder: where everything is written.
        settings: of the run.
        pool: simulated studies; may grow while training.
        real: real cases, or None.
        start: weights (.safetensors) to start from.
        device: where the network is trained; patches and clicks are made on the CPU.

    Raises:
        WeightsError: `start` is no weights file, or of another network than the settings'.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        pool: Pool,
        real: RealCases | None = None,
        start: Path | None = None,
        device: str | torch.device = "cpu",
    ):
        torch.manual_seed(settings.seed)
        self.folder, self.settings, self.pool, self.real = folder, settings, pool, real
        self.net = CompactNet(settings.network)
        if start is not None:
            load_strictly(self.net, load_state_dict(start), "compact")
        self.net = self.net.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.progress = Progress()
        self.loop = LoopSettings(
            settings.clicks,
            settings.gradient_clicks,
            settings.box_share,
            settings.previous_share,
            settings.repeat_share,
            settings.half,
        )
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "settings.part"
        partial.write_text(json.dumps(settings.model_dump(), indent=1))
        os.replace(partial, folder / "settings.json")

    def draw(self, step: int) -> list[Patch]:
        """The augmented patches of a step: the same whenever asked for, as long as the pool is the same."""
        settings, rng = self.settings, np.random.default_rng((self.settings.seed, step, 0))
        real = self.real if self.real is not None and len(self.real) else None
        patches: list[Patch] = []
        while len(patches) < settings.batch:
            if real and (not len(self.pool) or rng.random() < settings.real_share):
                patch = real.draw(rng)
            else:
                study = self.pool[int(rng.integers(len(self.pool)))]
                patch = draw_patch(study, settings.window, rng, settings.organ_share, settings.targets)
            if patch is not None:
                patches.append(augment(patch, rng))
        return patches

    def step(self, share: float, patches: list[Patch]) -> None:
        """One optimiser step; `share` of the time budget is spent."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, share, self.progress.step)
        rng = np.random.default_rng((self.settings.seed, self.progress.step, 1))
        done = run_loop(self.net, patches, self.loop, rng)
        loss = done.loss + self.settings.parts_weight * done.parts
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.gradient_clip)
        if not torch.isfinite(norm):  # a step with it would spoil every weight
            at = f"at step {self.progress.step}: loss {float(loss.detach())}, gradient {float(norm)}"
            raise AnyPETError(f"training has diverged {at}; go on with --resume and a lower learning_rate")
        self.optimiser.step()
        decay = min(self.settings.ema, (1 + self.progress.step) / (10 + self.progress.step))
        for key, value in self.net.state_dict().items():
            self.average[key].lerp_(value, 1 - decay)
        self.progress.step += 1
        self.progress.loss, self.progress.parts = float(done.loss.detach()), float(done.parts.detach())
        self.progress.dice_first, self.progress.dice_last = float(done.first.mean()), float(done.last.mean())

    def train(self, minutes: float, report: Callable[[Progress], None] | None = None) -> None:
        """Steps until the budget (earlier, resumed time counts) is spent; then exports.

        Raises:
            AnyPETError: there is nothing to train on, or the loss is not finite.
        """
        if not len(self.pool) and not (self.real and len(self.real)):
            raise AnyPETError("nothing to train on: the pool is empty and there is no real case")
        self.net.train()
        self._cut_log()
        started, saved = time.monotonic() - self.progress.seconds, time.monotonic()
        rows: list[Progress] = []
        with ThreadPoolExecutor(1) as ahead:  # the next batch is cut while the network learns from this one
            coming = ahead.submit(self.draw, self.progress.step)
            while self.progress.seconds < minutes * 60:
                patches = coming.result()
                coming = ahead.submit(self.draw, self.progress.step + 1)
                self.step(self.progress.seconds / (minutes * 60), patches)
                self.progress.seconds = time.monotonic() - started
                rows.append(Progress(**vars(self.progress)))
                if self.progress.step % REPORT_EVERY == 0:
                    self._write_rows(rows)
                    rows = []
                    self.pool.refresh()
                    if report:
                        report(self.progress)
                if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                    self.save_checkpoint()
                    saved = time.monotonic()
        self._write_rows(rows)
        self.save_checkpoint()
        self.export(self.folder / "weights.safetensors")
        if (self.folder / "log.csv").is_file():  # not where the budget was spent before the first step
            plot_curve(self.folder / "log.csv", self.folder / "curve.png")

    def _cut_log(self) -> None:
        """Drops rows past the step from which the run goes on: they are made again (all, in a new run)."""
        path = self.folder / "log.csv"
        if not path.is_file():
            return
        head, *rows = path.read_text().splitlines(keepends=True) or [""]
        kept = [row for row in rows if int(row.split(",", 1)[0]) <= self.progress.step]
        if len(kept) == len(rows):
            return
        if not kept:
            path.unlink()
            return
        partial = path.with_suffix(".part")
        partial.write_text(head + "".join(kept))
        os.replace(partial, path)

    def _write_rows(self, rows: list[Progress]) -> None:
        """Appends the means of the last steps to `log.csv`."""
        if not rows:
            return
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as handle:
            writer = csv.writer(handle)
            if new:
                writer.writerow(["step", "minutes", *COLUMNS])
            means = [float(np.mean([getattr(r, k) for r in rows])) for k in COLUMNS]
            writer.writerow([rows[-1].step, f"{rows[-1].seconds / 60:.2f}", *(f"{m:.4f}" for m in means)])

    def save_checkpoint(self) -> None:
        """Everything needed to go on, written under a temporary name first."""
        state: dict[str, Any] = {
            "net": self.net.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "progress": vars(self.progress),
        }
        partial = self.folder / "checkpoint.part"
        torch.save(state, partial)
        os.replace(partial, self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Goes on where `checkpoint.pt` ended.

        Raises:
            AnyPETError: there is no checkpoint.
        """
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            raise AnyPETError(f"nothing to resume: no {path}; leave --resume out to start anew")
        state = torch.load(path, weights_only=True, map_location=self.net.device)
        self.net.load_state_dict(state["net"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])

    def export(self, path: Path) -> None:
        """The averaged weights as float16 safetensors that `load_model` takes."""
        tensors = {k: v.half().contiguous().cpu() for k, v in self.average.items()}
        metadata = {
            "family": "compact",
            "name": self.settings.name,
            "config": json.dumps(self.settings.network.to_dict()),
            "steps": str(self.progress.step),
            "seed": str(self.settings.seed),
        }
        partial = path.with_suffix(".part")
        save_file(tensors, partial, metadata=metadata)
        os.replace(partial, path)


def plot_curve(log_csv: Path, picture: Path) -> None:
    """The learning curve of a run: loss, and DSC after the first and the last click of the loop."""
    from matplotlib.figure import Figure

    rows = np.genfromtxt(log_csv, delimiter=",", names=True)
    rows = np.atleast_1d(rows)
    width = max(1, len(rows) // 60)
    smooth = lambda v: np.convolve(v, np.ones(width) / width, mode="valid")  # noqa: E731
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(smooth(rows["step"]), smooth(rows["loss"]))
    left.set(xlabel="step", ylabel="Dice + cross entropy")
    for name, label in (("dice_first", "first prompt"), ("dice_last", "last prompt")):
        right.plot(smooth(rows["step"]), smooth(rows[name]), label=label)
    right.set(xlabel="step", ylabel="DSC of training patches")
    right.legend()
    partial = picture.with_suffix(".part")
    figure.savefig(partial, dpi=120, format="png")
    os.replace(partial, picture)
