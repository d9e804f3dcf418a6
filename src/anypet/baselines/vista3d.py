"""VISTA3D behind clicks: MONAI's network and its own windows around points, zero-shot.

The bundle's preparation is followed: voxels of 1.5 mm along R, A, S, windows of 128. It scales Hounsfield
units to 0..1; a PET has none, so its SUV are scaled from 0 to the 99.9th percentile of what lies above 0.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anypet.baselines.base import Loaded
from anypet.baselines.task import grid_of
from anypet.clicks import BoolArray, Voxel
from anypet.evaluation.protocol import System
from anypet.models.weights import load_state_dict, load_strictly
from anypet.volume import Volume
from anypet.windows import Window, cut, lay

SPACING, ROI = 1.5, 128
_LAST_SUPPORTED = 132  # classes above it are zero-shot


def load_vista3d(weights: Path, device: str, roi: int = ROI, spacing: float = SPACING) -> Loaded:
    """The network of the bundle's model.pt.

    Args:
        weights: a state dict; the network's width is read from it.
        device: where it runs.
        roi, spacing: of the windows; the bundle's own.

    Raises:
        WeightsError: the file is damaged or of another network.
    """
    from monai.networks.nets.vista3d import vista3d132

    state = load_state_dict(weights)
    first = state.get("image_encoder.encoder.conv_init.weight")
    network = vista3d132(encoder_embed_dim=48 if first is None else int(first.shape[0]), in_channels=1)
    load_strictly(network, state, family="vista3d")
    network = network.to(device).eval().requires_grad_(False)
    return [System("VISTA3D", partial(Clicked, network=network, device=device, roi=roi, spacing=spacing))]


class Clicked:
    """One object in one scan.

    Args:
        volume: SUVbw.
        network: shared by all objects.
        device: where it runs.
        roi: voxels of a window's side.
        spacing: millimetres of its voxels.
    """

    def __init__(self, volume: Volume, network: Any, device: str, roi: int, spacing: float) -> None:
        self._volume, self._network, self._device, self._roi = volume, network, device, (roi,) * 3
        self._window: Window = grid_of(volume, spacing)
        image = cut(volume, self._window)
        inside = image[image > 0]
        top = float(np.percentile(inside.numpy(), 99.9)) if len(inside) else 1.0
        self._image = (image / max(top, 1e-6)).clamp(0, 1).to(device)
        self._points: list[list[float]] = []
        self._labels: list[int] = []
        self._logits: Tensor | None = None

    @torch.inference_mode()
    def add_point(self, ijk: Voxel, positive: bool = True) -> BoolArray:
        """Adds a click at a voxel (i, j, k) and gives the (I, J, K) mask."""
        from monai.apps.vista3d.inferer import point_based_window_inferer

        index = self._window.to_index(self._volume.to_mm(ijk))
        self._points.append([float(v) for v in np.round(index)])
        self._labels.append(int(positive))
        found = point_based_window_inferer(
            inputs=self._image,
            roi_size=self._roi,
            predictor=self._network,
            point_coords=torch.tensor([self._points], device=self._device),
            point_labels=torch.tensor([self._labels], device=self._device),
            class_vector=None,
            prompt_class=torch.tensor([[_LAST_SUPPORTED + 1]], device=self._device),
            prev_mask=self._logits,
            point_start=len(self._points) - 1,
            transpose=True,
        )
        # where no window has been yet nothing is known: background
        self._logits = torch.nan_to_num(torch.as_tensor(found).as_subclass(Tensor), nan=-1e4)
        values, box = lay(self._logits.float(), self._window, self._volume, outside=-1e4)
        mask = np.zeros(self._volume.shape, dtype=bool)
        mask[box] = values[0, 0].numpy() > 0
        return mask
