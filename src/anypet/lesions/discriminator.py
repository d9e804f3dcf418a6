"""Which tracer was injected, told from a coronal maximum intensity projection: the MIP-CNN.

After Mesbah et al. (arXiv 2410.02807): a small network looks at the PET from the front. Two things differ.
The projection is scaled so that a scan from head to thigh fits (brain and salivary glands tell the tracers
apart; at the paper's 3 mm, 224 pixels end at the chin and the bladder), and SUVs go in as their asinh. And a
probability comes out, with a band in which nobody should be sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anypet.errors import AnyPETError
from anypet.models.registry import load_named
from anypet.models.weights import load_strictly
from anypet.volume import Volume
from anypet.windows import Window, cut

PIXEL_MM, SIDE = 4.5, 224
UNSURE = (0.1, 0.9)  # probabilities of PSMA between which both tracers must be reckoned with
LEAST_MM = 500.0  # length of body below which the picture is called a crop
SKIN_SUV = 0.1


@dataclass(frozen=True)
class TracerGuess:
    """What the discriminator says of a scan.

    Args:
        psma: probability of PSMA; that of FDG is the rest.
        seen_mm: length of body along the patient in the scan.
    """

    psma: float
    seen_mm: float

    @property
    def tracer(self) -> str:
        """ "FDG", "PSMA", or "" where it is not sure."""
        low, high = UNSURE
        return "FDG" if self.psma < low else "PSMA" if self.psma > high else ""

    @property
    def is_crop(self) -> bool:
        """Whether the scan shows so little of the body that the guess may be worth little."""
        return self.seen_mm < LEAST_MM

    def __str__(self) -> str:
        name = self.tracer or "unsure, both are used"
        crop = f"; only {self.seen_mm:.0f} mm of the body are seen" if self.is_crop else ""
        return f"{name} (FDG {1 - self.psma:.2f}, PSMA {self.psma:.2f}{crop})"


class MipCNN(nn.Module):
    """Five convolutions that halve the picture, one that takes all of it, five linear layers."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(1, 8, 8, 2, 3), (8, 16, 3, 2, 0), (16, 32, 3, 2, 0), (32, 64, 3, 2, 0), (64, 128, 3, 2, 0)]
        layers: list[nn.Module] = []
        for a, b, kernel, stride, padding in sizes:
            layers += [nn.Conv2d(a, b, kernel, stride, padding), nn.ReLU()]
        layers += [nn.Conv2d(128, 256, 6), nn.ReLU(), nn.Flatten()]
        for a, b in ((256, 128), (128, 64), (64, 16), (16, 4)):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(4, 1))
        for layer in self.layers:
            # ten layers without normalisation lose the signal when they start as torch starts them
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                layer.bias.data.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 1, 224, 224), see `picture` -> logits of PSMA (B,)."""
        return self.layers(x)[:, 0]


def picture(mip: npt.NDArray[np.floating], pixel_mm: tuple[float, float]) -> Tensor:
    """A projection (R, S) of SUVbw -> float32 (1, 224, 224) of asinh SUV at `PIXEL_MM`, in the middle."""
    image = torch.from_numpy(np.ascontiguousarray(mip, dtype=np.float32))[None, None]
    size = [max(1, round(n * mm / PIXEL_MM)) for n, mm in zip(mip.shape, pixel_mm, strict=True)]
    image = torch.asinh(F.interpolate(image, size=size, mode="area"))[0]
    for axis in (1, 2):
        surplus = image.shape[axis] - SIDE
        image = image.narrow(axis, max(0, surplus // 2), min(SIDE, image.shape[axis]))
    missing = [SIDE - n for n in image.shape[1:]]
    (a, b), (c, d) = ((m // 2, m - m // 2) for m in missing)
    return F.pad(image, (c, d, a, b))


def coronal_mip(pet: Volume, spacing: float = 4.0) -> npt.NDArray[np.float32]:
    """Maximum along the patient's front-to-back axis: (R, S) at `spacing` mm, whatever the stored order."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in pet.shape], indexing="ij")).reshape(3, -1).T
    ends = pet.to_mm(corners)
    low, high = ends.min(0), ends.max(0)
    r, a, s = (max(1, round(float(v) / spacing) + 1) for v in high - low)
    middle = (low + high) / 2
    rows = []
    for start in range(0, s, 64):  # in slabs: a scan of 100 million voxels is never held twice
        n = min(64, s - start)
        centre = middle[2] + ((start + (n - 1) / 2) - (s - 1) / 2) * spacing
        slab = Window((float(middle[0]), float(middle[1]), float(centre)), spacing, (r, a, n))
        rows.append(cut(pet, slab)[0, 0].amax(1).numpy())
    return np.concatenate(rows, axis=1)


@cache
def load_discriminator(weights: str | Path | None = None) -> MipCNN:
    """The network with weights from a file, or with the packaged ones.

    Raises:
        WeightsError: they are not of this network.
    """
    path, state, _ = load_named("tracer", weights)
    net = MipCNN()
    load_strictly(net, state, f"tracer discriminator ({path})")
    return net.eval()


@torch.inference_mode()
def guess_tracer(pet: Volume, net: MipCNN | None = None) -> TracerGuess:
    """FDG or PSMA, from the scan alone.

    Args:
        pet: SUVbw, any orientation.
        net: the discriminator; the packaged one without.

    Raises:
        AnyPETError: the scan is not in SUVbw.
    """
    if pet.unit != "SUVbw":
        raise AnyPETError(f"the tracer is told from SUVbw, this scan is in {pet.unit}; convert it first")
    mip = coronal_mip(pet)
    body = np.flatnonzero((mip > SKIN_SUV).any(0))
    seen = 4.0 * float(body[-1] - body[0] + 1) if body.size else 0.0
    logit = (net or load_discriminator())(picture(mip, (4.0, 4.0))[None])
    return TracerGuess(float(torch.sigmoid(logit)[0]), seen)
