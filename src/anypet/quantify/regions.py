"""Reference regions: liver, aortic blood pool, spleen and parotid, found in a mask or put at a place.

A region that was found can be moved: `region.at(pet, centre_mm)` is the same form elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from anypet.clicks import bounding_box, inside_distance
from anypet.errors import AnyPETError
from anypet.objects import Patch, Triple
from anypet.quantify.suv import suv_kind
from anypet.volume import FloatArray, Volume

BoolArray = npt.NDArray[np.bool_]

_POSTERIOR_MM = 10.0  # the descending aorta lies at most this far in front of the hindmost place in the mask
_SAME_DEPTH_MM = 1.0


@dataclass(frozen=True)
class Form:
    """A ball, or a cylinder along the head-foot axis.

    Args:
        diameter_mm: of the ball or the cylinder.
        length_mm: of the cylinder; None for a ball.
    """

    diameter_mm: float
    length_mm: float | None = None

    def holds(self, offset_mm: FloatArray) -> BoolArray:
        """(...) whether places (..., 3), RAS mm from the centre, lie in the form."""
        # a hair of tolerance, so that rounding does not take voxels from one side
        radius = self.diameter_mm / 2 + 1e-6
        if self.length_mm is None:
            return np.asarray((offset_mm**2).sum(-1) <= radius**2)
        flat = (offset_mm[..., :2] ** 2).sum(-1) <= radius**2
        return np.asarray(flat & (np.abs(offset_mm[..., 2]) <= self.length_mm / 2 + 1e-6))

    def __str__(self) -> str:
        if self.length_mm is None:
            return f"sphere of {self.diameter_mm:g} mm"
        return f"cylinder of {self.diameter_mm:g} x {self.length_mm:g} mm along the head-foot axis"


LIVER, BLOOD_POOL, SPLEEN = Form(30.0), Form(10.0, 20.0), Form(20.0)
RULES = {
    "liver": "sphere of 30 mm in the right lobe, midway between dome and lower edge, where it lies deepest",
    "blood pool": "cylinder of 10 x 20 mm along the head-foot axis in the descending aorta: the hindmost "
    "part of the mask in which it fits, where it lies deepest",
    "spleen": "sphere of 20 mm where it lies deepest",
    "parotid": "the whole gland",
}
SOURCES = {
    "liver": "PERCIST 1.0: Wahl RL et al., J Nucl Med 2009;50 Suppl 1:122S",
    "blood pool": "PERCIST 1.0: Wahl RL et al., J Nucl Med 2009;50 Suppl 1:122S",
    "spleen": "AnyPET",
    "parotid": "AnyPET",
}


@dataclass(frozen=True, eq=False)
class Region:
    """A reference region and the uptake in it.

    Args:
        name: "liver", "blood pool", ...
        rule: how it was placed, in words.
        form: ball or cylinder; None for a whole organ.
        centre_mm: RAS mm.
        patch: its voxels (bool): those whose centre lies in the form.
        unit: of the values, such as SUVbw.
        mean, sd, median, maximum: over its voxels.
        volume_ml: of its voxels.
    """

    name: str
    rule: str
    form: Form | None
    centre_mm: Triple
    patch: Patch
    unit: str
    mean: float
    sd: float
    median: float
    maximum: float
    volume_ml: float

    def at(self, pet: Volume, centre_mm: Sequence[float]) -> Region:
        """The same form at another place, or in another scan.

        Raises:
            AnyPETError: the region is a whole organ, or would leave the scan.
        """
        if self.form is None:
            raise AnyPETError(f"the {self.name} is a whole organ and cannot be moved: give another mask")
        return placed(pet, self.form, centre_mm, self.name, "placed by hand")

    def __str__(self) -> str:
        """What it is, where (so that it can be moved) and its uptake, in a line."""
        form = "whole organ" if self.form is None else str(self.form)
        place = ",".join(f"{mm:.0f}" for mm in self.centre_mm)
        return f"{self.name}, {form} at {place} mm: {self.unit} {self.mean:.2f}, SD {self.sd:.2f}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the voxels are left out."""
        form = None if self.form is None else str(self.form)
        numbers = {k: getattr(self, k) for k in ("mean", "sd", "median", "maximum", "volume_ml")}
        return {
            "name": self.name,
            "rule": self.rule,
            "form": form,
            "centre_mm": list(self.centre_mm),
            "unit": self.unit,
            **numbers,
        }


