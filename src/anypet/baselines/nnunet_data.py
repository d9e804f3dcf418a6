"""Scans as an nnU-Net data set of one channel, the PET; nnU-Net's own fingerprint, plans and preprocessing.

A run's folder holds nnU-Net's three: raw, preprocessed and results.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from anypet.baselines.scans import Labelled
from anypet.errors import AnyPETError
from anypet.files import write_whole
from anypet.grids import resample
from anypet.io import write

NUMBER, DATASET = 1, "Dataset001_AnyPET"
CONFIGURATION, PLANS = "3d_fullres", "nnUNetPlans"


@contextlib.contextmanager
def nnunet_folders(run: Path, workers: int = 1) -> Iterator[None]:
    """Within it, nnU-Net looks into a run's folder, is quiet, and augments with so many processes (0: in its
    own); `nnUNet_n_proc_DA` of the environment goes first."""
    own = {
        "nnUNet_raw": str(run / "raw"),
        "nnUNet_preprocessed": str(run / "preprocessed"),
        "nnUNet_results": str(run / "results"),
    }
    own["nnUNet_n_proc_DA"] = os.environ.get("nnUNet_n_proc_DA", str(workers))  # noqa: SIM112
    with patch.dict(os.environ, own), contextlib.redirect_stdout(io.StringIO()):
        yield


def write_raw(run: Path, scans: Iterable[Labelled], quality: str) -> dict[str, int]:
    """Writes the scans as nnU-Net wants them, and gives the labels; nothing is done where they are there.

    Each PET is laid on the grid of its masks. dataset.json remembers the quality of the labels.

    Raises:
        AnyPETError: no scan has a target.
    """
    folder = run / "raw" / DATASET
    described = folder / "dataset.json"
    if described.exists():
        labels: dict[str, int] = json.loads(described.read_text())["labels"]
        return labels
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    classes: list[str] = []
    count = 0
    for pet, masks, grid in scans:
        classes += [name for name in masks if name not in classes]
        values: npt.NDArray[np.uint8] = np.zeros(grid.shape, dtype=np.uint8)
        for name, mask in masks.items():  # lesions come last, and lie over organs
            values[mask] = 1 + classes.index(name)
        image = pet if pet.same_grid(grid) else resample(pet, grid)
        write(image, folder / "imagesTr" / f"scan{count:04d}_0000.nii.gz")
        write(grid.with_array(values, unit="label"), folder / "labelsTr" / f"scan{count:04d}.nii.gz")
        count += 1
    if not classes:
        raise AnyPETError("there is no class to learn: no scan has a target")
    labels = {"background": 0, **{name: n for n, name in enumerate(classes, start=1)}}
    content = {
        "channel_names": {"0": "PET"},
        "labels": labels,
        "numTraining": count,
        "file_ending": ".nii.gz",
        "quality": quality,
    }
    write_whole(described, json.dumps(content, indent=1) + "\n")  # last: a folder with it is whole
    return labels


def plan_and_preprocess(
    run: Path, spacing: float | None = None, memory_gb: float | None = None, processes: int = 1
) -> dict[str, Any]:
    """nnU-Net's plans for the raw data set; nothing is done where it is preprocessed already.

    Args:
        run: the run's folder.
        spacing: isotropic millimetres of the network's voxels, in place of those that nnU-Net chooses.
        memory_gb: of the GPU that it plans for, in place of its own 8: less gives smaller patches.
        processes: that read and resample scans.
    """
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
        preprocess_dataset,
    )

    done = run / "preprocessed" / DATASET / "prepared.json"
    plans_file = done.with_name(f"{PLANS}.json")
    if not done.exists():
        with nnunet_folders(run):
            extract_fingerprint_dataset(
                NUMBER, num_processes=processes, verbose=False, show_progress_bar=False
            )
            plan_experiment_dataset(
                NUMBER,
                gpu_memory_target_in_gb=memory_gb,
                overwrite_target_spacing=None if spacing is None else (spacing,) * 3,
            )
            preprocess_dataset(
                NUMBER, PLANS, (CONFIGURATION,), (processes,), verbose=False, show_progress_bar=False
            )
        write_whole(done, "{}\n")
    plans: dict[str, Any] = json.loads(plans_file.read_text())
    return plans
