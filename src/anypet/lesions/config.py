"""Sizes of the lesion networks, and what their organ heads tell apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

CHANNELS = ("pet", "ct", "clicks", "tracer")

# The organs of the paper; paired ones are one class there.
PAPER_ORGANS = (
    "brain", "liver", "kidneys", "urinary bladder", "spleen", "digestive system", "pancreas", "prostate",
    "skeleton", "heart and aorta", "lungs", "parotid glands", "submandibular glands",
)  # fmt: skip
# Those that simulated scans have labels for; by side, so that "left kidney" can be asked for.
ORGANS = (
    "brain", "liver", "left kidney", "right kidney", "urinary bladder", "spleen", "stomach", "bowel",
    "prostate", "skeleton", "heart", "left lung", "right lung", "left salivary gland",
    "right salivary gland",
)  # fmt: skip


@dataclass(frozen=True)
class NetConfig:
    """Sizes of a network and the grid that it works on.

    Args:
        organs: what the organ head tells apart, beside the background (its class 0).
        spacing: millimetres per voxel along R, A, S.
        patch: voxels along a side of its tiles.
        widths, blocks: features and residual blocks of each stage of the encoder; each stage halves the grid.
        channels: what goes in, names of `CHANNELS`.
        threshold: probability above which a voxel is lesion. Patches to train on show lesions more often than
            whole scans do, so it is chosen on validation scans (`benchmarks/lesion_threshold.py`).
    """

    organs: tuple[str, ...] = ORGANS
    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0)
    patch: int = 64
    widths: tuple[int, ...] = (16, 32, 64, 128, 160)
    blocks: tuple[int, ...] = (1, 1, 2, 2, 2)
    channels: tuple[str, ...] = CHANNELS
    threshold: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


CONFIGS = {
    "compact": NetConfig(),
    # the L preset of nnU-Net's residual encoders at the paper's patch, on autoPET's median spacing
    "large": NetConfig(
        PAPER_ORGANS, (2.0364, 2.0364, 3.0), 192, (32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6)
    ),
}
