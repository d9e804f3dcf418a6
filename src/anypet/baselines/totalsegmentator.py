"""TotalSegmentator on the registered CT (the paper's Table 6): its own code, with weights that lie here.

Left to itself its package fetches missing weights, deletes older ones beside them, sends usage statistics and
unpickles checkpoints. Here it is shown a folder of its own with links to the weights alone and with the
statistics switched off, and each checkpoint is first read as tensors and plain values, which refuses any that
could run code.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch

from anypet.baselines.base import Automatic, Loaded
from anypet.clicks import BoolArray
from anypet.errors import WeightsError
from anypet.files import write_whole
from anypet.models.weights import read_checkpoint
from anypet.volume import Volume

TASK = "total"
# its resolutions, the one that the paper compares with first, and how they stand in tables
MODES = {"default": "", "fast": " 3 mm", "fastest": " 6 mm"}
# organs that it divides, as they are labelled in PET
UNIONS = {
    "left lung": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "right lung": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "kidneys": ("kidney_left", "kidney_right"),
    "bowel": ("small_bowel", "duodenum", "colon"),
}
# Where nnU-Net keeps their trainers; asked for one by name it imports them all, and some need torchvision.
_TRAINERS = {
    "nnUNetTrainerNoMirroring": "data_augmentation.nnUNetTrainerNoMirroring",
    "nnUNetTrainer_4000epochs_NoMirroring": "training_length.nnUNetTrainer_Xepochs_NoMirroring",
}
_CONFIG = '{"totalseg_id": "anypet", "send_usage_stats": false, "prediction_counter": 0, \
"statistics_disclaimer_shown": true}'


def load_totalsegmentator(weights: Path, device: str) -> Loaded:
    """Task `total` at the finest resolution that the folder holds the weights of.

    Args:
        weights: the folder that holds Dataset291_... to Dataset295_... (1.5 mm), Dataset297_... (3 mm) or
            Dataset298_... (6 mm), or TotalSegmentator's home with nnunet/results in it.
        device: where it runs.

    Raises:
        WeightsError: none of the three is whole, or a checkpoint is damaged or could run code.
    """
    mode, datasets = find_datasets(weights)
    for dataset in datasets:
        checkpoints = sorted(dataset.rglob("checkpoint_final.pth"))
        if not checkpoints:
            raise WeightsError(f"{dataset} holds no checkpoint_final.pth; fetch it again")
        for checkpoint in checkpoints:
            read_checkpoint(checkpoint)
    model = OnCT(datasets, mode, device)
    return [Automatic(f"TotalSegmentator{MODES[mode]} (CT)", model.segment)]


def find_datasets(weights: Path) -> tuple[str, list[Path]]:
    """The resolution, of `MODES`, and the folders of its networks.

    Raises:
        WeightsError: no resolution has all of its folders; the message names those of each.
    """
    from totalsegmentator.map_tasks_config import TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS

    wanted = {}
    for mode in MODES:
        numbers = TASK_CONFIGS[TASK]["sub_modes"][mode]["task_id"]
        numbers = numbers if isinstance(numbers, list) else [numbers]
        wanted[mode] = [TASK_ID_WEIGHTS_CONFIGS[n]["foldername"] for n in numbers]
    for folder in (weights, weights / "nnunet" / "results"):
        for mode, names in wanted.items():
            if all((folder / name).is_dir() for name in names):
                return mode, [folder / name for name in names]
    raise WeightsError(
        f"{weights} holds no whole set of TotalSegmentator's networks: expected the folders "
        f"{'; or '.join(', '.join(names) for names in wanted.values())} "
        f"(`totalseg_download_weights -t {TASK}` fetches them)"
    )


class OnCT:
    """TotalSegmentator on whole CTs.

    Args:
        datasets: folders of its networks.
        mode: of `MODES`.
        device: "cpu", "cuda", "cuda:1" or "mps".
    """

    def __init__(self, datasets: list[Path], mode: str, device: str) -> None:
        self._mode = mode
        self._device = device.replace("cuda", "gpu")
        self._home = TemporaryDirectory(prefix="anypet-totalsegmentator-")
        results = Path(self._home.name) / "nnunet" / "results"
        results.mkdir(parents=True)
        for dataset in datasets:
            (results / dataset.name).symlink_to(dataset.resolve(), target_is_directory=True)
        write_whole(Path(self._home.name) / "config.json", _CONFIG)

    def segment(self, ct: Volume) -> Organs:
        """A CT in HU -> its classes, and those of `UNIONS`, as (I, J, K) bool on the CT's grid."""
        from totalsegmentator.map_to_binary import class_map
        from totalsegmentator.python_api import totalsegmentator

        image = nib.Nifti1Image(np.asarray(ct.array, dtype=np.float32), ct.affine)
        with self._own_home(), contextlib.redirect_stdout(io.StringIO()):
            found: Any = totalsegmentator(
                image,
                None,
                ml=True,
                task=TASK,
                fast=self._mode == "fast",
                fastest=self._mode == "fastest",
                device=self._device,
                quiet=True,
                nr_thr_resamp=1,
                nr_thr_saving=1,
            )
        return Organs(np.asarray(found.dataobj).astype(np.uint8), class_map[TASK])

    @contextlib.contextmanager
    def _own_home(self) -> Iterator[None]:
        """Within it, the package sees our folder, and takes as many threads as torch has been given: on CPUs
        it would take all."""
        from totalsegmentator.map_tasks_config import TASK_CONFIGS

        home = self._home.name
        own = {"TOTALSEG_HOME_DIR": home, "TOTALSEG_WEIGHTS_PATH": str(Path(home) / "nnunet" / "results")}
        threads = torch.get_num_threads()
        with patch.dict(os.environ, own), patch("multiprocessing.cpu_count", lambda: threads):
            from totalsegmentator.nnunet import custom_trainers  # reads the environment

            name = TASK_CONFIGS[TASK]["sub_modes"][self._mode]["trainer"]
            module = importlib.import_module(f"nnunetv2.training.nnUNetTrainer.variants.{_TRAINERS[name]}")
            with patch.dict(custom_trainers, {name: getattr(module, name)}):
                yield


class Organs(Mapping[str, BoolArray]):
    """The mask of each class, or of several joined, made when it is asked for: all 117 would fill the memory.

    Args:
        labels: (I, J, K), values of the classes.
        names: value -> class.
    """

    def __init__(self, labels: npt.NDArray[np.uint8], names: Mapping[int, str]) -> None:
        self._labels = labels
        self._values = {name: [value] for value, name in names.items()}
        for name, parts in UNIONS.items():
            self._values[name] = [self._values[part][0] for part in parts]

    def __getitem__(self, name: str) -> BoolArray:
        mask: BoolArray = np.isin(self._labels, self._values[name])
        return mask

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
