"""A pool of simulated patches on disk: simulated once by several processes, drawn from many times.

One safetensors file a study: `image` float16 (n, N, N, N), `target` packed bits uint8 (n, N^3 / 8),
`spacing` float32 (n,), `organ` uint8 (n,) 1 = an organ, 0 = a lesion.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from anypet.clicks import bounding_box
from anypet.errors import AnyPETError
from anypet.simulate import Anatomy, Study, analytic_anatomy, load_anatomy, simulate
from anypet.training.patches import Patch, cut_patch, place_window
from anypet.volume import Volume

log = logging.getLogger(__name__)


def study_patches(
    study: Study, size: int, count: int, rng: np.random.Generator, organ_share: float
) -> list[Patch]:
    """Patches of one study: targets drawn so that small lesions are not drowned by livers."""
    organs = [_cropped(mask, study.truth_affine) for mask in study.organs.values()]
    lesions = [_placed(v.occupancy.cpu().numpy(), v.box, study.truth_affine) for v in study.soft_lesions]
    lesions = [v for v in lesions if (v.array > 0.5).any()]
    patches: list[Patch] = []
    for _ in range(count if organs or lesions else 0):
        is_organ = not lesions or (bool(organs) and rng.random() < organ_share)
        choice = organs if is_organ else lesions
        truth = choice[int(rng.integers(len(choice)))]
        window = place_window(truth, size, rng, coarse=rng.random() < 0.4)
        patch = cut_patch(study.pet, truth, window, "organ" if is_organ else "lesion")
        if patch is not None:
            patches.append(patch)
    return patches


def _placed(array: np.ndarray, box: tuple[slice, ...], affine: np.ndarray) -> Volume:
    """A part of a grid as a volume of its own."""
    moved = affine.copy()
    moved[:3, 3] += moved[:3, :3] @ np.array([s.start for s in box])
    return Volume(array, moved, "label")


def _cropped(mask: np.ndarray, affine: np.ndarray) -> Volume:
    """A mask as an occupancy in its own bounding box, one empty voxel around."""
    box = bounding_box(mask, margin=1)
    assert box is not None
    return _placed(mask[box].astype(np.float32), box, affine)


def write_shard(path: Path, patches: list[Patch]) -> None:
    """Writes patches to a shard, under a temporary name first."""
    bits = [torch.from_numpy(np.packbits(p.target.numpy().ravel())) for p in patches]
    tensors = {
        "image": torch.stack([p.image for p in patches]).half(),
        "target": torch.stack(bits),
        "spacing": torch.tensor([p.spacing for p in patches]),
        "organ": torch.tensor([p.kind == "organ" for p in patches], dtype=torch.uint8),
    }
    partial = path.with_suffix(".part")
    save_file(tensors, partial)
    os.replace(partial, path)


def _one(job: tuple[Path | None, int, Path, int, int, float]) -> str | None:
    source, seed, path, size, count, organ_share = job
    torch.set_num_threads(1)
    try:
        anatomy: Anatomy = load_anatomy(source) if source else analytic_anatomy(seed)
        study = simulate(anatomy, seed, scanner_grid=True)
        patches = study_patches(study, size, count, np.random.default_rng(seed), organ_share)
        if patches:
            write_shard(path, patches)
        return None
    except Exception as error:  # one bad anatomy must not end a run of hundreds; it is reported
        return f"{source or 'analytic'}: {type(error).__name__}: {error}"


def build_pool(
    folder: Path,
    sources: list[Path],
    studies: int,
    size: int,
    count: int,
    seed: int,
    organ_share: float,
    workers: int = 2,
) -> Iterator[int]:
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
            jobs.append((source, seed * 100_003 + n, path, size, count, organ_share))
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
    """Random access to the patches of a folder; new shards are found by `refresh`.

    Raises:
        AnyPETError: a shard holds patches of another size.
    """

    def __init__(self, folder: Path, size: int):
        self.folder, self.size = folder, size
        self.index: list[tuple[Path, int]] = []
        self._known: set[Path] = set()
        self._of_kind: dict[bool, list[int]] = {True: [], False: []}
        self.refresh()

    def refresh(self) -> int:
        """Looks for new shards -> number of patches."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path not in self._known:
                with safe_open(path, "pt") as shard:
                    organ = shard.get_tensor("organ").tolist()
                    found = shard.get_slice("image").get_shape()[-1]
                if found != self.size:
                    raise AnyPETError(
                        f"{path} holds patches of {found} voxels a side, the settings' window is "
                        f"{self.size}; give another folder with --pool"
                    )
                for n, is_organ in enumerate(organ):
                    self._of_kind[bool(is_organ)].append(len(self.index))
                    self.index.append((path, n))
                self._known.add(path)
        return len(self.index)

    def __len__(self) -> int:
        return len(self.index)

    def draw(self, rng: np.random.Generator, organ_share: float) -> Patch:
        """A random patch: of an organ with this probability, else of a lesion (if there is one)."""
        wanted = self._of_kind[bool(rng.random() < organ_share)] or range(len(self.index))
        return self[wanted[int(rng.integers(len(wanted)))]]

    def __getitem__(self, item: int) -> Patch:
        path, n = self.index[item]
        with safe_open(path, "pt") as shard:
            image = shard.get_slice("image")[n].float()
            bits = np.unpackbits(shard.get_slice("target")[n].numpy()).astype(bool)
            spacing, organ = float(shard.get_slice("spacing")[n]), bool(shard.get_slice("organ")[n])
        target = torch.from_numpy(bits).reshape(self.size, self.size, self.size)
        return Patch(image, target, spacing, "organ" if organ else "lesion")
