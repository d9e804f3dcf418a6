"""Real PET/CT as scans to train the lesion network on, on its own grid; and simulated scans on that grid.

A data set rarely has labels for every organ of the network. What it labels is learnt; every other voxel is
`UNKNOWN` to the organ head, unless the case labels all of the network's organs, so that the rest is
background. The lesion head learns from every voxel.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from anypet.components import connected_components
from anypet.evaluation.lesion_cases import LesionCase, LesionStudy
from anypet.grids import resample
from anypet.lesions.config import NetConfig
from anypet.lesions.finder import numbered
from anypet.lesions.grid import NetGrid, body_grid
from anypet.text import SIDES, SYNONYMS
from anypet.training.lesions.patches import LesionPatch, LesionPatches
from anypet.training.lesions.scans import (
    FORMAT,
    UNKNOWN,
    LesionScan,
    hot_spots,
    read_scan,
    scans_in,
    write_scan,
)
from anypet.volume import Volume

Array = npt.NDArray[Any]
MOST_LESIONS = 255  # that a scan's bytes can number; any beyond share the last number

# part, without its side -> the organ of which networks after the paper tell the whole apart
_WHOLE = {
    "kidney": "kidneys", "lung": "lungs", "heart": "heart and aorta", "aorta": "heart and aorta",
    "stomach": "digestive system", "bowel": "digestive system", "small bowel": "digestive system",
    "colon": "digestive system", "duodenum": "digestive system", "esophagus": "digestive system",
    "oesophagus": "digestive system", "parotid": "parotid glands", "parotid gland": "parotid glands",
    "submandibular gland": "submandibular glands",
}  # fmt: skip


def organ_value(name: str, organs: Sequence[str]) -> int:
    """A label's name -> value of `LesionScan.organs`: 1 + its place among a network's organs, or `UNKNOWN`.

    Written as people and programs do: "Left kidney", "kidney_left", "urinary_bladder". A kidney without a
    side is unknown to a network that tells the sides apart.
    """
    words = re.findall(r"[a-z]+", name.lower())
    side = next((SIDES[w] for w in words if w in SIDES), "")
    core = " ".join(w for w in words if w not in SIDES)
    for word in (core, core.removesuffix("s")):
        known = SYNONYMS.get(word, word)
        for found in (f"{side} {known}".strip(), known, _WHOLE.get(word), _WHOLE.get(known)):
            if found is not None and found in organs:
                return 1 + list(organs).index(found)
    return UNKNOWN


def real_scan(case: LesionCase, config: NetConfig) -> LesionScan:
    """A case on the grid of a network, cut to the body.

    A lesion smaller than the grid's voxels keeps one.

    Raises:
        AnyPETError: a file of the case is at fault.
    """
    study = case.load()
    grid = body_grid(study.pet, config.spacing)
    pet = grid.take(study.pet).astype(np.float16)
    ct = None if study.ct is None else grid.take(study.ct).astype(np.float16)
    lesions = _lesions(study, grid)
    organs = _organs(study, grid, config.organs)
    spots = hot_spots(pet.astype(np.float32), lesions)
    return LesionScan(pet, ct, organs, lesions, grid.affine, case.tracer, spots, config.organs)


def real_scans(
    cases: Iterable[LesionCase],
    config: NetConfig,
    folder: Path,
    progress: Callable[[int], None] | None = None,
) -> list[LesionScan]:
    """Cases as scans that stay on disk; one is made anew when its files, its row or the grid change.

    Args:
        cases: read one after the other.
        config: of the network.
        folder: where they are kept; made if it is not there.
        progress: called with the number done after each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scans = []
    for number, case in enumerate(cases, start=1):
        path = _kept(folder, config, case.identity)
        if not path.exists():
            write_scan(path, real_scan(case, config))
        scans.append(read_scan(path))
        if progress is not None:
            progress(number)
    return scans


