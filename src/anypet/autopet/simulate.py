"""Simulated clicks for a scan whose lesions are known: the autoPET IV challenge's rules, on the CPU.

Tumour clicks: of up to ten lesions (26-connected, drawn at random) the voxel farthest from the lesion's edge,
in voxels; then, lesion by lesion until there are ten, any voxel of the outermost layer. Background clicks:
the same in the components of what lies above the 99.75th percentile of the uptake outside of lesions, but
filled up with any of their voxels.

Source: lab-midas/autoPETCTIV, clicks/simulate_clicks.py. The rules are its rules; the draws are not, since
they come from NumPy's legacy generator there. Put right here:

- it imports cupy and cucim, so it does not start without a GPU;
- to fill up background clicks it looks for a component's boundary outside of the component, finds none and
  takes any of its voxels, as here; but for a component that is one layer thick everywhere it takes any voxel
  of the rest of the scan, and stops with an assertion where that is tumour;
- it never ends where no voxel is above the percentile (a flat scan); here there is no background click then;
- its perturbation moves clicks in the positive direction of each axis only, by a generator without a seed;
- it computes a distance map of the whole scan for every click; here one of each component's box;
- it does not compare the grids of label and PET.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from anypet.clicks import BoolArray, Voxel
from anypet.components import connected_components
from anypet.errors import PromptError
from anypet.lesions.click_files import LesionClicks
from anypet.volume import Volume

log = logging.getLogger(__name__)

BUDGET = 10
PERCENTILE = 99.75
SEED = 42


def simulate_clicks(
    label: Volume,
    pet: Volume,
    rng: np.random.Generator,
    *,
    budget: int = BUDGET,
    centre_offset: int = 0,
    edge_offset: int = 0,
) -> LesionClicks:
    """The clicks that the challenge gives for a scan, whatever a system predicts.

    Args:
        label: what is not 0 is lesion; without any there are background clicks only.
        pet: uptake in any unit, on the label's grid.
        rng: source of all draws; seed one for each case, so that no case depends on those before it.
        budget: clicks of either kind.
        centre_offset, edge_offset: most voxels along each axis, either way, by which clicks at centres and
            those that fill up are moved; one that would leave the scan or change sides stays where it is.

    Raises:
        PromptError: label and PET lie on different grids, the uptake is not finite, or a negative number.
    """
    if not label.same_grid(pet):
        raise PromptError(
            f"the label has {label.shape} voxels, the PET {pet.shape}: they need one grid (same affine, too)"
        )
    if min(budget, centre_offset, edge_offset) < 0:
        raise PromptError(f"budget and offsets are 0 or more, got {budget}, {centre_offset}, {edge_offset}")
    lesion = label.array != 0
    hot = _hot_outside(lesion, pet.array)
    if budget and not hot.any():
        log.warning("no uptake outside of lesions stands out: no background clicks")
    offsets = centre_offset, edge_offset
    return LesionClicks(
        tumour=tuple(_clicks(lesion, lesion, rng, budget, offsets, fill_on_edge=True)),
        background=tuple(_clicks(hot, ~lesion, rng, budget, offsets, fill_on_edge=False)),
    )


def _hot_outside(lesion: BoolArray, uptake: npt.NDArray[np.floating]) -> BoolArray:
    """Voxels outside of lesions above the 99.75th percentile of the uptake there."""
    outside = uptake[~lesion]
    if not outside.size:
        return np.zeros_like(lesion)
    threshold = float(np.percentile(outside, PERCENTILE))
    if not np.isfinite(threshold):
        raise PromptError("the PET holds voxels that are not finite; clicks at high uptake cannot be placed")
    return ~lesion & (uptake > threshold)


@dataclass(frozen=True, eq=False)
class _Component:
    """One component: where its voxels are, and how far each is from its edge.

    Args:
        voxels: (n, 3) indices (i, j, k), rising.
        depth: (n,) distance in voxels to the nearest voxel outside; the scan's rim is not outside.
    """

    voxels: npt.NDArray[np.int64]
    depth: npt.NDArray[np.float32]

    @classmethod
    def of(cls, labels: npt.NDArray[np.integer], number: int, box: tuple[slice, ...]) -> _Component:
        # one voxel more on each side, so that the distances are those in the whole scan
        wide = tuple(
            slice(max(s.start - 1, 0), min(s.stop + 1, n)) for s, n in zip(box, labels.shape, strict=True)
        )
        inside = np.ascontiguousarray(labels[wide] == number)
        depth = edt.edt(inside, anisotropy=(1.0, 1.0, 1.0), black_border=False)
        voxels = np.argwhere(inside) + [s.start for s in wide]
        return cls(voxels, depth[inside])

    def centre(self) -> npt.NDArray[np.int64]:
        """The first of the deepest voxels."""
        return self.voxels[int(np.argmax(self.depth))]

    def any_of(self, rng: np.random.Generator, on_edge: bool) -> npt.NDArray[np.int64]:
        """A voxel drawn uniformly, from the outermost layer if asked for."""
        among = self.voxels[self.depth == self.depth.min()] if on_edge else self.voxels
        return among[int(rng.integers(len(among)))]


def _clicks(
    mask: BoolArray,
    allowed: BoolArray,
    rng: np.random.Generator,
    budget: int,
    offsets: tuple[int, int],
    fill_on_edge: bool,
) -> list[Voxel]:
    """Centres of up to `budget` components of a mask, filled up with other voxels of theirs, turn by turn."""
    labels = connected_components(mask, 26)
    boxes = ndimage.find_objects(labels)
    drawn = rng.permutation(len(boxes))[:budget]
    chosen = [_Component.of(labels, int(n) + 1, boxes[n]) for n in drawn]
    clicks = [_moved(component.centre(), allowed, rng, offsets[0]) for component in chosen]
    while chosen and len(clicks) < budget:
        component = chosen[len(clicks) % len(chosen)]
        clicks.append(_moved(component.any_of(rng, fill_on_edge), allowed, rng, offsets[1]))
    return clicks


def _moved(voxel: npt.NDArray[np.int64], allowed: BoolArray, rng: np.random.Generator, offset: int) -> Voxel:
    """The voxel moved by up to `offset` along each axis, or the voxel itself where that is not allowed."""
    i, j, k = (int(v) for v in voxel)
    if offset:
        a, b, c = (int(v) for v in voxel + rng.integers(-offset, offset + 1, 3))
        if all(0 <= v < n for v, n in zip((a, b, c), allowed.shape, strict=True)) and allowed[a, b, c]:
            return a, b, c
    return i, j, k
