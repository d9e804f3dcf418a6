"""The rest of the body, made up around the organs: outline, arms, legs, fat, muscle, bone, vessels, bowel.

Organ label maps show no body outline, bone, muscle, vessel or bowel. These are drawn here from a few
anatomical proportions (adult, millimetres) hung on the organs that are there, varied at random, so that a
simulated scan has what a real one has: edges against air, cold fat, warm marrow, hot gut and ureters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from anypet.simulate import anatomy as organs
from anypet.simulate.anatomy import Anatomy

AIR, FAT, MUSCLE, CORTEX, MARROW, VESSEL, BOWEL, URETER = 0, 11, 12, 13, 14, 15, 16, 17
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Body:
    """A patient's tissues.

    Args:
        tissue: uint8 (R, A, S): organ labels 1-10 of `anatomy.ORGANS` and the tissues of this module.
        depth_mm: float32, distance to the skin, 0 in air.
        spacing: millimetres per voxel.
        origin_mm: RAS millimetres of voxel (0, 0, 0).
    """

    tissue: npt.NDArray[np.uint8]
    depth_mm: npt.NDArray[np.float32]
    spacing: float
    origin_mm: tuple[float, float, float]

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        affine = np.diag([self.spacing] * 3 + [1.0])
        affine[:3, 3] = self.origin_mm
        return affine


@dataclass(frozen=True)
class Frame:
    """Where things are: extents of the organs in mm from the grid's corner, with defaults."""

    axes: tuple[Array, Array, Array]
    lungs: Array  # (2, 3) low and high corner
    abdomen: Array  # liver and kidneys together
    bladder: Array  # centre
    brain: Array | None  # (2, 3)
    spine_x: float


def _extent(labels: Array, values: list[int], axes: tuple[Array, ...], least: int = 200) -> Array | None:
    mask = np.isin(labels, values)
    if mask.sum() < least:
        return None
    low_high = []
    for axis in range(3):
        profile = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        inside = np.flatnonzero(profile > 0.002 * mask.sum())
        low_high.append((axes[axis][inside[0]], axes[axis][inside[-1]]))
    return np.array(low_high, dtype=float).T


def landmarks(labels: Array, axes: tuple[Array, Array, Array]) -> Frame:
    """Where things are in a map of organs whose voxels lie at `axes` (mm); defaults for what is missing."""
    lungs = _extent(labels, [organs.LUNGS], axes)
    if lungs is None:
        any_organ = _extent(labels, list(organs.ORGANS), axes, least=1)
        centre = any_organ.mean(0) if any_organ is not None else np.array([a.mean() for a in axes])
        lungs = np.array([centre - [125, 85, -40], centre + [125, 75, 280]])
    abdomen = _extent(labels, [organs.LIVER, organs.KIDNEYS], axes)
    if abdomen is None:
        abdomen = np.array([lungs[0] - [0, 0, 150], [lungs[1, 0], lungs[1, 1], lungs[0, 2] + 40]])
    bladder = _extent(labels, [organs.BLADDER], axes, least=60)
    middle = (lungs[0, 0] + lungs[1, 0]) / 2
    centre = (
        bladder.mean(0)
        if bladder is not None
        else np.array([middle, lungs.mean(0)[1] + 5, lungs[0, 2] - 320])
    )
    brain = _extent(labels, [organs.BRAIN], axes)
    return Frame(axes, lungs, abdomen, centre, brain, float(middle))


def _profile(z: Array, stations: Sequence[tuple[float, ...]]) -> Array:
    """Linear interpolation in z, smoothed over 30 mm, of rows (z, value, value, ...) -> (len(z), values)."""
    table = np.array(sorted(stations))
    step = z[1] - z[0]
    columns = [np.interp(z, table[:, 0], table[:, c]) for c in range(1, table.shape[1])]
    return np.stack([ndimage.gaussian_filter1d(c, 15.0 / step, mode="nearest") for c in columns], axis=1)


