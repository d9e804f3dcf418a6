"""Whole-body scans to train the lesion network on: PET, CT, organs and single lesions on its own grid.

One safetensors file a scan, its voxels Blosc2 frames as in `anypet.training.pool`. Simulated scans carry the
fingerprint of what made them and are simulated again when that has changed.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from scipy import ndimage

from anypet.clicks import bounding_box
from anypet.components import connected_components
from anypet.errors import AnyPETError
from anypet.lesions.config import ORGANS
from anypet.models.compact.parts import PARTS
from anypet.simulate import Study, load_anatomy, simulate
from anypet.simulate.study import organ_masks
from anypet.training import pool
from anypet.training.packed import Packed, pack
from anypet.visibility import shows
from anypet.windows import Window, cut

log = logging.getLogger(__name__)
Array = npt.NDArray[Any]
FORMAT = "1"
UNKNOWN = 255  # of the organ labels: counts for nothing
HOT_PERCENTILE = 99.75  # where background clicks lie, after autoPET IV's rules

# names of simulated parts that are one organ here
_ONE = {"cortical bone": "skeleton", "marrow": "skeleton"}


@dataclass(frozen=True)
class LesionScan:
    """A scan and its truth on one grid along R, A, S.

    Args:
        pet: (I, J, K) float16 SUVbw.
        ct: (I, J, K) float16 HU, or None.
        organs: (I, J, K) uint8, 0 background, n + 1 the nth organ of `names`, or `UNKNOWN`.
        lesions: (I, J, K) uint8, 0 or the number of the lesion.
        affine: 4 x 4, voxel to RAS millimetres.
        tracer: "FDG", "PSMA", or "" for any other.
        hot: (m, 3) voxels at the hearts of hot regions that are no lesion.
        names: of the organs.
    """

    pet: Array | Packed
    ct: Array | Packed | None
    organs: Array | Packed
    lesions: Array | Packed
    affine: npt.NDArray[np.float64]
    tracer: str
    hot: npt.NDArray[np.int64]
    names: tuple[str, ...] = ORGANS

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = self.lesions.shape
        return i, j, k


def hot_spots(pet: Array, lesions: Array, most: int = 30) -> npt.NDArray[np.int64]:
    """Where a reader might reject something: the deepest voxel of each of the hottest regions, largest first.

    Regions are 26-connected components above the 99.75th percentile of the SUV outside of the lesions, as
    autoPET IV's click simulator takes them; with that value taken within the body (SUV above 0.1), so that
    the air around does not count.
    """
    free = (lesions == 0) & (pet > 0.1)
    if not free.any():
        return np.zeros((0, 3), dtype=np.int64)
    parts = connected_components(free & (pet > np.percentile(pet[free], HOT_PERCENTILE)))
    sizes = np.bincount(parts.ravel())[1:]
    found = []
    for n in np.argsort(-sizes)[:most]:
        part = parts == n + 1
        box = bounding_box(part, margin=1)
        assert box is not None
        depth = ndimage.distance_transform_edt(part[box])
        found.append(np.array(np.unravel_index(int(depth.argmax()), depth.shape)) + [s.start for s in box])
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def organ_labels(study: Study) -> Array:
    """The organs of a simulated study as values of `LesionScan.organs`, the smallest ones too."""
    masks = organ_masks(study.tissue, float(study.truth_affine[0, 0]), least_ml=0.0)
    parts = pool.part_map(study.tissue, masks)
    table = np.zeros(256, dtype=np.uint8)
    for value, name in enumerate(PARTS):
        name = _ONE.get(name, name)
        table[value] = 1 + ORGANS.index(name) if name in ORGANS else 0
    return table[parts]


def simulated_scan(anatomy: Path, seed: int, tracers: Sequence[str], empty_share: float) -> LesionScan:
    """A simulated whole-body scan on the grid of its anatomy, the PET by way of the scanner's own grid.

    Lesions that the PET does not show, cold ones among them, are not labelled: no reader would outline them.
    """
    rng = np.random.default_rng(seed)
    source = load_anatomy(anatomy)
    tracer = str(rng.choice(list(tracers)))  # whatever the patient was given: bodies must not tell it
    most = 0 if rng.random() < empty_share else int(rng.choice([3, 12, 12, 40]))
    study = simulate(source, seed, tracer, scanner_grid=True, most_lesions=most, physiology=True)
    i, j, k = study.tissue.shape
    shape = (i, j, k)
    centre = study.truth_affine[:3, :3] @ (np.array(shape) - 1) / 2 + study.truth_affine[:3, 3]
    window = Window(tuple(centre.tolist()), float(study.truth_affine[0, 0]), shape)
    pet = cut(study.pet, window)[0, 0].numpy()
    solid = np.any(study.lesions, axis=0) if study.lesions else np.zeros(shape, dtype=bool)
    labels = np.zeros(shape, dtype=np.uint8)
    for mask in study.lesions[:254]:
        if mask.any() and shows(pet, mask, solid & ~mask):
            labels[mask] = labels.max() + 1
    organs = organ_labels(study)
    organs[labels > 0] = 0
    ct = np.asarray(study.ct.array)
    told = "" if tracer == "random" else tracer
    return LesionScan(pet, ct, organs, labels, study.truth_affine, told, hot_spots(pet, solid))


def write_scan(path: Path, scan: LesionScan, made: str = "") -> None:
    """Writes a scan, under a temporary name first; `made` is the fingerprint of what simulated it."""
    frames: dict[str, Array] = {
        "pet": np.asarray(scan.pet, dtype=np.float16),
        "organs": np.asarray(scan.organs, dtype=np.uint8),
        "lesions": np.asarray(scan.lesions, dtype=np.uint8),
    }
    if scan.ct is not None:
        frames["ct"] = np.asarray(scan.ct, dtype=np.float16)
    tensors = {name: torch.from_numpy(pack(array)) for name, array in frames.items()}
    tensors["affine"] = torch.from_numpy(np.array(scan.affine))
    tensors["hot"] = torch.from_numpy(np.array(scan.hot, dtype=np.int64).reshape(-1, 3))
    header = {"format": FORMAT, "tracer": scan.tracer, "names": "|".join(scan.names), "made": made}
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        save_file(tensors, partial, metadata=header)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_scan(path: Path) -> LesionScan:
    """A scan as it was written; its voxels stay on disk until they are looked at.

    Raises:
        AnyPETError: the file is none of `write_scan`.
    """
    try:
        header = _header(path)
        if header.get("format") != FORMAT:
            raise ValueError(f"format {header.get('format')} in place of {FORMAT}")
        raw = {k: v.numpy() for k, v in load_file(path).items()}
        packed = {k: Packed(raw[k], path) for k in ("pet", "ct", "organs", "lesions") if k in raw}
        return LesionScan(
            packed["pet"], packed.get("ct"), packed["organs"], packed["lesions"], raw["affine"],
            header["tracer"], raw["hot"], tuple(header["names"].split("|")),
        )  # fmt: skip
    except (SafetensorError, OSError, LookupError, RuntimeError, ValueError) as error:
        fault = f"{path} is no scan of this version's pool ({error}); delete it or choose another --pool"
        raise AnyPETError(fault) from error


def _header(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as opened:
        return opened.metadata() or {}


@cache
def fingerprint() -> str:
    """Of all that a simulated scan comes from beside anatomy, seed and settings."""
    return hashlib.sha256(pool.fingerprint().encode() + Path(__file__).read_bytes()).hexdigest()[:20]


def _made(path: Path) -> str:
    try:
        return _header(path).get("made", "")
    except (SafetensorError, OSError):
        return ""


def _one(job: tuple[Path, int, tuple[str, ...], float, Path, str]) -> str | None:
    anatomy, seed, tracers, empty_share, path, made = job
    torch.set_num_threads(1)
    try:
        write_scan(path, simulated_scan(anatomy, seed, tracers, empty_share), made)
        return None
    except Exception as error:  # one bad anatomy must not end a run of hundreds; it is reported
        path.unlink(missing_ok=True)
        return f"{anatomy}: {type(error).__name__}: {error}"


def build_scans(
    folder: Path,
    sources: list[Path],
    count: int,
    seed: int,
    tracers: tuple[str, ...] = ("FDG", "PSMA"),
    empty_share: float = 0.2,
    workers: int = 2,
) -> Iterator[int]:
    """Simulates the scans that the folder lacks; yields the number done after each.

    Args:
        folder: of `scan-SEED-NUMBER.safetensors`.
        sources: label maps of anatomies, drawn in a shuffled order.
        count, seed: how many scans, and of what.
        tracers, empty_share: see `LesionSettings`.
        workers: processes.

    Raises:
        AnyPETError: there is no anatomy.
    """
    if not sources:
        raise AnyPETError("lesion scans are simulated on patients' anatomies: set ANYPET_DATA or pass --data")
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(sources))
    made = f"{fingerprint()} {','.join(tracers)} {empty_share}"
    paths = [folder / f"scan-{seed}-{n:05d}.safetensors" for n in range(count)]
    jobs = [
        (sources[order[n % len(order)]], seed * 100_003 + n, tracers, empty_share, path, made)
        for n, path in enumerate(paths)
        if _made(path) != made
    ]
    done = count - len(jobs)
    yield done
    if jobs:
        with get_context("spawn").Pool(min(workers, len(jobs))) as processes:
            for fault in processes.imap_unordered(_one, jobs):
                if fault:
                    log.warning("simulation failed: %s", fault)
                done += 1
                yield done


def scans_in(folder: Path, seed: int, count: int) -> list[LesionScan]:
    """The scans of a seed that `build_scans` made."""
    paths = sorted(folder.glob(f"scan-{seed}-*.safetensors"))[:count]
    return [read_scan(path) for path in paths]
