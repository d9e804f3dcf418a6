"""Patches of whole-body scans with clicks drawn anew each time, and how they are changed at random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.ndimage import find_objects, gaussian_filter
from scipy.spatial.transform import Rotation

from anypet.clicks import bounding_box, inside_distance
from anypet.errors import AnyPETError
from anypet.lesions.click_maps import distance_map, gaussian_map
from anypet.lesions.inputs import channels
from anypet.training.config import LesionSettings
from anypet.training.lesions.scans import UNKNOWN, LesionScan

Array = npt.NDArray[Any]
Box = tuple[slice, slice, slice]
AIR_SUV, AIR_HU = 0.0, -1000.0


@dataclass(frozen=True)
class LesionPatch:
    """What the network learns from at once.

    Args:
        inputs: float32 (channels, n, n, n), see `anypet.lesions.inputs`.
        lesion: bool (n, n, n).
        organs: uint8 (n, n, n), 0 background, organs from 1, or `UNKNOWN`.
        clicked: whether there is any click on the scan.
    """

    inputs: torch.Tensor
    lesion: torch.Tensor
    organs: torch.Tensor
    clicked: bool


@dataclass(frozen=True)
class _Raw:
    """The voxels of a patch before they are turned into channels."""

    pet: Array
    ct: Array | None
    organs: Array
    lesions: Array


class LesionPatches:
    """Draws patches from scans.

    Args:
        scans: to draw from.
        settings: of the run.

    Raises:
        AnyPETError: there is no scan.
    """

    def __init__(self, scans: list[LesionScan], settings: LesionSettings) -> None:
        if not scans:
            raise AnyPETError("nothing to train on: the pool has no scan")
        self.scans, self.settings = scans, settings
        twins = [(n, scans[0].names.index(_twin(name))) for n, name in enumerate(scans[0].names)
                 if name.startswith("left ") and _twin(name) in scans[0].names]  # fmt: skip
        self._mirrored = np.arange(256, dtype=np.uint8)
        for left, right in twins:
            self._mirrored[[left + 1, right + 1]] = right + 1, left + 1
        self._boxes: dict[int, list[Box]] = {}
        self._middles: dict[int, npt.NDArray[np.int64]] = {}

    def __call__(self, rng: np.random.Generator) -> LesionPatch | None:
        """A patch, or None where the draw came to nothing."""
        number = int(rng.integers(len(self.scans)))
        scan, side = self.scans[number], self.settings.side
        boxes = self._lesion_boxes(number)
        middle = self._middle(number, rng)
        start = _corner(scan, middle, rng, side)
        raw = _cut(scan, start, side)
        spots: Array = scan.hot - start
        if rng.random() < 0.5:
            raw = self._flipped(raw)
            spots = spots * [-1, 1, 1] + [side - 1, 0, 0]
        raw = _warped(raw, rng) if rng.random() < 0.2 else raw
        raw = _ended(raw, rng) if rng.random() < self.settings.end_share else raw
        if raw.ct is not None and rng.random() < self.settings.misalign_share:
            raw = replace(raw, ct=_misaligned(raw.ct, rng))
        pet = _rescanned(raw.pet, rng)
        most = 0 if rng.random() < self.settings.silent_share else self.settings.clicks
        tumour, background = _clicks(raw, pet, spots, len(boxes), rng, most)
        with_ct = raw.ct is not None and rng.random() < self.settings.ct_share
        told = scan.tracer if rng.random() < self.settings.tracer_share else ""
        drawn = click_map(pet, tumour, background, self.settings)
        organs = np.where(raw.lesions > 0, 0, raw.organs)
        return LesionPatch(
            channels(pet, raw.ct if with_ct else None, drawn, told),
            torch.from_numpy(raw.lesions > 0),
            torch.from_numpy(organs.astype(np.uint8)),
            bool(len(tumour) or len(background)),
        )

    def _middle(self, number: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """What a patch holds: a lesion, a hot spot, an organ (small ones as often as large) or anything."""
        scan, boxes, organs = self.scans[number], self._lesion_boxes(number), self._organ_middles(number)
        if boxes and rng.random() < self.settings.lesion_share:
            return _box_middle(boxes[int(rng.integers(len(boxes)))])
        chance = rng.random()
        if len(scan.hot) and chance < 0.4:
            return np.asarray(scan.hot[int(rng.integers(len(scan.hot)))])
        if len(organs) and chance > 1 - self.settings.organ_share:
            return np.asarray(organs[int(rng.integers(len(organs)))])
        return rng.integers(0, np.array(scan.shape))

    def _lesion_boxes(self, number: int) -> list[Box]:
        """Bounding boxes of a scan's lesions; looked for once."""
        if number not in self._boxes:
            self._boxes[number] = _boxes(self.scans[number].lesions)
        return self._boxes[number]

    def _organ_middles(self, number: int) -> npt.NDArray[np.int64]:
        """Middles of a scan's organs (n, 3); looked for once."""
        if number not in self._middles:
            organs = np.asarray(self.scans[number].organs)
            found = _boxes(np.where(organs == UNKNOWN, 0, organs))
            self._middles[number] = np.array([_box_middle(b) for b in found], dtype=np.int64).reshape(-1, 3)
        return self._middles[number]

    def _flipped(self, raw: _Raw) -> _Raw:
        """Left and right exchanged, in the picture and in the names."""
        ct = None if raw.ct is None else raw.ct[::-1]
        return _Raw(raw.pet[::-1], ct, self._mirrored[raw.organs[::-1]], raw.lesions[::-1])