def _warp(rng: np.random.Generator, shape: tuple[int, ...], amount: float, cells: int) -> Array:
    """A slowly varying field for irregular outlines."""
    coarse = rng.normal(size=[max(2, n // cells) for n in shape]).astype(np.float32)
    zoom = [n / c for n, c in zip(shape, coarse.shape, strict=True)]
    return (
        amount * ndimage.zoom(coarse, zoom, order=1, grid_mode=True, mode="nearest")[tuple(map(slice, shape))]
    )


def _tube(grid: list[Array], z: Array, path: list[tuple[float, float, float]], radius: float) -> Array:
    """A vertical tube of this radius along points (x, y, z), between its lowest and highest point."""
    table = np.array(sorted(path, key=lambda p: p[2]))
    start, stop = np.searchsorted(z, [table[0, 2], table[-1, 2]])
    x = np.interp(z[start:stop], table[:, 2], table[:, 0])
    y = np.interp(z[start:stop], table[:, 2], table[:, 1])
    mask = np.zeros(np.broadcast_shapes(*(g.shape for g in grid)), dtype=bool)
    mask[:, :, start:stop] = ((grid[0] - x) ** 2 + (grid[1] - y) ** 2) < radius**2
    return mask


def _capsule(grid: list[Array], a: Array, b: Array, radius_a: float, radius_b: float) -> Array:
    """A rounded cone from a to b; computed only in the box that holds it."""
    mask = np.zeros(np.broadcast_shapes(*(g.shape for g in grid)), dtype=bool)
    reach = max(radius_a, radius_b)
    box, local = [], []
    for g, p, q in zip(grid, a, b, strict=True):
        flat = g.ravel()
        start, stop = np.searchsorted(flat, [min(p, q) - reach, max(p, q) + reach])
        box.append(slice(int(start), int(stop)))
        local.append(flat[start:stop].reshape([-1 if n > 1 else 1 for n in g.shape]))
    along = b - a
    length2 = float(along @ along) or 1.0
    t = sum((g - p) * d for g, p, d in zip(local, a, along, strict=True)) / length2
    t = np.clip(t, 0, 1)
    distance2 = sum((g - (p + t * d)) ** 2 for g, p, d in zip(local, a, along, strict=True))
    mask[tuple(box)] = distance2 < (radius_a + t * (radius_b - radius_a)) ** 2
    return mask


def _trunk(frame: Frame, grid: list[Array], rng: np.random.Generator) -> Array:
    """Torso, neck and head: a superellipse in each slice."""
    z = frame.axes[2]
    lo, hi = frame.lungs
    chest = (hi[0] - lo[0]) / 2 + rng.uniform(18, 40)
    back, front = lo[1] - rng.uniform(25, 42), hi[1] + rng.uniform(10, 28)
    belly = max(front, frame.abdomen[1, 1] + rng.uniform(15, 30)) + rng.uniform(-10, 35)
    hip, waist = chest * rng.uniform(0.98, 1.15), chest * rng.uniform(0.88, 1.1)
    x = frame.spine_x
    middle, deep = (back + front) / 2, (front - back) / 2
    bladder = frame.bladder
    head_z = frame.brain[0, 2] if frame.brain is not None else hi[2] + 150
    if frame.brain is not None:
        head = frame.brain.mean(0)
        head_a, head_b = (frame.brain[1, :2] - frame.brain[0, :2]) / 2 + 13
        head_a, head_b = max(head_a, 65.0), max(head_b, 80.0)
    else:
        head, head_a, head_b = np.array([x, middle + 20, head_z + 60]), 76.0, 95.0
    stations = [  # z, centre x, centre y, half width, half depth
        (bladder[2] - 70, bladder[0], bladder[1] - 30, hip * 0.98, deep * 0.98),
        (bladder[2], bladder[0], bladder[1] - 28, hip, deep * 1.0),
        (bladder[2] + 110, x, (back + belly) / 2, (hip + waist) / 2, (belly - back) / 2),
        (frame.abdomen[0, 2], x, (back + belly) / 2, waist, (belly - back) / 2),
        (lo[2] + 60, x, middle, chest, deep),
        (hi[2] - 50, x, middle - 5, chest * 1.02, deep * 0.95),
        (hi[2] + 15, x, middle - 10, chest * 0.95, deep * 0.75),
        (hi[2] + 45, x, middle - 5, chest * 0.45, deep * 0.55),
        (hi[2] + 70, (x + head[0]) / 2, (middle + head[1]) / 2 - 8, 60, 62),
        (head_z - 70, head[0], head[1] - 5, 62, 72),
        (head_z - 20, head[0], head[1] + 8, head_a * 0.95, head_b * 1.02),
        (head_z + 40, head[0], head[1], head_a, head_b),
        (head_z + 105, head[0], head[1], head_a * 0.92, head_b * 0.92),
        (head_z + 145, head[0], head[1], 20, 20),
    ]
    p = _profile(z, stations).astype(np.float32)
    exponent = 2.4
    shape = (
        np.abs((grid[0] - p[:, 0]) / p[:, 2]) ** exponent + np.abs((grid[1] - p[:, 1]) / p[:, 3]) ** exponent
    )
    inside = shape < 1 + _warp(rng, np.broadcast_shapes(*(g.shape for g in grid)), 0.05, 14)
    return inside & (z > bladder[2] - 70) & (z < head_z + 145)


def _limbs(
    frame: Frame, grid: list[Array], rng: np.random.Generator
) -> tuple[Array, list[tuple[Array, Array]]]:
    """Legs and arms (raised or beside the body) -> (mask, the bones' ends)."""
    lo, hi = frame.lungs
    bladder = frame.bladder
    half = (hi[0] - lo[0]) / 2
    thigh = rng.uniform(72, 100)
    mask, bones = np.zeros(np.broadcast_shapes(*(g.shape for g in grid)), dtype=bool), []
    for side in (-1.0, 1.0):
        hip = np.array([bladder[0] + side * (thigh + 8), bladder[1] - 25, bladder[2] - 40])
        knee = hip + [side * rng.uniform(-25, 5), rng.uniform(-5, 25), -rng.uniform(380, 440)]
        ankle = knee + [side * -10, -10.0, -400.0]
        mask |= _capsule(grid, hip, knee, thigh, 58) | _capsule(grid, knee, ankle, 56, 38)
        bones += [(hip + [side * 5, 0, 15], knee), (knee, ankle)]
    raised = rng.random() < 0.55
    arm = rng.uniform(38, 52)
    for side in (-1.0, 1.0):
        shoulder = np.array([frame.spine_x + side * (half + 30), lo[1] + 65, hi[2] - 5])
        if raised:
            elbow = shoulder + [side * rng.uniform(50, 110), rng.uniform(0, 50), rng.uniform(140, 230)]
            hand = elbow + [-side * rng.uniform(60, 150), rng.uniform(0, 40), rng.uniform(80, 200)]
        else:
            elbow = shoulder + [side * rng.uniform(45, 75), rng.uniform(-30, 10), -300.0]
            hand = elbow + [-side * rng.uniform(0, 40), rng.uniform(10, 60), -250.0]
        mask |= _capsule(grid, shoulder, elbow, arm * 1.25, arm) | _capsule(
            grid, elbow, hand, arm * 0.95, arm * 0.65
        )
        bones += [(shoulder, elbow), (elbow, hand)]
    return mask, bones


def _spine_path(frame: Frame) -> list[tuple[float, float, float]]:
    lo, hi = frame.lungs
    x, b = frame.spine_x, frame.bladder
    return [
        (b[0], b[1] - 78, b[2] - 20),
        (x, b[1] - 62, b[2] + 60),
        (x, lo[1] + 46, frame.abdomen[0, 2]),
        (x, lo[1] + 36, lo[2] + 60),
        (x, lo[1] + 28, hi[2] - 80),
        (x, lo[1] + 45, hi[2] + 30),
        (x, lo[1] + 55, hi[2] + 130),
    ]


def _bones(
    tissue: Array, frame: Frame, grid: list[Array], limbs: list[tuple[Array, Array]], lung_mm: Array
) -> Array:
    """Skeleton as a mask: spine, ribs, pelvis, skull, long bones."""
    z = frame.axes[2]
    path = _spine_path(frame)
    bone = _tube(grid, z, path, 21.0) & (np.abs(((z - path[2][2]) % 32.0) - 16.0) < 13.0)
    bone |= _tube(grid, z, [(x, y - 32, h) for x, y, h in path[:-1]], 9.0)
    # ribs: bands in the shell around the lungs, sloping down to the front
    slope = (z + 0.45 * (grid[1] - frame.lungs[0, 1])) % 26.0
    bone |= (lung_mm > 3) & (lung_mm < 11) & (slope < 10.0) & (z > frame.lungs[0, 2] - 10)
    sternum = np.array([frame.spine_x, frame.lungs[1, 1] + 6, frame.lungs[0, 2] + 90])
    bone |= _capsule(grid, sternum, sternum + [0, -28, 120], 12, 15)
    # pelvis: two curved plates and the hip sockets
    c = frame.bladder + [0, -35, 45]
    shell = np.sqrt(
        ((grid[0] - c[0]) / 118) ** 2 + ((grid[1] - c[1]) / 72) ** 2 + ((grid[2] - c[2]) / 105) ** 2
    )
    wings = (
        (np.abs(shell - 1) < 0.085)
        & (np.abs(grid[0] - c[0]) > 32)
        & (grid[2] > c[2] - 70)
        & (grid[1] < c[1] + 45)
    )
    bone |= wings & (grid[2] < c[2] + 75)
    for side in (-1.0, 1.0):
        socket = frame.bladder + [side * 86, -12, -22]
        bone |= _capsule(grid, socket, socket + [side * 4, 0, 6], 25, 25)
        bone |= _capsule(grid, frame.bladder + [side * 12, 28, -45], socket, 9, 14)
    if frame.brain is not None:
        skull = edt.edt(np.ascontiguousarray(tissue != organs.BRAIN), anisotropy=(z[1] - z[0],) * 3)
        bone |= (skull > 3) & (skull < 10.5)
    for a, b in limbs:
        bone |= _capsule(grid, a, b, 15, 13)
    return np.asarray(bone)


def _vessels(frame: Frame, grid: list[Array], rng: np.random.Generator) -> Array:
    """Descending aorta and arch, vena cava, iliac and femoral vessels, carotids."""
    z, (lo, hi), b, x = frame.axes[2], frame.lungs, frame.bladder, frame.spine_x
    split = frame.abdomen[0, 2] - 20
    r = rng.uniform(9, 14)
    aorta = [(x - 20, lo[1] + 55, hi[2] - 75), (x - 16, lo[1] + 60, lo[2] + 60), (x - 8, lo[1] + 78, split)]
    cava = [(x + 18, lo[1] + 82, lo[2] + 80), (x + 16, lo[1] + 74, split)]
    mask = _tube(grid, z, aorta, r) | _tube(grid, z, cava, r)
    arch = np.array([x - 20, lo[1] + 55, hi[2] - 75])
    mask |= _capsule(grid, arch, np.array([x + 8, lo[1] + 105, hi[2] - 80]), r, r + 2)
    for side in (-1.0, 1.0):
        groin = np.array([b[0] + side * 72, b[1] + 25, b[2] - 25])
        mask |= _capsule(grid, np.array([x, lo[1] + 76, split]), groin, 8, 7)
        mask |= _capsule(grid, groin, groin + [side * 8, -30, -330], 7, 5)
        mask |= _capsule(
            grid,
            np.array([x + side * 22, lo[1] + 85, hi[2] - 60]),
            np.array([x + side * 30, lo[1] + 85, hi[2] + 130]),
            6,
            5,
        )
    return mask


def _gut_and_ureters(
    tissue: Array, frame: Frame, grid: list[Array], free: Array, rng: np.random.Generator
) -> None:
    """Paints bowel loops (level sets of a random field) and ureters into `tissue`."""
    z = frame.axes[2]
    low, high = frame.bladder[2] - 10, frame.abdomen[0, 2] + 110
    loops = np.abs(_warp(rng, tissue.shape, 1.0, int(rng.integers(5, 9)))) < rng.uniform(0.12, 0.32)
    tissue[free & loops & (z > low) & (z < high)] = BOWEL
    for side in (-1.0, 1.0):
        if rng.random() < 0.7:
            top = np.array([frame.spine_x + side * 40, frame.lungs[0, 1] + 60, frame.abdomen[0, 2] + 45])
            mid = np.array([frame.spine_x + side * 38, frame.lungs[0, 1] + 75, frame.abdomen[0, 2] - 60])
            end = frame.bladder + [side * 22, -10, 8]
            tube = _capsule(grid, top, mid, 3.4, 3.4) | _capsule(grid, mid, end, 3.4, 3.4)
            segment = np.abs(((z - low) % 90.0) - 45.0) < rng.uniform(15, 45)  # ureters fill in parts
            tissue[tube & segment & ~np.isin(tissue, list(organs.ORGANS))] = URETER


def make_body(anatomy: Anatomy, seed: int) -> Body:
    """Completes an anatomy to a whole body, cropped in-plane to what holds it."""
    rng = np.random.default_rng(seed)
    labels, s = anatomy.labels, anatomy.spacing
    axes = tuple(np.arange(n, dtype=np.float32) * np.float32(s) for n in labels.shape)
    frame = landmarks(labels, axes)  # type: ignore[arg-type]
    grid = [axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]]
    is_organ = labels > 0
    lung_mm = edt.edt(np.ascontiguousarray(labels != organs.LUNGS), anisotropy=(s, s, s))
    limbs, limb_bones = _limbs(frame, grid, rng)
    inside = _trunk(frame, grid, rng) | limbs | (edt.edt(~is_organ, anisotropy=(s, s, s)) < 13)
    depth = edt.edt(np.ascontiguousarray(inside), anisotropy=(s, s, s))

    tissue = np.where(inside, MUSCLE, AIR).astype(np.uint8)
    skin_fat = rng.uniform(6, 32)
    warp = 1 + _warp(rng, labels.shape, 0.35, 12)
    tissue[inside & (depth < skin_fat * warp)] = FAT
    cavity = (
        inside
        & (depth > skin_fat + 16)
        & (grid[2] < frame.lungs[0, 2] + 90)
        & (grid[2] > frame.bladder[2] - 45)
    )
    cavity &= grid[1] > frame.lungs[0, 1] + 30
    tissue[cavity] = FAT
    _gut_and_ureters(tissue, frame, grid, cavity & ~is_organ, rng)
    tissue[_vessels(frame, grid, rng) & inside] = VESSEL
    bone = _bones(labels, frame, grid, limb_bones, lung_mm) & (depth > 6)
    tissue[bone] = MARROW
    tissue[bone & (edt.edt(np.ascontiguousarray(bone)) < 1.5)] = CORTEX
    tissue[is_organ] = labels[is_organ]

    cut = [np.flatnonzero(inside.any(axis=tuple(b for b in range(3) if b != a))) for a in range(2)]
    box = tuple(slice(max(c[0] - 4, 0), c[-1] + 5) for c in cut)
    origin = np.array(anatomy.origin_mm) + s * np.array([box[0].start, box[1].start, 0])
    return Body(tissue[box].copy(), depth[box].astype(np.float32), s, tuple(float(v) for v in origin))  # type: ignore[arg-type]
