"""Tissues -> tracer activity: SUV of every organ and tissue for FDG, PSMA ligands and made-up tracers.

Medians are rounded from the atlases of Wang et al. (Mol Imaging Biol 2007;9:83) and Ramos et al. (J Nucl Med
Technol 2001;29:1) for FDG and of Demirci et al. (Clin Nucl Med 2016;41:e353) for Ga-68-PSMA-11; the spread is
log-normal. A made-up tracer draws every tissue log-uniformly, so that a model learns to trust the picture
rather than the tracer.
"""

from __future__ import annotations

import numpy as np
import torch

from anypet.errors import AnyPETError
from anypet.simulate import anatomy as organs
from anypet.simulate import body as tissues
from anypet.simulate.body import Body
from anypet.simulate.noise import chance, log_normal, log_uniform, smooth_noise, uniform

TRACERS = ("FDG", "PSMA", "random")

# tissue -> (median SUVbw, standard deviation of its logarithm)
UPTAKE: dict[str, dict[int, tuple[float, float]]] = {
    "FDG": {
        organs.SPLEEN: (1.8, 0.25), organs.KIDNEYS: (2.6, 0.3), organs.LIVER: (2.2, 0.22),
        organs.BLADDER: (18.0, 0.9), organs.LUNGS: (0.5, 0.2), organs.BRAIN: (7.5, 0.35),
        organs.HEART: (1.7, 0.2), organs.STOMACH: (2.0, 0.4), organs.PROSTATE: (1.8, 0.25),
        organs.SALIVARY: (1.9, 0.3), tissues.FAT: (0.25, 0.3), tissues.MUSCLE: (0.65, 0.25),
        tissues.CORTEX: (0.7, 0.3), tissues.MARROW: (1.3, 0.3), tissues.VESSEL: (1.6, 0.2),
        tissues.BOWEL: (1.0, 0.3), tissues.URETER: (5.0, 0.9),
    },
    "PSMA": {
        organs.SPLEEN: (6.0, 0.45), organs.KIDNEYS: (32.0, 0.35), organs.LIVER: (4.5, 0.35),
        organs.BLADDER: (18.0, 1.0), organs.LUNGS: (0.45, 0.2), organs.BRAIN: (0.12, 0.3),
        organs.HEART: (1.5, 0.25), organs.STOMACH: (2.2, 0.5), organs.PROSTATE: (2.2, 0.35),
        organs.SALIVARY: (12.0, 0.35), tissues.FAT: (0.25, 0.3), tissues.MUSCLE: (0.55, 0.25),
        tissues.CORTEX: (0.5, 0.3), tissues.MARROW: (0.7, 0.3), tissues.VESSEL: (1.5, 0.25),
        tissues.BOWEL: (1.1, 0.4), tissues.URETER: (7.0, 0.9),
    },
}  # fmt: skip


def draw_uptake(tracer: str, gen: torch.Generator) -> dict[int, float]:
    """One patient's SUVbw for every tissue.

    Raises:
        AnyPETError: unknown tracer.
    """
    if tracer not in TRACERS:
        raise AnyPETError(f"unknown tracer {tracer!r}; one of {', '.join(TRACERS)}")
    if tracer == "random":
        return {t: log_uniform(gen, 0.15, 12.0) for t in UPTAKE["FDG"]}
    scale = log_normal(gen, 1.0, 0.12)  # body habitus and glucose move all organs together
    return {t: scale * log_normal(gen, median, sigma) for t, (median, sigma) in UPTAKE[tracer].items()}


def activity(body: Body, tracer: str, gen: torch.Generator) -> torch.Tensor:
    """SUVbw (D, H, W) = (R, A, S) of the body before the scanner sees it, lesions not included."""
    device = gen.device
    tissue = torch.from_numpy(body.tissue).to(device)
    uptake = draw_uptake(tracer, gen)
    table = torch.zeros(256, device=device)
    for label, value in uptake.items():
        table[label] = value
    image = table[tissue.long()]
    shape = tuple(image.shape)
    # organs are not flat: slow variation everywhere, faster and stronger in gut, muscle and marrow
    image = image * torch.exp(uniform(gen, 0.04, 0.14) * smooth_noise(gen, shape, 6))
    loose = (tissue == tissues.BOWEL) | (tissue == tissues.MUSCLE) | (tissue == tissues.MARROW)
    image = torch.where(loose, image * torch.exp(0.3 * smooth_noise(gen, shape, 8)), image)
    # most loops are quiet, some stretches are hot
    hot_gut = torch.relu(smooth_noise(gen, shape, 14) - 0.5) * log_uniform(gen, 0.3, 6.0)
    image = torch.where(tissue == tissues.BOWEL, image * (1 + hot_gut), image)
    image = _heart(image, tissue, uptake, tracer, gen)
    image = _brain(image, tissue, tracer, gen)
    image = _kidneys(image, tissue, body.spacing, gen)
    image = _hollow(image, tissue, organs.STOMACH, 8.0 / body.spacing, uniform(gen, 0.2, 1.1))
    return _lungs(image, tissue, gen)


