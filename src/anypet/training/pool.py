"""Studies to cut patches from, simulated or real, kept on disk until they are looked at.

One safetensors file a study, mapped into memory; its voxels are Blosc2 frames (chunked, compressed), the
bytes of each a uint8 tensor. `pet` float16 SUVbw and `pet_affine`; `grid_affine` and `grid_shape` of the
targets' grid; `objects` int32 (m, 6), bounding boxes on that grid, `occupancy.0`, `occupancy.1`, ..., their
float16 voxels, and `mirror` uint8 (m,). Simulated studies also have `parts` uint8 on that grid, values of
`PARTS` without lesions, and `organs` int32 (n, 7), part and bounding box, whose masks are in `parts`. The
file's metadata: `format`, `kind`, `quality` and `simulation`, the fingerprint of the simulator.

Why not a store of Blosc2's: those keep a file open for every study, or look it up again for every chunk while
another process may be replacing it. A mapped file needs neither, and one cut short is noticed when opened.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from anypet.clicks import bounding_box
from anypet.errors import AnyPETError
from anypet.models.compact.parts import ORGAN_PARTS, PARTS
from anypet.simulate import Anatomy, Study, analytic_anatomy, load_anatomy, simulate
from anypet.simulate import anatomy as organs
from anypet.simulate import body as tissues
from anypet.training.packed import Packed, pack
from anypet.volume import Volume

log = logging.getLogger(__name__)
Box = tuple[slice, slice, slice]
FORMAT = "2"  # of the files; 1 was not compressed

# tissue of the simulation -> part; paired organs get theirs from the masks by side
PART_OF_TISSUE = {
    tissues.AIR: "air", tissues.FAT: "fat", tissues.MUSCLE: "muscle", tissues.CORTEX: "cortical bone",
    tissues.MARROW: "marrow", tissues.VESSEL: "vessel", tissues.BOWEL: "bowel", tissues.URETER: "ureter",
    **{label: name for label, name in organs.ORGANS.items() if name in PARTS},
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One object to segment.

    Args:
        box: its voxels on the study's grid.
        occupancy: float (d, h, w), the share of each voxel of the box that is object.
        mirror: whether it has no fixed place in the body, as lesions have none.
    """

    box: Box
    occupancy: npt.NDArray[Any] | Packed
    mirror: bool = True


@dataclass(frozen=True)
class PoolStudy:
    """A study to cut patches from. Voxels of one read from disk are `Packed`: take boxes of them.

    Args:
        pet: SUVbw on the scanner's grid.
        grid: 4 x 4 of the targets' grid.
        shape: of that grid.
        objects: its targets, organs of `parts` not among them.
        parts: uint8, values of `PARTS` without lesions, where they are known (simulated studies).
        organs: (part, box) of every organ in `parts` that can be a target.
        high_quality: whether the targets can be trusted (HQ) or are noisy (LQ).
        kind: "real" or "simulated".
    """

    pet: Volume
    grid: npt.NDArray[np.float64]
    shape: tuple[int, int, int]
    objects: list[Target]
    parts: npt.NDArray[np.uint8] | Packed | None = None
    organs: list[tuple[int, Box]] = field(default_factory=list)
    high_quality: bool = True
    kind: str = "simulated"


def part_map(tissue: npt.NDArray[np.uint8], masks: dict[str, npt.NDArray[np.bool_]]) -> npt.NDArray[np.uint8]:
    """Tissues of the simulation and masks of organs by name -> values of `PARTS`."""
    table = np.zeros(256, dtype=np.uint8)
    for label, name in PART_OF_TISSUE.items():
        table[label] = PARTS.index(name)
    parts = table[tissue]
    for name, mask in masks.items():
        parts[mask] = PARTS.index(name)
    return parts


def pooled(study: Study) -> PoolStudy:
    """A simulated study as one to cut patches from: organs by part, lesions as objects."""
    parts = part_map(study.tissue, study.organs)
    organs = []
    for part in ORGAN_PARTS:
        box = bounding_box(parts == part)
        if PARTS[part] in study.organs and box is not None:
            organs.append((part, box))
    lesions = [v for v in study.soft_lesions if bool((v.occupancy > 0.5).any())]
    objects = [Target(v.box, v.occupancy.cpu().numpy()) for v in lesions]
    return PoolStudy(study.pet, study.truth_affine, study.tissue.shape, objects, parts, organs)  # type: ignore[arg-type]


