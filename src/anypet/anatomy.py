"""Which organ a click is on, by the organ head of the lesion network: a first look that knows anatomy.

A click does not say where a liver ends at a heart of the same uptake; a network that has learned the organs
by name does. So the first click of an object asks it first, in one tile around the click. Where it names an
organ, its logits take the place of the promptable network's own coarse look, and that network goes on from
there as from any mask so far. Lesions, and what is no organ, stay the promptable network's alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from anypet.clicks import bounding_box
from anypet.components import connected_components
from anypet.devices import has_bfloat16
from anypet.lesions.inputs import channels
from anypet.objects import Group, Tile, Triple
from anypet.volume import Volume
from anypet.windows import Window, cut

if TYPE_CHECKING:
    from anypet.lesions.network import TwoHeadedUNet

# Bones and bowel are one class each, but no one object that a click means.
ORGANS = (
    "brain", "liver", "left kidney", "right kidney", "urinary bladder", "spleen", "heart", "left lung",
    "right lung",
)  # fmt: skip
SIDE = 80  # voxels of the tile: 320 mm, so that a liver clicked off its middle is seen whole
SURE = 0.6  # mean probability around the click above which an organ is believed


class Anatomy:
    """Organs around clicks of one scan.

    Args:
        volume: the scan, SUVbw.
        net: the lesion network, with its organ head.
    """

    def __init__(self, volume: Volume, net: TwoHeadedUNet) -> None:
        self.volume, self.net = volume, net
        self._classes = [1 + net.config.organs.index(name) for name in ORGANS if name in net.config.organs]

    @torch.inference_mode()
    def look(self, mm: Triple, suv: float, cells: int) -> Group | None:
        """The organ at a point, as a window's logits, or None where there is none for certain.

        An organ that runs out of the first tile is looked at once more, in a tile around its middle.

        Args:
            mm: RAS millimetres.
            suv: SUVbw there.
            cells: voxels along a side of the promptable model's windows, which the group's spacing is for.
        """
        window = self._window(mm)
        organs, lesion = self._heads(window)
        middle = slice(window.shape[0] // 2 - 1, window.shape[0] // 2 + 1)  # the point lies between these
        here = organs[:, middle, middle, middle].exp().mean((1, 2, 3))
        best = int(here.argmax())
        diseased = float(lesion[middle, middle, middle].mean()) > 1 - SURE
        if best not in self._classes or here[best] < SURE or diseased:
            return None
        inside, centre = organs[best], self._middle(organs[best], window)
        if centre is not None:
            window = self._window(centre)
            inside = self._heads(window)[0][best]
        outside = torch.log1p(-inside.exp().clamp(max=1 - 1e-6))
        logits = (inside - outside).clamp(-12, 12).cpu().numpy().astype(np.float16)
        spacing = window.spacing * window.shape[0] / cells
        return Group(window.centre_mm, spacing, suv, mm, (Tile((0, 0, 0), logits),))

    def _window(self, centre: Triple) -> Window:
        side = SIDE - SIDE % self.net.divisor
        return Window(centre, self.net.config.spacing[0], (side, side, side))

    def _heads(self, window: Window) -> tuple[torch.Tensor, torch.Tensor]:
        """Log probabilities of the organs, (K, d, h, w), and probability of lesion, (d, h, w)."""
        pet = cut(self.volume, window)[0, 0].numpy()
        image = channels(pet, None, np.zeros_like(pet), "")[None]
        device = next(self.net.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
            heads = self.net(image.to(device, memory_format=torch.channels_last_3d), organs=True)
        organs = torch.log_softmax(heads.organs[0][0].float(), 0)
        return organs, torch.softmax(heads.lesion[0][0].float(), 0)[1]

    def _middle(self, inside: torch.Tensor, window: Window) -> Triple | None:
        """Middle of the clicked organ's box where it reaches the window's border; None where it does not."""
        parts = connected_components((inside > np.log(0.5)).cpu().numpy())
        at = window.shape[0] // 2
        own = parts == parts[at, at, at]
        box = bounding_box(own)
        if not parts[at, at, at] or box is None:
            return None
        ends = np.array([(s.start, s.stop - 1) for s in box])
        if ends.min() > 0 and ends.max() < window.shape[0] - 1:
            return None
        reach = 0.35 * window.shape[0] * window.spacing  # so that the click stays inside
        point = np.array(window.centre_mm)
        r, a, s = np.clip(window.to_mm(ends.mean(1)), point - reach, point + reach).tolist()
        return r, a, s
