"""SAM and MedSAM, slice by slice: the network of transformers, with weights in its format.

Slices go in as three equal grey channels. Intensities are cut at the 0.5th and 99.5th percentile of what lies
above 0, as MedSAM prepares all but CT, and scaled to 0..255. SAM then takes them with its longer side at the
network's size, ImageNet's mean and deviation, and a margin of zeros; MedSAM takes them as a square from 0 to
1. Every point goes in with all before it and the logits so far; of the three masks that SAM proposes for a
lone point the one that it rates best is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from anypet.baselines.base import Loaded, hidden_if_broken
from anypet.baselines.slices import SliceBySlice
from anypet.clicks import BoolArray
from anypet.errors import WeightsError
from anypet.evaluation.protocol import System

Style = Literal["sam", "medsam"]
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def load_sam(weights: Path, device: str, title: str, style: Style) -> Loaded:
    """The network with N, 3N and 5N points.

    Args:
        weights: folder with config.json and model.safetensors.
        device: where it runs.
        title: name in tables.
        style: how slices are prepared.

    Raises:
        WeightsError: the folder holds no such network, or not all of its weights.
    """
    transformers = import_transformers()
    try:
        loaded: Any = transformers.SamModel.from_pretrained(
            weights, local_files_only=True, output_loading_info=True, use_safetensors=True
        )
        network, report = loaded
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{weights} is no folder of SAM in transformers' format (config.json, model.safetensors): {error}"
        ) from error
    lost = sorted(key for key in report["missing_keys"] if "shared_image_embedding" not in key)
    if lost:
        raise WeightsError(f"{weights} lacks {len(lost)} of SAM's weights, such as {lost[0]}")
    model = Sam(network.to(device).eval().requires_grad_(False), style)
    return [
        System(f"{title}, {'' if each == 1 else each}N points", told=SliceBySlice(model, each))
        for each in (1, 3, 5)
    ]


def import_transformers() -> Any:
    """The package, with the classes of SAM loaded, whether or not torchvision can be imported.

    It remembers from its first import, which may not have been ours, whether torchvision is there.
    """
    with hidden_if_broken("torchvision"):
        import transformers
        from transformers.utils import import_utils

        for check in vars(import_utils).values():
            if hasattr(check, "cache_clear"):
                check.cache_clear()
        assert transformers.SamModel is not None  # loaded when first named
    return transformers


class Sam:
    """A `SliceModel` of a SAM network in evaluation mode."""

    def __init__(self, network: Any, style: Style) -> None:
        self.network, self.style = network, style
        self.size = int(network.config.vision_config.image_size)

    def scale(self, suv: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """SUVbw (I, J, K) -> 0..255."""
        inside = suv[suv > 0]
        if not inside.size:
            return np.zeros(suv.shape, dtype=np.float32)
        low, high = np.percentile(inside, [0.5, 99.5])
        scaled = (np.clip(suv, low, high) - low) / max(float(high - low), 1e-6) * 255
        return np.asarray(scaled, dtype=np.float32)

    @torch.inference_mode()
    def begin(self, plane: npt.NDArray[np.float32]) -> SamSlice:
        """A slice (rows, columns) of 0..255, encoded."""
        image = torch.from_numpy(plane)[None, None].to(self.network.device)
        rows, columns = plane.shape
        if self.style == "medsam":
            size = (self.size, self.size)
        else:
            longer = self.size / max(plane.shape)
            size = (round(rows * longer), round(columns * longer))
        image = F.interpolate(image, size, mode="bilinear", align_corners=False).expand(1, 3, *size)
        if self.style == "medsam":
            image = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-8)
        else:
            mean, deviation = (
                torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (_MEAN, _DEVIATION)
            )
            image = F.pad((image - mean) / deviation, (0, self.size - size[1], 0, self.size - size[0]))
        return SamSlice(self, self.network.get_image_embeddings(image), (rows, columns), size)


class SamSlice:
    """One object in one encoded slice.

    Args:
        model: whose slice it is.
        embedding: of its network.
        shape: rows and columns of the slice.
        size: what they were scaled to.
    """

    def __init__(self, model: Sam, embedding: Tensor, shape: tuple[int, int], size: tuple[int, int]) -> None:
        self._model, self._embedding, self._shape, self._size = model, embedding, shape, size
        self._points: list[tuple[float, float]] = []
        self._labels: list[int] = []
        self._logits: Tensor | None = None

    @torch.inference_mode()
    def add_point(self, row: int, column: int, positive: bool) -> BoolArray:
        """Adds a point and gives the (rows, columns) mask."""
        scale = [size / n for size, n in zip(self._size, self._shape, strict=True)]
        # SAM's points are (x, y) from the corner of the scaled slice
        self._points.append(((column + 0.5) * scale[1], (row + 0.5) * scale[0]))
        self._labels.append(int(positive))
        device = self._embedding.device
        several = self._logits is None
        found = self._model.network(
            image_embeddings=self._embedding,
            input_points=torch.tensor([[self._points]], dtype=torch.float32, device=device),
            input_labels=torch.tensor([[self._labels]], device=device),
            input_masks=self._logits,
            multimask_output=several,
        )
        best = int(found.iou_scores[0, 0].argmax()) if several else 0
        self._logits = found.pred_masks[:, 0, best : best + 1]
        square = (self._model.size, self._model.size)
        logits = F.interpolate(self._logits, square, mode="bilinear", align_corners=False)
        logits = logits[..., : self._size[0], : self._size[1]]
        logits = F.interpolate(logits, self._shape, mode="bilinear", align_corners=False)
        mask: BoolArray = (logits[0, 0] > 0).cpu().numpy()
        return mask
