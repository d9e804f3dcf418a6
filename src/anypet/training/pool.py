"""A pool of simulated studies on disk: simulated once by several processes, cut anew for every draw.

One safetensors file a study: `pet` float16 SUVbw and `pet_affine`; `parts` uint8, values of `PARTS` without
lesions, and `parts_affine`; `organs` int32 (n, 7), part and bounding box; `lesions` int32 (m, 6), bounding
boxes on the grid of the parts, and `occupancy`, their float16 voxels one after the other.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from anypet.clicks import bounding_box
from anypet.errors import AnyPETError
from anypet.models.compact.parts import ORGAN_PARTS, PARTS
from anypet.simulate import Anatomy, Study, analytic_anatomy, load_anatomy, simulate
from anypet.simulate import anatomy as organs
from anypet.simulate import body as tissues
from anypet.volume import Volume

log = logging.getLogger(__name__)
Box = tuple[slice, slice, slice]

# tissue of the simulation -> part; paired organs get theirs from the masks by side
PART_OF_TISSUE = {
    tissues.AIR: "air", tissues.FAT: "fat", tissues.MUSCLE: "muscle", tissues.CORTEX: "cortical bone",
    tissues.MARROW: "marrow", tissues.VESSEL: "vessel", tissues.BOWEL: "bowel", tissues.URETER: "ureter",
    **{label: name for label, name in organs.ORGANS.items() if name in PARTS},
}  # fmt: skip


@dataclass(frozen=True)
class PoolStudy:
    """A study of the pool.

    Args:
        pet: SUVbw on the scanner's grid.
        parts: uint8, values of `PARTS` without lesions, on the anatomy's grid.
        organs: (part, box) of every organ that can be a target.
        lesions: (box, soft occupancy (d, h, w)) of every lesion, on the grid of the parts.
    """

    pet: Volume
    parts: Volume
    organs: list[tuple[int, Box]]
    lesions: list[tuple[Box, npt.NDArray[Any]]]


def part_map(tissue: npt.NDArray[np.uint8], masks: dict[str, npt.NDArray[np.bool_]]) -> npt.NDArray[np.uint8]:
    """Tissues of the simulation and masks of organs by name -> values of `PARTS`."""
    table = np.zeros(256, dtype=np.uint8)
    for label, name in PART_OF_TISSUE.items():
        table[label] = PARTS.index(name)
    parts = table[tissue]
    for name, mask in masks.items():
        parts[mask] = PARTS.index(name)
    return parts


def write_study(path: Path, study: Study) -> None:
    """Writes a study for the pool, under a temporary name first."""
    parts = part_map(study.tissue, study.organs)
    found = []
    for part in ORGAN_PARTS:
        box = bounding_box(parts == part)
        if PARTS[part] in study.organs and box is not None:
            found.append([part, *_ends(box)])
    lesions = [v for v in study.soft_lesions if bool((v.occupancy > 0.5).any())]
    flat = [v.occupancy.cpu().half().ravel() for v in lesions]
    tensors = {
        "pet": torch.from_numpy(study.pet.array).half(),
        "pet_affine": torch.from_numpy(np.array(study.pet.affine)),
        "parts": torch.from_numpy(parts),
        "parts_affine": torch.from_numpy(np.array(study.truth_affine)),
        "organs": torch.tensor(found, dtype=torch.int32).reshape(-1, 7),
        "lesions": torch.tensor([_ends(v.box) for v in lesions], dtype=torch.int32).reshape(-1, 6),
        "occupancy": torch.cat(flat) if flat else torch.zeros(0, dtype=torch.float16),
    }
    partial = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial)
    os.replace(partial, path)


def read_study(path: Path) -> PoolStudy:
    """A study of the pool; its voxels stay on disk until they are looked at.

    Raises:
        AnyPETError: the file is no study of a pool.
    """
    try:
        raw = {k: v.numpy() for k, v in load_file(path).items()}
        pet = Volume(raw["pet"], raw["pet_affine"], "SUVbw")
        parts = Volume(raw["parts"], raw["parts_affine"], "label")
    except (SafetensorError, OSError, KeyError) as error:
        raise AnyPETError(
            f"{path} is no simulated study ({error}); delete it or choose another --pool"
        ) from error
    lesions, start = [], 0
    for ends in raw["lesions"].tolist():
        box = _box(ends)
        shape = tuple(s.stop - s.start for s in box)
        size = int(np.prod(shape))
        lesions.append((box, raw["occupancy"][start : start + size].reshape(shape)))
        start += size
    return PoolStudy(pet, parts, [(row[0], _box(row[1:])) for row in raw["organs"].tolist()], lesions)


def _ends(box: tuple[slice, ...]) -> list[int]:
    return [*(s.start for s in box), *(s.stop for s in box)]


def _box(ends: list[int]) -> Box:
    a, b, c, d, e, f = ends
    return slice(a, d), slice(b, e), slice(c, f)


def _one(job: tuple[Path | None, int, Path]) -> str | None:
    source, seed, path = job
    torch.set_num_threads(1)
    try:
        anatomy: Anatomy = load_anatomy(source) if source else analytic_anatomy(seed)
        write_study(path, simulate(anatomy, seed, scanner_grid=True))
        return None
    except Exception as error:  # one bad anatomy must not end a run of hundreds; it is reported
        return f"{source or 'analytic'}: {type(error).__name__}: {error}"


def build_pool(folder: Path, sources: list[Path], studies: int, seed: int, workers: int = 2) -> Iterator[int]:
    """Simulates the studies that are not in the folder yet; yields the number done after each.

    `sources` are label maps, drawn in a shuffled order, again and again with other seeds; without any, the
    analytic anatomy is used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(sources)) if sources else np.zeros(0, dtype=int)
    jobs = []
    for n in range(studies):
        path = folder / f"study-{seed}-{n:05d}.safetensors"
        source = sources[order[n % len(order)]] if len(order) else None
        if not path.exists():
            jobs.append((source, seed * 100_003 + n, path))
    done = studies - len(jobs)
    if not jobs:
        yield done
        return
    with get_context("spawn").Pool(workers) as processes:
        for fault in processes.imap_unordered(_one, jobs):
            if fault:
                log.warning("simulation failed: %s", fault)
            done += 1
            yield done


class Pool:
    """The studies of a folder, in the order of their names; each is opened when first asked for.

    Args:
        folder: filled by `build_pool`.
        seed, studies: only those of this seed, and no more than these; all without.
    """

    def __init__(self, folder: Path, seed: int | None = None, studies: int | None = None):
        pattern = "*.safetensors" if seed is None else f"study-{seed}-*.safetensors"
        self.paths = sorted(folder.glob(pattern))[:studies]
        self._open: dict[Path, PoolStudy] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> PoolStudy:
        path = self.paths[item]
        if path not in self._open:
            self._open[path] = read_study(path)
        return self._open[path]