def simulated_scans(folder: Path, seed: int, count: int, config: NetConfig) -> list[LesionScan]:
    """The scans that `build_scans` made, as they are where they fit the network, else on its grid.

    Args:
        folder, seed, count: see `scans_in`.
        config: of the network.
    """
    scans = scans_in(folder, seed, count)
    fitted = []
    for number, scan in enumerate(scans):
        if fits(scan, config):
            fitted.append(scan)
            continue
        source = sorted(folder.glob(f"scan-{seed}-*.safetensors"))[number]
        (folder / "fitted").mkdir(exist_ok=True)
        path = _kept(folder / "fitted", config, (source.name, source.stat().st_mtime_ns))
        if not path.exists():
            write_scan(path, fitted_scan(scan, config))
        fitted.append(read_scan(path))
    return fitted


def fits(scan: LesionScan, config: NetConfig) -> bool:
    """Whether a scan has the voxels (to a per cent) and the organs of a network."""
    return scan.names == config.organs and np.allclose(np.diag(scan.affine)[:3], config.spacing, rtol=0.01)


def fitted_scan(scan: LesionScan, config: NetConfig) -> LesionScan:
    """A simulated scan on the grid of a network, with its organs; what else is in the body is background."""
    pet = Volume(np.asarray(scan.pet, dtype=np.float32), scan.affine, "SUVbw")
    grid = body_grid(pet, config.spacing)
    ct = None if scan.ct is None else grid.take(Volume(np.asarray(scan.ct, np.float32), scan.affine, "HU"))
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    table[: 1 + len(scan.names)] = [0, *(organ_value(name, config.organs) for name in scan.names)]
    organs, lesions = (
        _nearest(np.asarray(labels), scan.affine, grid) for labels in (scan.organs, scan.lesions)
    )
    hot = grid.voxels(pet.to_mm(scan.hot)) if len(scan.hot) else scan.hot
    return LesionScan(
        grid.take(pet).astype(np.float16), None if ct is None else ct.astype(np.float16), table[organs],
        lesions, grid.affine, scan.tracer, hot, config.organs,
    )  # fmt: skip


class MixedPatches:
    """Patches of real scans and of simulated ones.

    Args:
        real, simulated: where to draw from.
        real_share: share of the draws that are real.
    """

    def __init__(self, real: LesionPatches, simulated: LesionPatches, real_share: float) -> None:
        self.real, self.simulated, self.real_share = real, simulated, real_share

    def __call__(self, rng: np.random.Generator) -> LesionPatch | None:
        """A patch, or None where the draw came to nothing."""
        return (self.real if rng.random() < self.real_share else self.simulated)(rng)


def _kept(folder: Path, config: NetConfig, identity: tuple[Any, ...]) -> Path:
    """Where a scan that comes from something is kept."""
    key = repr((FORMAT, identity, config.spacing, config.organs))
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"


def _lesions(study: LesionStudy, grid: NetGrid) -> npt.NDArray[np.uint8]:
    """The lesions on a grid, numbered, largest first."""
    target = Volume(np.zeros(grid.shape, np.uint8), grid.affine, "label")
    share = resample(study.pet.with_array(study.lesion.astype(np.float32), unit="map"), target)
    mask = share.array >= 0.5
    parts = connected_components(study.lesion)
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        voxels = np.argwhere(parts[box] == number) + [s.start for s in box]
        there = grid.voxels(study.pet.to_mm(voxels))
        if not mask[tuple(there.T)].any():
            mask[tuple(there[len(there) // 2])] = True
    return np.minimum(numbered(mask), MOST_LESIONS).astype(np.uint8)


def _organs(study: LesionStudy, grid: NetGrid, names: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """The organs on a grid; see the module."""
    values = {name: organ_value(name, names) for name in study.organs}
    complete = set(values.values()) >= set(range(1, len(names) + 1))
    labels = np.full(study.pet.shape, 0 if complete else UNKNOWN, dtype=np.uint8)
    for name, mask in study.organs.items():
        labels[mask] = values[name]
    found = _nearest(labels, study.pet.affine, grid, outside=0 if complete else UNKNOWN)
    return found


def _nearest(
    labels: Array, affine: npt.NDArray[Any], grid: NetGrid, outside: int = 0
) -> npt.NDArray[np.uint8]:
    target = Volume(np.zeros(grid.shape, np.uint8), grid.affine, "label")
    moved = resample(Volume(labels, affine, "label"), target, linear=False, outside=outside)
    return np.asarray(moved.array, dtype=np.uint8)