def click_map(pet: Array, tumour: Array, background: Array, settings: LesionSettings) -> Array:
    """The click channel that settings ask for."""
    spacing = settings.network.spacing
    first, second = settings.sigma_mm
    if settings.click_map == "distance":
        return distance_map(pet, spacing, tumour, background, reach_mm=first)
    return gaussian_map(
        pet, spacing, tumour, background, sigma=first, background_sigma=second, clip_background=True
    )


def _twin(name: str) -> str:
    return name.replace("left ", "right ", 1)


def _boxes(labels: Any) -> list[Box]:
    return [box for box in find_objects(np.asarray(labels)) if box is not None]


def _box_middle(box: Box) -> npt.NDArray[np.int64]:
    return np.array([(s.start + s.stop) // 2 for s in box])


def _corner(
    scan: LesionScan, middle: npt.NDArray[np.int64], rng: np.random.Generator, side: int
) -> npt.NDArray[np.int64]:
    """First voxel of a patch with `middle` inside it, away from its border."""
    shape = np.array(scan.shape)
    start = middle - rng.integers(side // 6, side - side // 6, 3)
    # a patch that reaches beyond the scan shows less of it; small overhangs teach what a border looks like
    slack = side // 8
    low, high = np.minimum(-slack, shape - side), np.maximum(0, shape - side + slack)
    return np.clip(start, low, high)


def _cut(scan: LesionScan, start: npt.NDArray[np.int64], side: int) -> _Raw:
    """A cube of the scan; beyond it there is air."""
    inside = tuple(
        slice(max(0, int(a)), min(n, int(a) + side)) for a, n in zip(start, scan.shape, strict=True)
    )
    into = tuple(slice(s.start - int(a), s.stop - int(a)) for s, a in zip(inside, start, strict=True))

    def cube(array: Any, fill: float, kind: Any) -> Array:
        whole = np.full((side,) * 3, fill, dtype=kind)
        whole[into] = array[inside]
        return whole

    ct = None if scan.ct is None else cube(scan.ct, AIR_HU, np.float32)
    organs, lesions = cube(scan.organs, UNKNOWN, np.uint8), cube(scan.lesions, 0, np.uint8)
    return _Raw(cube(scan.pet, AIR_SUV, np.float32), ct, organs, lesions)


def _warped(raw: _Raw, rng: np.random.Generator) -> _Raw:
    """Turned by about 8 degrees and stretched by about 10 % along each axis."""
    matrix = Rotation.from_euler("xyz", rng.normal(0, 8.0, 3), degrees=True).as_matrix()
    grid = _grid(matrix * np.exp(rng.normal(0, 0.1, 3)), np.zeros(3), raw.pet.shape)
    ct = None if raw.ct is None else _sampled(raw.ct, grid, "bilinear", AIR_HU)
    organs = _sampled(raw.organs, grid, "nearest", UNKNOWN).astype(np.uint8)
    lesions = _sampled(raw.lesions, grid, "nearest", 0.0).astype(np.uint8)
    return _Raw(_sampled(raw.pet, grid, "bilinear", AIR_SUV), ct, organs, lesions)


def _ended(raw: _Raw, rng: np.random.Generator) -> _Raw:
    """The field of view ends within the patch, at its top or bottom, noisier towards its end.

    A scanner sees little of its outermost slices, so that noise stands out there, in the air too. Organs cut
    by the end keep their names.
    """
    side = raw.pet.shape[2]
    seen = int(rng.integers(side // 5, side))  # slices that are left
    at = np.arange(side) if rng.random() < 0.5 else np.arange(side)[::-1]
    depth = seen - 1 - at  # slices to the end, negative beyond
    inside = np.broadcast_to(depth >= 0, raw.pet.shape)
    strength = rng.uniform(0, 0.5) * np.exp(-np.maximum(depth, 0) / rng.uniform(1, 4))
    level = np.maximum(raw.pet, rng.uniform(0.02, 1.0))
    noise = gaussian_filter(rng.standard_normal(raw.pet.shape, dtype=np.float32), 0.6) * 2.5
    pet = np.where(inside, np.maximum(raw.pet + noise * strength * level, 0), AIR_SUV).astype(np.float32)
    ct = None if raw.ct is None else np.where(inside, raw.ct, AIR_HU).astype(np.float32)
    organs, lesions = np.where(inside, raw.organs, UNKNOWN), np.where(inside, raw.lesions, 0)
    return _Raw(pet, ct, organs.astype(np.uint8), lesions.astype(np.uint8))


def _misaligned(ct: Array, rng: np.random.Generator) -> Array:
    """The CT turned by up to 5 degrees and shifted by up to two voxels, as breathing and moving do."""
    matrix = Rotation.from_euler("xyz", rng.uniform(-5, 5, 3), degrees=True).as_matrix()
    shift = 2 * rng.uniform(-2, 2, 3) / np.array(ct.shape)
    return _sampled(ct, _grid(matrix, shift, ct.shape), "bilinear", AIR_HU)


def _grid(matrix: Array, shift: Array, shape: tuple[int, ...]) -> torch.Tensor:
    theta = torch.from_numpy(np.column_stack([matrix, shift])).float()
    return F.affine_grid(theta[None], [1, 1, *shape], align_corners=False)


def _sampled(array: Array, grid: torch.Tensor, mode: str, outside: float) -> Array:
    image = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None, None] - outside
    return (F.grid_sample(image, grid, mode, "zeros", align_corners=False)[0, 0] + outside).numpy()


def _rescanned(pet: Array, rng: np.random.Generator) -> Array:
    """Another uptake, resolution and noise."""
    pet = np.ascontiguousarray(pet, dtype=np.float32) * float(np.exp(rng.normal(0, 0.12)))
    if rng.random() < 0.15:
        pet = gaussian_filter(pet, rng.uniform(0, 0.8), mode="nearest")
    if rng.random() < 0.3:
        noise = rng.standard_normal(pet.shape, dtype=np.float32) * float(rng.uniform(0, 0.12))
        pet = pet + noise * np.maximum(pet, 0.05)
    return np.maximum(pet, 0.0)


def _clicks(
    raw: _Raw, pet: Array, spots: Array, lesions: int, rng: np.random.Generator, most: int
) -> tuple[Array, Array]:
    """Clicks of a scan that fall into the patch: 0 to `most` of each kind on the whole scan.

    Tumour clicks go to different lesions first, deep inside most often, as autoPET IV's do; background clicks
    to hearts of hot regions, and some to a bright voxel anywhere.
    """
    tumour, here = [], [int(n) for n in np.unique(raw.lesions) if n]
    count = int(rng.integers(0, most + 1))
    chance = min(1.0, count / max(1, lesions))  # that a lesion has a click of its own
    for n in here:
        for _ in range(int(rng.random() < chance) + int(rng.poisson(max(0.0, count / lesions - 1)))):
            tumour.append(_inside(raw.lesions == n, rng))
    share = float(rng.integers(0, most + 1)) / max(1, most)
    in_patch = np.all((spots >= 0) & (spots < pet.shape), axis=1) if len(spots) else np.zeros(0, dtype=bool)
    near = [spot for spot in spots[in_patch] if rng.random() < share]
    background = [s for s in near[:most] if raw.lesions[tuple(s)] == 0 and raw.pet[tuple(s)] > 0]
    if share and rng.random() < 0.3:
        bright = np.argwhere((pet > np.percentile(pet, 98)) & (raw.lesions == 0))
        if len(bright):
            background.append(bright[int(rng.integers(len(bright)))])
    return np.array(tumour).reshape(-1, 3), np.array(background).reshape(-1, 3)


def _inside(mask: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """The deepest voxel of a lesion in half of the draws, else any of it."""
    box = bounding_box(mask)
    assert box is not None
    part = mask[box]
    if rng.random() < 0.5:
        at = np.array(np.unravel_index(int(inside_distance(part, (1, 1, 1)).argmax()), part.shape))
    else:
        voxels = np.argwhere(part)
        at = voxels[int(rng.integers(len(voxels)))]
    return at + [s.start for s in box]
