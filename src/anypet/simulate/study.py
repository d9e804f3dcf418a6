"""One simulated study: PET, CT, organ masks and lesions, all from an anatomy and a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from anypet.simulate.anatomy import KIDNEYS, LUNGS, ORGANS, SALIVARY, Anatomy, load_anatomy
from anypet.simulate.body import Body, make_body
from anypet.simulate.lesions import Lesion, draw_lesions
from anypet.simulate.noise import chance, gaussian_blur, generator, smooth_noise, uniform
from anypet.simulate.physiology import add_physiology
from anypet.simulate.scanner import Scanner, acquire, draw_scanner, regrid
from anypet.simulate.tracer import TRACERS, activity, tissue_hu
from anypet.volume import Volume

PAIRED = (KIDNEYS, LUNGS, SALIVARY)
SINGULAR = {KIDNEYS: "kidney", LUNGS: "lung", SALIVARY: "salivary gland"}
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Study:
    """What a simulated patient brings home.

    Args:
        pet: SUVbw.
        ct: HU on the grid of the anatomy.
        organs: organ name -> mask on the grid of `truth_affine`; paired organs are left and right.
        lesions: one mask a lesion on the same grid.
        soft_lesions: the lesions as soft occupancies, for labels finer than the grid.
        truth_affine: 4 x 4 of the masks' grid (equal to the PET's unless a scanner grid was asked for).
        tissue: uint8 on the same grid, organs and the tissues of `body`; lesions not drawn in.
        tracer: FDG, PSMA or random.
    """

    pet: Volume
    ct: Volume
    organs: dict[str, Mask]
    lesions: list[Mask]
    soft_lesions: list[Lesion]
    truth_affine: npt.NDArray[np.float64]
    tissue: npt.NDArray[np.uint8]
    tracer: str
    scanner: Scanner


def organ_masks(tissue: npt.NDArray[np.uint8], spacing: float, least_ml: float = 5.0) -> dict[str, Mask]:
    """Masks of the organs larger than `least_ml`; kidneys, lungs and salivary glands by side."""
    least = least_ml * 1000 / spacing**3
    masks: dict[str, Mask] = {}
    lungs = np.argwhere(tissue == LUNGS)
    middle = lungs[:, 0].mean() if len(lungs) else tissue.shape[0] / 2
    right = np.arange(tissue.shape[0])[:, None, None] > middle
    for label, name in ORGANS.items():
        mask = tissue == label
        if label in PAIRED:
            masks[f"left {SINGULAR[label]}"] = mask & ~right
            masks[f"right {SINGULAR[label]}"] = mask & right
        else:
            masks[name] = mask
    return {name: mask for name, mask in masks.items() if mask.sum() >= least}


def simulate(
    anatomy: Anatomy,
    seed: int,
    tracer: str | None = None,
    device: str | torch.device = "cpu",
    scanner_grid: bool = False,
    most_lesions: int = 12,
    physiology: bool = False,
) -> Study:
    """Simulates a PET/CT study.

    Args:
        anatomy: organs to start from.
        seed: same seed, same study.
        tracer: "FDG", "PSMA" or "random"; None takes the tracer of the anatomy's study, or random (1 in 4).
        device: where the image is computed.
        scanner_grid: sample the PET on the scanner's own anisotropic grid, not the anatomy's.
        most_lesions: upper bound on the number of lesions; 0 for none.
        physiology: whether small sites without a label show uptake too, see `anypet.simulate.physiology`.

    Raises:
        AnyPETError: unknown tracer.
    """
    gen = generator(seed, device)
    body = make_body(anatomy, seed)
    if tracer is not None:
        tracer = {t.lower(): t for t in TRACERS}.get(tracer.lower(), tracer)
    if tracer is None:
        tracer = "random" if chance(gen, 0.25) else (anatomy.tracer or "FDG")
    clean = activity(body, tracer, gen)
    if physiology:
        clean = add_physiology(clean, body, anatomy, tracer, gen)
    lesions = draw_lesions(body, anatomy, clean, gen, most_lesions)
    for lesion in lesions:
        part = clean[lesion.box]
        clean[lesion.box] = part + lesion.occupancy * (lesion.suv - part)
    scanner = draw_scanner(gen)
    image = acquire(clean, body.spacing, scanner, gen)
    masks = []
    for lesion in lesions:
        mask = np.zeros(body.tissue.shape, dtype=bool)
        mask[lesion.box] = (lesion.occupancy > 0.5).cpu().numpy()
        masks.append(mask)
    pet = _as_volume(image, body, scanner if scanner_grid else None)
    return Study(
        pet=pet,
        ct=Volume(_ct(body, gen).cpu().numpy(), body.affine, "HU"),
        organs=organ_masks(body.tissue, body.spacing),
        lesions=masks,
        soft_lesions=lesions,
        truth_affine=body.affine,
        tissue=body.tissue,
        tracer=tracer,
        scanner=scanner,
    )


def _as_volume(image: torch.Tensor, body: Body, scanner: Scanner | None) -> Volume:
    if scanner is None:
        return Volume(image.cpu().numpy(), body.affine, "SUVbw")
    s = scanner.spacing_mm
    fine = regrid(image, body.spacing, (s[0], s[0], s[1]))
    spacing = np.array(image.shape) * body.spacing / np.array(fine.shape)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.array(body.origin_mm) - body.spacing / 2 + spacing / 2
    return Volume(fine.cpu().numpy(), affine, "SUVbw")


def _ct(body: Body, gen: torch.Generator) -> torch.Tensor:
    """HU with noise, and with the diaphragm at another height than in the PET (breathing)."""
    hu = tissue_hu(body, gen)
    shift = round(uniform(gen, -12.0, 12.0) / body.spacing)
    lungs = torch.from_numpy((body.tissue == LUNGS).any(axis=(0, 1)))
    if shift and bool(lungs.any()):
        low = int(torch.nonzero(lungs)[0]) + 8
        start, stop = max(low - 20, abs(shift)), min(low + 12, hu.shape[2] - abs(shift))
        if stop > start:
            hu[:, :, start:stop] = hu[:, :, start - shift : stop - shift].clone()
    hu = gaussian_blur(hu[None, None], (0.4, 0.4, 0.4))[0, 0]
    return hu + 12.0 * smooth_noise(gen, tuple(hu.shape), 1.0)


def simulate_case(anatomy_path: Path, seed: int, tracer: str | None = None) -> Study:
    """A study on the anatomy's own grid, as the evaluation uses it: PET and masks share it."""
    return simulate(load_anatomy(anatomy_path), seed, tracer)