def _inner(mask: torch.Tensor, voxels: float) -> torch.Tensor:
    """The mask eroded by about this many voxels (in a cube's norm)."""
    k = 2 * max(1, round(voxels)) + 1
    outside = (~mask).float()[None, None]
    return mask & (torch.nn.functional.max_pool3d(outside, k, stride=1, padding=k // 2)[0, 0] == 0)


def _box(mask: torch.Tensor) -> tuple[slice, ...] | None:
    """The mask's bounding box, or None."""
    where = torch.nonzero(mask)
    if len(where) == 0:
        return None
    lo, hi = where.amin(0).tolist(), where.amax(0).tolist()
    return tuple(slice(a, b + 1) for a, b in zip(lo, hi, strict=True))


def _hollow(image: torch.Tensor, tissue: torch.Tensor, label: int, wall: float, lumen: float) -> torch.Tensor:
    """An organ with a wall of `wall` voxels around contents of `lumen` times its activity."""
    box = _box(tissue == label)
    if box is not None:
        image[box] = torch.where(_inner(tissue[box] == label, wall), image[box] * lumen, image[box])
    return image


def _heart(
    image: torch.Tensor, tissue: torch.Tensor, uptake: dict[int, float], tracer: str, gen: torch.Generator
) -> torch.Tensor:
    """The left ventricle's wall: a thick shell open to the base, from blood level to very hot."""
    box = _box(tissue == organs.HEART)
    if box is None:
        return image
    mask = tissue[box] == organs.HEART
    where = torch.nonzero(mask).float()
    lo, size = where.amin(0), where.amax(0) - where.amin(0) + 1
    centre = lo + size * torch.tensor([0.32, 0.55, 0.40], device=image.device)  # left (low R), front, low
    axis = torch.nn.functional.normalize(torch.tensor([-0.65, 0.6, -0.45], device=image.device), dim=0)
    axes = [torch.arange(n, device=image.device).float() for n in mask.shape]
    rel = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - centre
    along = rel @ axis
    across = (rel.square().sum(-1) - along.square()).clamp_min(0).sqrt()
    short, long = size.mean() * uniform(gen, 0.24, 0.3), size.mean() * uniform(gen, 0.36, 0.46)
    r = ((across / short).square() + (along / long).square()).sqrt()
    wall = mask & (r < 1) & (r > uniform(gen, 0.55, 0.68)) & (along > -0.55 * long)
    hot = uptake[organs.HEART]
    if tracer == "FDG" and chance(gen, 0.7):
        hot = log_uniform(gen, 2.0, 14.0)
    elif tracer == "random":
        hot = log_uniform(gen, 0.3, 12.0)
    patchy = torch.exp(0.2 * smooth_noise(gen, tuple(mask.shape), 4))
    image[box] = torch.where(wall, hot * patchy, image[box])
    return image


def _brain(image: torch.Tensor, tissue: torch.Tensor, tracer: str, gen: torch.Generator) -> torch.Tensor:
    """Grey matter at the surface and in deep nuclei, white matter and ventricles between."""
    box = _box(tissue == organs.BRAIN)
    if box is None or tracer == "PSMA":
        return image
    mask = tissue[box] == organs.BRAIN
    folds = smooth_noise(gen, tuple(mask.shape), 3)
    white = _inner(mask, 3) & (folds > -0.4)
    deep = _inner(mask, 8) & (smooth_noise(gen, tuple(mask.shape), 5) > 0.5)
    image[box] = torch.where(white & ~deep, image[box] * uniform(gen, 0.35, 0.6), image[box])
    return image


def _kidneys(image: torch.Tensor, tissue: torch.Tensor, spacing: float, gen: torch.Generator) -> torch.Tensor:
    """Renal pelves: the inner part, often much hotter than the cortex, sometimes colder."""
    box = _box(tissue == organs.KIDNEYS)
    if box is None:
        return image
    mask = tissue[box] == organs.KIDNEYS
    pelvis = _inner(mask, uniform(gen, 8.0, 13.0) / spacing) & (
        smooth_noise(gen, tuple(mask.shape), 3) > -0.5
    )
    factor = log_uniform(gen, 1.5, 7.0) if chance(gen, 0.6) else uniform(gen, 0.5, 1.2)
    image[box] = torch.where(pelvis, image[box] * factor, image[box])
    return image


def _lungs(image: torch.Tensor, tissue: torch.Tensor, gen: torch.Generator) -> torch.Tensor:
    """Lungs are denser, hence hotter, towards the back."""
    back = torch.linspace(1.35, 0.75, image.shape[1], device=image.device)[None, :, None]
    texture = torch.exp(0.12 * smooth_noise(gen, tuple(image.shape), 4))
    return torch.where(tissue == organs.LUNGS, image * back * texture, image)


def tissue_hu(body: Body, gen: torch.Generator) -> torch.Tensor:
    """Hounsfield units (D, H, W) of the body's tissues (unenhanced CT, textbook values)."""
    table = torch.full((256,), 45.0, device=gen.device)
    table[tissues.AIR], table[organs.LUNGS], table[tissues.FAT] = -1000.0, -780.0, -100.0
    table[tissues.MUSCLE], table[tissues.CORTEX], table[tissues.MARROW] = 52.0, 650.0, 180.0
    table[organs.LIVER], table[organs.SPLEEN], table[organs.KIDNEYS] = 58.0, 48.0, 32.0
    table[organs.BLADDER], table[organs.BRAIN], table[organs.STOMACH] = 6.0, 36.0, 25.0
    table[tissues.BOWEL] = 15.0
    return table[torch.from_numpy(np.ascontiguousarray(body.tissue)).to(gen.device).long()]