@cache
def fingerprint() -> str:
    """Of all that a simulated study comes from beside its anatomy and seed: 20 hexadecimal digits.

    The source text of `anypet.simulate` and of this file counts, comments and all; so do the parts. What
    they use of other rooms (`anypet.components`, `anypet.clicks`) does not.
    """
    digest = hashlib.sha256(repr((FORMAT, PARTS, PART_OF_TISSUE)).encode())
    for file in (*sorted(Path(organs.__file__).parent.glob("*.py")), Path(__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:20]


def write_study(path: Path, study: PoolStudy, simulation: str = "") -> None:
    """Writes a study, under a temporary name first; `simulation` is its simulator's `fingerprint`."""
    tensors = {
        "pet": _packed(study.pet.array, np.float16),
        "pet_affine": torch.from_numpy(np.array(study.pet.affine)),
        "grid_affine": torch.from_numpy(np.array(study.grid)),
        "grid_shape": torch.tensor(study.shape),
        "objects": torch.tensor([_ends(v.box) for v in study.objects], dtype=torch.int32).reshape(-1, 6),
        "mirror": torch.tensor([v.mirror for v in study.objects], dtype=torch.uint8),
        **{f"occupancy.{n}": _packed(v.occupancy, np.float16) for n, v in enumerate(study.objects)},
    }
    if study.parts is not None:
        tensors["parts"] = _packed(study.parts, np.uint8)
        rows = [[part, *_ends(box)] for part, box in study.organs]
        tensors["organs"] = torch.tensor(rows, dtype=torch.int32).reshape(-1, 7)
    quality = "HQ" if study.high_quality else "LQ"
    header = {"format": FORMAT, "kind": study.kind, "quality": quality, "simulation": simulation}
    partial = path.with_suffix(f".{os.getpid()}.part")  # several processes may cache the same case
    try:
        save_file(tensors, partial, metadata=header)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _packed(array: npt.NDArray[Any] | Packed, dtype: npt.DTypeLike) -> torch.Tensor:
    """The bytes of an array's frame, uint8 (n,)."""
    return torch.from_numpy(pack(np.asarray(array, dtype=dtype)))


def _header(path: Path) -> dict[str, str]:
    """The text metadata of a study's file; nothing else of it is read.

    Raises:
        OSError, SafetensorError: there is no such file, or it is foreign or cut short.
    """
    with safe_open(path, "np") as opened:
        return opened.metadata() or {}


def read_study(path: Path) -> PoolStudy:
    """A study as it was written; its voxels stay on disk until they are looked at.

    Raises:
        AnyPETError: the file is none of `write_study`.
    """
    try:
        header = _header(path)
        if header.get("format") != FORMAT:
            raise ValueError(f"format {header.get('format')} in place of {FORMAT}")
        raw = {k: v.numpy() for k, v in load_file(path).items()}
        pet = Volume(Packed(raw["pet"], path), raw["pet_affine"], "SUVbw")  # type: ignore[arg-type]
        objects = [
            Target(_box(ends), Packed(raw[f"occupancy.{n}"], path), bool(mirror))
            for n, (ends, mirror) in enumerate(zip(raw["objects"].tolist(), raw["mirror"], strict=True))
        ]
        d, h, w = raw["grid_shape"].tolist()
        parts = Packed(raw["parts"], path) if "parts" in raw else None
        organs = [(row[0], _box(row[1:])) for row in raw.get("organs", np.zeros((0, 7))).tolist()]
        return PoolStudy(
            pet, raw["grid_affine"], (d, h, w), objects, parts, organs,
            header["quality"] != "LQ", header["kind"],
        )  # fmt: skip
    except (SafetensorError, OSError, LookupError, RuntimeError, ValueError) as error:
        fault = f"{path} is no study of this version's pool ({error}); delete it or choose another --pool"
        raise AnyPETError(fault) from error


def _ends(box: tuple[slice, ...]) -> list[int]:
    return [*(s.start for s in box), *(s.stop for s in box)]


def _box(ends: list[int]) -> Box:
    a, b, c, d, e, f = ends
    return slice(a, d), slice(b, e), slice(c, f)


def _is_current(path: Path) -> bool:
    """Whether the file is a whole study of today's simulator."""
    try:
        return _header(path).get("simulation") == fingerprint()
    except (SafetensorError, OSError):
        return False


def _one(job: tuple[Path | None, int, Path, str]) -> str | None:
    source, seed, path, simulation = job
    torch.set_num_threads(1)
    try:
        anatomy: Anatomy = load_anatomy(source) if source else analytic_anatomy(seed)
        write_study(path, pooled(simulate(anatomy, seed, scanner_grid=True)), simulation)
        return None
    except Exception as error:  # one bad anatomy must not end a run of hundreds; it is reported
        path.unlink(missing_ok=True)  # a stale study must not stay in the pool
        return f"{source or 'analytic'}: {type(error).__name__}: {error}"


def build_pool(folder: Path, sources: list[Path], studies: int, seed: int, workers: int = 2) -> Iterator[int]:
    """Simulates the studies that are not in the folder yet; yields the number done after each.

    Studies of another simulator (see `fingerprint`) or format, and those cut short, are simulated again.
    `sources` are label maps, drawn in a shuffled order, again and again with other seeds; without any, the
    analytic anatomy is used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(sources)) if sources else np.zeros(0, dtype=int)
    jobs, stale = [], 0
    for n in range(studies):
        path = folder / f"study-{seed}-{n:05d}.safetensors"
        source = sources[order[n % len(order)]] if len(order) else None
        if not _is_current(path):
            jobs.append((source, seed * 100_003 + n, path, fingerprint()))
            stale += path.exists()
    if stale:
        text = "%s: %d of %d studies are cut short or of another version's simulator, and are simulated again"
        log.warning(text, folder, stale, studies)
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
    """The simulated studies of a folder, in the order of their names; each is opened when first asked for.

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
