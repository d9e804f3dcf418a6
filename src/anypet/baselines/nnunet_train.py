"""nnU-Net and STU-Net trained by nnU-Net's own trainer, for a given time.

Plans, patches, augmentation, loss, optimiser and step are the trainer's; its rate falls with the power of 0.9
as it does there, over the budget in place of its 1000 epochs. There are no folds: it learns from all scans,
and the last weights count. A checkpoint is written every minute, and a run that was cut off goes on from it
with other patches than it would have seen.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anypet.baselines.nnunet_data import CONFIGURATION, DATASET, PLANS, nnunet_folders
from anypet.baselines.stunet import plan_stunet
from anypet.baselines.train import Budget, Progress, take_steps
from anypet.errors import AnyPETError
from anypet.files import write_whole
from anypet.models.weights import read_checkpoint

NETWORKS = ("nnunet", "stunet")
FOLD = "all"


class NnunetRun:
    """A network being trained on a data set that `nnunet_data` prepared.

    Args:
        folder: of the run; `weights` in it gets what `anypet benchmark` takes, losses.csv the losses.
        network: of `NETWORKS`.
        plans: of `plan_and_preprocess`.
        width: channels of STU-Net's first stage; 0 takes its small size's.
        seed: of weights and patches.
        device: "cpu", "cuda", ...

    Raises:
        AnyPETError: the scans are so small or coarse that nnU-Net plans a network without any pooling.
    """

    def __init__(
        self,
        folder: Path,
        network: str,
        plans: dict[str, Any],
        width: int = 0,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        self.folder, self._seed = folder, seed
        self.progress = Progress()
        self._workers = 0 if device == "cpu" else max(1, min(8, (os.cpu_count() or 2) - 1))
        if network == "stunet":
            plans = plan_stunet(plans, CONFIGURATION, width)
        strides = plans["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"]["strides"]
        if len(strides) < 2:  # the loss of its trainer would be NaN
            raise AnyPETError(
                f"{folder}: nnU-Net plans a network without pooling for such small scans; "
                "give a finer --spacing"
            )
        described = json.loads((folder / "raw" / DATASET / "dataset.json").read_text())
        self._seeded()
        with nnunet_folders(folder, self._workers):
            # nnU-Net takes "continue_training" out again; it concerns its logger alone
            self._trainer: Any = nnUNetTrainer(
                {**plans, "continue_training": False}, CONFIGURATION, FOLD, described, torch.device(device)
            )
            self._trainer.initialize()

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pth"

    def resume(self) -> None:
        """Goes on from the folder's checkpoint; from the start where there is none.

        Raises:
            WeightsError: it is damaged, or holds more than tensors and plain values.
        """
        if not self._checkpoint.exists():
            return
        read_checkpoint(self._checkpoint)  # nnU-Net unpickles it
        self._trainer.load_checkpoint(str(self._checkpoint))
        self.progress = Progress(**json.loads((self.folder / "progress.json").read_text()))

    def train(self, budget: Budget, report: Callable[[Progress], None] | None = None) -> Path:
        """Trains until the budget is used; gives the folder of weights that nnU-Net and we can load."""
        trainer = self._trainer
        self._seeded()
        with nnunet_folders(self.folder, self._workers):
            trainer.on_train_start()
            trainer.network.train()

        def step(share: float) -> float:
            for group in trainer.optimizer.param_groups:
                group["lr"] = trainer.initial_lr * (1 - share) ** 0.9
            return float(trainer.train_step(next(trainer.dataloader_train))["loss"])

        take_steps(self.progress, budget, step, self._save, report)
        with nnunet_folders(self.folder):
            trainer.on_train_end()
        return self._publish()

    def _seeded(self) -> None:
        """nnU-Net draws weights and patches from the libraries' global generators."""
        seed = self._seed + 1_000_003 * self.progress.step
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)

    def _save(self) -> None:
        self._trainer.current_epoch = self.progress.step - 1  # saved as one more
        part = self._checkpoint.with_suffix(".part")
        self._trainer.save_checkpoint(str(part))
        part.replace(self._checkpoint)
        write_whole(self.folder / "progress.json", json.dumps(asdict(self.progress)))
        rows = [f"{10 * n},{loss:.5g}" for n, loss in enumerate(self.progress.losses, start=1)]
        write_whole(self.folder / "losses.csv", "\n".join(["step,loss", *rows]) + "\n")

    def _publish(self) -> Path:
        """Lays out plans.json, dataset.json and fold_all/checkpoint_final.pth as nnU-Net does."""
        weights = self.folder / "weights"
        results = self.folder / "results" / DATASET / f"nnUNetTrainer__{PLANS}__{CONFIGURATION}"
        (weights / f"fold_{FOLD}").mkdir(parents=True, exist_ok=True)
        for name in ("plans.json", "dataset.json"):
            write_whole(weights / name, (results / name).read_text())
        fold = Path(f"fold_{FOLD}") / "checkpoint_final.pth"
        os.replace(results / fold, weights / fold)
        return weights