def placed(
    pet: Volume, form: Form, centre_mm: Sequence[float], name: str, rule: str = "placed by hand"
) -> Region:
    """A form at a place.

    Args:
        pet: (i, j, k) in a SUV.
        form: ball or cylinder.
        centre_mm: RAS mm.
        name, rule: to be stated with the values.

    Raises:
        AnyPETError: the form does not lie in the scan, or holds no voxel.
    """
    centre = np.asarray(centre_mm, dtype=np.float64)
    if centre.shape != (3,) or not np.isfinite(centre).all():
        raise AnyPETError(f"the centre of the {name} is three numbers in RAS mm, got {centre_mm}")
    reach = max(form.diameter_mm, form.length_mm or 0.0) / 2
    corners = centre + reach * np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    voxels = pet.to_voxel(corners)
    low = np.maximum(np.floor(voxels.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(voxels.max(axis=0)).astype(int) + 1, pet.shape)
    if not pet.contains(pet.to_voxel(centre)) or (high <= low).any():
        raise AnyPETError(f"the centre {np.round(centre, 1)} mm of the {name} is outside of the scan")
    axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    inside = form.holds(pet.to_mm(grid) - centre)
    if not inside.any():
        raise AnyPETError(f"the {form} of the {name} holds no voxel: the voxels are too large for it")
    patch = Patch((int(low[0]), int(low[1]), int(low[2])), inside)
    return _measured(pet, patch, name, rule, form, centre)


def organ(pet: Volume, mask: BoolArray, name: str, rule: str = "the whole mask") -> Region:
    """A whole organ as reference region.

    Raises:
        AnyPETError: the mask is empty or on another grid.
    """
    _check(pet, mask, name)
    patch = Patch.tight(mask, mask)
    centre = pet.to_mm(np.argwhere(patch.values).mean(axis=0) + np.array(patch.start))
    return _measured(pet, patch, name, rule, None, centre)


def liver_sphere(
    pet: Volume, liver: BoolArray | None = None, centre_mm: Sequence[float] | None = None
) -> Region:
    """PERCIST's liver reference: a 3 cm sphere in the right lobe.

    Args:
        pet: (i, j, k) in a SUV.
        liver: (I, J, K) bool.
        centre_mm: RAS mm of the sphere's centre; goes before what would be found.

    Raises:
        AnyPETError: neither mask nor centre is given, or no sphere of that size fits in the mask.
    """
    if centre_mm is not None:
        return placed(pet, LIVER, centre_mm, "liver")
    mask = _needed(pet, liver, "liver")
    mm, depth = _deep(pet, mask, LIVER.diameter_mm / 2, "liver")
    all_mm = pet.to_mm(np.argwhere(mask))
    right = mm[:, 0] >= (all_mm[:, 0].min() + all_mm[:, 0].max()) / 2
    low, high = np.quantile([all_mm[:, 2].min(), all_mm[:, 2].max()], (0.25, 0.75))
    middle = (mm[:, 2] >= low) & (mm[:, 2] <= high)
    for wanted in (right & middle, right):
        if wanted.any():
            return placed(pet, LIVER, _deepest(mm[wanted], depth[wanted]), "liver", RULES["liver"])
    raise AnyPETError("no sphere of 30 mm fits in the right lobe of the liver's mask: give centre_mm=")


def blood_pool(
    pet: Volume, aorta: BoolArray | None = None, centre_mm: Sequence[float] | None = None
) -> Region:
    """PERCIST's and Deauville's blood pool: a cylinder of 1 x 2 cm in the descending thoracic aorta.

    Args:
        pet: (i, j, k) in a SUV.
        aorta: (I, J, K) bool; a mask of the thoracic part is best.
        centre_mm: RAS mm of the cylinder's centre; goes before what would be found.

    Raises:
        AnyPETError: neither mask nor centre is given, or no such cylinder fits in the mask.
    """
    if centre_mm is not None:
        return placed(pet, BLOOD_POOL, centre_mm, "blood pool")
    mask = _needed(pet, aorta, "aorta")
    fits = _fits(pet, mask, BLOOD_POOL)
    if not fits.any():
        raise AnyPETError(f"no {BLOOD_POOL} fits in the mask of the aorta: give centre_mm=")
    voxels = np.argwhere(fits)
    mm, depth = pet.to_mm(voxels), inside_distance(mask, pet.spacing)[fits]
    hind = mm[:, 1] <= mm[:, 1].min() + _POSTERIOR_MM
    return placed(pet, BLOOD_POOL, _deepest(mm[hind], depth[hind]), "blood pool", RULES["blood pool"])


def spleen_sphere(
    pet: Volume, spleen: BoolArray | None = None, centre_mm: Sequence[float] | None = None
) -> Region:
    """A 2 cm sphere in the spleen, where it lies deepest.

    Raises:
        AnyPETError: as `liver_sphere`.
    """
    if centre_mm is not None:
        return placed(pet, SPLEEN, centre_mm, "spleen")
    mm, depth = _deep(pet, _needed(pet, spleen, "spleen"), SPLEEN.diameter_mm / 2, "spleen")
    return placed(pet, SPLEEN, _deepest(mm, depth), "spleen", RULES["spleen"])


def parotid(pet: Volume, gland: BoolArray) -> Region:
    """The whole parotid gland.

    Raises:
        AnyPETError: the mask is empty or on another grid.
    """
    return organ(pet, gland, "parotid", RULES["parotid"])


def _measured(
    pet: Volume, patch: Patch, name: str, rule: str, form: Form | None, centre: FloatArray
) -> Region:
    values = pet.array[patch.slices][patch.values].astype(np.float64)
    x, y, z = (float(v) for v in centre)
    return Region(
        name=name,
        rule=rule,
        form=form,
        centre_mm=(x, y, z),
        patch=patch,
        unit=suv_kind(pet.unit).unit,
        mean=float(values.mean()),
        sd=float(values.std()),
        median=float(np.median(values)),
        maximum=float(values.max()),
        volume_ml=len(values) * pet.voxel_volume_ml,
    )


def _check(pet: Volume, mask: BoolArray, name: str) -> None:
    if mask.shape != pet.shape:
        raise AnyPETError(f"the mask of the {name} has shape {mask.shape}, the scan {pet.shape}")
    if not mask.any():
        raise AnyPETError(f"the mask of the {name} is empty")


def _needed(pet: Volume, mask: BoolArray | None, name: str) -> BoolArray:
    if mask is None:
        raise AnyPETError(f"the {name} is unknown: give its mask, or centre_mm= of the region")
    _check(pet, mask, name)
    return mask.astype(bool, copy=False)


def _deep(pet: Volume, mask: BoolArray, radius_mm: float, name: str) -> tuple[FloatArray, FloatArray]:
    """Voxels at least a radius deep in a mask: their places (N, 3), RAS mm, and depths (N,) in mm."""
    depth = inside_distance(mask, pet.spacing)
    voxels = np.argwhere(depth > radius_mm)
    if not len(voxels):
        raise AnyPETError(
            f"no sphere of {2 * radius_mm:g} mm fits in the mask of the {name}, which is "
            f"{float(depth.max()):.0f} mm deep: give centre_mm="
        )
    return pet.to_mm(voxels), depth[tuple(voxels.T)].astype(np.float64)


def _deepest(mm: FloatArray, depth: FloatArray) -> Triple:
    """Of the places (N, 3) within 1 mm of the greatest depth (N,), the one nearest to their middle."""
    deep = mm[depth >= depth.max() - _SAME_DEPTH_MM]
    x, y, z = (float(v) for v in deep[np.argmin(np.linalg.norm(deep - np.median(deep, axis=0), axis=1))])
    return x, y, z


def _fits(pet: Volume, mask: BoolArray, form: Form) -> BoolArray:
    """(I, J, K) where a form's centre may lie so that all its voxels are in the mask."""
    reach = max(form.diameter_mm, form.length_mm or 0.0) / 2
    inverse = np.linalg.inv(pet.affine[:3, :3].T @ pet.affine[:3, :3])
    half = np.ceil(reach * np.sqrt(np.diag(inverse))).astype(int)
    axes = [np.arange(-n, n + 1) for n in half]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    footprint = form.holds(steps @ pet.affine[:3, :3].T)
    fits = np.zeros(mask.shape, bool)
    box = bounding_box(mask)
    if box is not None:
        fits[box] = ndimage.binary_erosion(mask[box], footprint)
    return fits
