"""What a run leaves in its folder: settings, environment, log, curve, weights.

- `settings.json`: every setting;
- `environment.json`: versions, processor, git commit;
- `log.csv`: means over 25 steps of loss and DSC; `curve.png`: the same as a picture;
- `validation.csv`: DSC of the validation windows; `best.safetensors` and `samples.png`: of the best of them;
- `events.out.tfevents...`: the same for TensorBoard, where it is installed;
- `checkpoint.pt`: to go on from; `weights.safetensors`: what `load_model` takes.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from anypet.training.config import LesionSettings, RunSettings, Settings

COLUMNS = ("loss", "parts", "dice_first", "dice_last", "rectified")
ROW_EVERY = 25


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name first, one of this process's own: several may write the same."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(text)
    os.replace(partial, path)


def environment() -> dict[str, str]:
    """Versions of what computes, the processor, and the commit where the package lies in a git clone."""
    found = {name: metadata.version(name) for name in ("anypet", "torch", "numpy")}
    found |= {"python": platform.python_version(), "machine": platform.machine()}
    found["threads"] = str(torch.get_num_threads())
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    here = Path(__file__).parent
    with contextlib.suppress(OSError, subprocess.CalledProcessError):  # where it is installed from a wheel
        found["commit"] = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],  # noqa: S607 - wherever git is
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    return found


class Record:
    """Writes the folder of a run.

    Args:
        folder: made if it is not there.
        settings: of the run.
    """

    def __init__(self, folder: Path, settings: RunSettings) -> None:
        self.folder, self.settings = folder, settings
        self._rows: list[dict[str, float]] = []
        self._events: Any = None
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "settings.json", json.dumps(settings.model_dump(), indent=1))
        write_text(folder / "environment.json", json.dumps(environment(), indent=1))

    def begin(self, step: int) -> None:
        """Drops rows past the step from which the run goes on: they are made again (all, in a new run)."""
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.folder), purge_step=step)
        except ImportError:
            self._events = None
        path = self.folder / "log.csv"
        if not path.is_file():
            return
        head, *rows = path.read_text().splitlines(keepends=True) or [""]
        kept = [row for row in rows if int(row.split(",", 1)[0]) <= step]
        if kept:
            write_text(path, head + "".join(kept))
        else:
            path.unlink()

    def step(self, progress: Any) -> None:
        """Takes the scores of a step; every so many it writes their means."""
        self._rows.append({k: float(v) for k, v in vars(progress).items()})
        if int(progress.step) % ROW_EVERY == 0:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        path = self.folder / "log.csv"
        new = not path.exists()
        last = self._rows[-1]
        means = {k: _mean([r[k] for r in self._rows]) for k in COLUMNS}
        with path.open("a", newline="") as handle:
            writer = csv.writer(handle)
            if new:
                writer.writerow(["step", "minutes", *COLUMNS])
            minutes = f"{last['seconds'] / 60:.2f}"
            writer.writerow([int(last["step"]), minutes, *(f"{means[k]:.4f}" for k in COLUMNS)])
        if self._events is not None:
            for name, value in means.items():
                self._events.add_scalar(name, value, int(last["step"]))
        self._rows = []

    def validated(self, step: int, first: float, last: float) -> None:
        """Notes the DSC of the validation windows after the first and the last click."""
        path = self.folder / "validation.csv"
        head = "" if path.is_file() else "step,dice_first,dice_last\n"
        with path.open("a") as handle:
            handle.write(f"{head}{step},{first:.4f},{last:.4f}\n")
        if self._events is not None:
            self._events.add_scalar("validation/dice_first", first, step)
            self._events.add_scalar("validation/dice_last", last, step)

    def finish(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Writes the last rows, the weights and the curve."""
        self._flush()
        if self._events is not None:
            self._events.close()
        self.export(weights, step, self.folder / "weights.safetensors")
        if (self.folder / "log.csv").is_file():  # not where the budget was spent before the first step
            plot_curve(self.folder / "log.csv", self.folder / "curve.png")

    def export(self, weights: Mapping[str, Tensor], step: int, path: Path) -> None:
        """Weights of a learner as float16 safetensors that `load_model` takes."""
        tensors = {k.removeprefix("net."): v.half().contiguous().cpu() for k, v in weights.items()}
        header = {
            "family": self.settings.family,
            "name": self.settings.name,
            "steps": str(step),
            "seed": str(self.settings.seed),
        }
        if isinstance(self.settings, Settings | LesionSettings) and self.settings.family != "segany":
            header["config"] = json.dumps(self.settings.network.to_dict())
        partial = path.with_suffix(".part")
        save_file(tensors, partial, metadata=header)
        os.replace(partial, path)


def _mean(values: list[float]) -> float:
    """Of the numbers among them; NaN where a batch had nothing to score."""
    found = [v for v in values if v == v]
    return float(np.mean(found)) if found else float("nan")


def plot_curve(log_csv: Path, picture: Path) -> None:
    """The learning curve of a run: loss, and DSC after the first and the last prompt of the loop."""
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
