"""Task-specific networks: trained here on one list of classes, then run on whole scans without a prompt.

SegResNet and Swin UNETR are MONAI's. Both read asinh(SUV) on a grid of isotropic voxels along R, A, S, and
are trained by `train.py` for the same time on the same scans. nnU-Net and STU-Net: `nnunet_train.py`.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from anypet.baselines.base import Automatic, Loaded
from anypet.clicks import BoolArray
from anypet.errors import AnyPETError, WeightsError
from anypet.files import write_whole
from anypet.models.weights import load_strictly
from anypet.volume import Volume
from anypet.windows import Window, cut, lay

TITLES = {"segresnet": "SegResNet", "swinunetr": "SwinUNETR"}


@dataclass(frozen=True)
class TaskConfig:
    """What a network was trained for.

    Args:
        network: of `TITLES`.
        classes: names of its labels 1, 2, ...
        spacing: millimetres of its voxels.
        patch: voxels along a side of its patches; a multiple of 32, 64 or more for Swin UNETR.
        width: channels of its first stage; 0 takes the network's own default.
        quality: "HQ" or "all": which labels it learned from.
        data: what it learned from, as tables name it: "sts", "pool".
    """

    network: str
    classes: tuple[str, ...]
    spacing: float = 4.0
    patch: int = 64
    width: int = 0
    quality: str = "all"
    data: str = ""

    def __post_init__(self) -> None:
        if self.network not in TITLES:
            raise AnyPETError(f"no network is called {self.network!r}; known: {', '.join(TITLES)}")
        least = 32 if self.network == "segresnet" else 64  # Swin UNETR's deepest stage is a 32nd of it
        if self.patch < least or self.patch % 32:
            raise AnyPETError(
                f"the patch of {self.network} must be a multiple of 32 and at least {least}, got {self.patch}"
            )
        if not self.classes:
            raise AnyPETError("there is no class to learn: no scan has a target")


def build(config: TaskConfig) -> nn.Module:
    """The network with fresh weights: (B, 1, D, H, W) -> logits (B, 1 + classes, D, H, W)."""
    out = 1 + len(config.classes)
    if config.network == "segresnet":
        from monai.networks.nets import SegResNet

        return SegResNet(in_channels=1, out_channels=out, init_filters=config.width or 16)
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(in_channels=1, out_channels=out, feature_size=config.width or 24)


def save_task(path: Path, config: TaskConfig, network: nn.Module) -> None:
    """Writes weights with what they are for."""
    import io

    file = io.BytesIO()
    torch.save({"config": asdict(config), "state_dict": network.state_dict()}, file)
    write_whole(path, file.getvalue())


def read_task(path: Path) -> tuple[TaskConfig, nn.Module]:
    """A network that `save_task` wrote; nothing in the file is run.

    Raises:
        WeightsError: it is another file, or of another network.
    """
    from anypet.models.weights import DAMAGE

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        config = TaskConfig(**{**held["config"], "classes": tuple(held["config"]["classes"])})
    except (*DAMAGE, AnyPETError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{path} holds no network of `anypet train-baseline` ({error}); give its weights.pt"
        ) from error
    network = build(config)
    load_strictly(network, held["state_dict"], family=config.network)
    return config, network


def load_task(weights: Path, device: str) -> Loaded:
    """The network as an automatic system, named after what it learned from: "SegResNet (sts, HQ)"."""
    config, network = read_task(weights)
    model = TaskModel(config, network.to(device).eval().requires_grad_(False), device)
    learned = ", ".join(filter(None, (config.data, config.quality)))
    return [Automatic(f"{TITLES[config.network]} ({learned})", model.segment, config.classes)]


def grid_of(volume: Volume, spacing: float) -> Window:
    """Isotropic voxels along R, A, S that hold all of a scan."""
    ends = np.array([np.zeros(3), np.array(volume.shape) - 1.0])
    corners = volume.to_mm(np.stack(np.meshgrid(*ends.T, indexing="ij"), -1).reshape(-1, 3))
    low, high = corners.min(0), corners.max(0)
    shape = tuple(max(1, math.ceil(float(extent) / spacing) + 1) for extent in high - low)
    a, b, c = ((low + high) / 2).tolist()
    return Window((a, b, c), spacing, shape)  # type: ignore[arg-type]


def intensities(pet: Volume, window: Window) -> Tensor:
    """(1, 1, D, H, W): asinh of SUV on a window's voxels."""
    return torch.asinh(cut(pet, window).clamp(min=0))


class TaskModel:
    """A trained network on whole scans, tile by tile."""

    def __init__(self, config: TaskConfig, network: nn.Module, device: str) -> None:
        self._config, self._network, self._device = config, network, device

    @torch.inference_mode()
    def segment(self, pet: Volume) -> dict[str, BoolArray]:
        """Class -> (I, J, K) bool on the scan's grid; every voxel has one class or none."""
        from monai.inferers import sliding_window_inference

        window = grid_of(pet, self._config.spacing)
        logits: Any = sliding_window_inference(
            intensities(pet, window),
            (self._config.patch,) * 3,
            1,
            self._network,
            overlap=0.5,
            mode="gaussian",
            sw_device=self._device,
            device="cpu",
        )
        labels = self._highest(logits, window, pet)
        return {name: labels == n for n, name in enumerate(self._config.classes, start=1)}

    def _highest(self, logits: Tensor, window: Window, pet: Volume) -> npt.NDArray[np.uint8]:
        """The class of the highest logit in each voxel of the scan; class by class, for memory's sake."""
        best = np.full(pet.shape, -np.inf, dtype=np.float32)
        labels = np.zeros(pet.shape, dtype=np.uint8)
        for n in range(logits.shape[1]):
            values, box = lay(logits[:, n : n + 1], window, pet, outside=-1e4 if n else 0.0)
            laid = values[0, 0].numpy()
            higher = laid > best[box]
            best[box] = np.where(higher, laid, best[box])
            labels[box] = np.where(higher, n, labels[box])
        return labels
