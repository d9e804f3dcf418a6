"""Uptake at small sites that no organ map labels: mouth, tonsils, testes, duodenum, joints, injected veins.

A lesion finder that has never seen them calls each a lesion. Places hang on the organs that are there (as in
`anypet.simulate.body`); how often a site shows and how strongly are round figures for what Shreve et al.
(Radiographics 1999;19:61) show for FDG and Hofman et al. (Radiographics 2018;38:200) for PSMA ligands. What
readers marked as physiological in the same patient (`Anatomy.hot_sites`) is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from anypet.simulate import body as tissues
from anypet.simulate.anatomy import ORGANS, PROSTATE, Anatomy
from anypet.simulate.body import Body, Frame, landmarks
from anypet.simulate.noise import chance, log_normal, log_uniform, smooth_noise, uniform

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Uptake:
    """How a tracer shows a site: share of patients, median SUVbw, standard deviation of its logarithm."""

    share: float
    suv: float = 1.0
    spread: float = 0.4


# site -> FDG, PSMA
UPTAKE: dict[str, tuple[Uptake, Uptake]] = {
    "face": (Uptake(0.8, 1.4, 0.3), Uptake(0.5, 1.2, 0.3)),
    "mouth": (Uptake(0.8, 2.1, 0.35), Uptake(0.3, 2.0)),
    "tonsils": (Uptake(0.7, 3.2), Uptake(0.2, 2.0)),
    "nasopharynx": (Uptake(0.5, 2.5, 0.35), Uptake(0.6, 2.2)),
    "nose": (Uptake(0.2, 1.8, 0.3), Uptake(0.8, 2.5)),
    "eyes": (Uptake(0.7, 2.8, 0.3), Uptake(0.1, 1.0)),
    "lacrimal glands": (Uptake(0.1, 1.5), Uptake(0.95, 6.0, 0.35)),
    "larynx": (Uptake(0.5, 2.5), Uptake(0.1, 1.5)),
    "thyroid": (Uptake(0.12, 3.5, 0.5), Uptake(0.05, 2.0)),
    "oesophagus": (Uptake(0.35, 2.0, 0.3), Uptake(0.1, 1.5)),
    "brown fat": (Uptake(0.08, 4.5, 0.5), Uptake(0.0)),
    "shoulders": (Uptake(0.35, 1.9, 0.3), Uptake(0.1, 1.2)),
    "hips": (Uptake(0.35, 1.7, 0.3), Uptake(0.1, 1.2)),
    "facets": (Uptake(0.4, 2.4), Uptake(0.15, 1.8)),
    "ganglia": (Uptake(0.0), Uptake(0.6, 2.5)),
    "duodenum": (Uptake(0.25, 2.2), Uptake(0.95, 9.0, 0.45)),
    "gallbladder": (Uptake(0.02, 2.0), Uptake(0.2, 8.0, 0.8)),
    "testes": (Uptake(0.85, 2.6, 0.35), Uptake(0.1, 1.2)),
    "uterus": (Uptake(0.25, 3.0, 0.5), Uptake(0.1, 1.5)),
    "rectum": (Uptake(0.5, 2.4), Uptake(0.1, 1.5)),
    "urethra": (Uptake(0.4, 6.0, 0.8), Uptake(0.6, 8.0, 0.8)),
    "vein": (Uptake(0.2, 6.0, 0.9), Uptake(0.2, 6.0, 0.9)),
    "marked": (Uptake(0.5, 3.5, 0.5), Uptake(0.5, 4.0, 0.6)),
}


def add_physiology(
    image: torch.Tensor, body: Body, anatomy: Anatomy, tracer: str, gen: torch.Generator
) -> torch.Tensor:
    """Paints the sites into an activity.

    Args:
        image: (D, H, W) SUVbw of `body`, changed in place.
        body: what was simulated; testes that hang below the trunk become muscle in its tissue.
        anatomy: for the places that readers marked, used where its tracer is the one simulated.
        tracer: "FDG", "PSMA" or "random".
        gen: draws.

    Returns:
        The image.
    """
    tissue = torch.from_numpy(body.tissue).to(gen.device)
    levels: dict[str, float] = {}  # both sides of a pair shine alike
    for name, centre, radii in _sites(body, anatomy, tracer, gen):
        if name not in levels or name in ("marked", "facets"):
            levels[name] = _level(name, tracer, gen)
        if levels[name] > 0:
            _paint(image, tissue, body, name, centre, radii, levels[name], gen)
    body.tissue[...] = tissue.cpu().numpy()
    return image


def _level(name: str, tracer: str, gen: torch.Generator) -> float:
    """SUVbw of a site in a patient; 0 where it does not show."""
    if tracer == "random":
        return log_uniform(gen, 0.5, 8.0) if chance(gen, 0.4) else 0.0
    uptake = UPTAKE[name][tracer == "PSMA"]
    return log_normal(gen, uptake.suv, uptake.spread) if chance(gen, uptake.share) else 0.0


def _sites(
    body: Body, anatomy: Anatomy, tracer: str, gen: torch.Generator
) -> Iterator[tuple[str, Point, Point]]:
    """Name, centre and radii in mm from the grid's corner; pairs come twice."""
    axes = tuple(np.arange(n, dtype=np.float32) * np.float32(body.spacing) for n in body.tissue.shape)
    frame = landmarks(body.tissue, axes)  # type: ignore[arg-type]
    yield from _head(frame)
    yield from _trunk(frame, gen)
    yield from _pelvis(frame, male=bool((body.tissue == PROSTATE).sum() > 50))
    arms = np.argwhere(body.tissue > 0) * body.spacing
    arms = arms[np.abs(arms[:, 0] - frame.spine_x) > (frame.lungs[1, 0] - frame.lungs[0, 0]) / 2 + 60]
    if len(arms):
        x, y, z = arms[int(uniform(gen, 0, len(arms)))]
        yield "vein", (x, y, z), (4, 4, 18)
    if tracer == anatomy.tracer:
        for x, y, z in anatomy.hot_sites - np.array(body.origin_mm):
            r = log_uniform(gen, 5.0, 14.0)
            yield "marked", (x, y, z), (r, r, r)


def _head(frame: Frame) -> Iterator[tuple[str, Point, Point]]:
    lo, hi = frame.lungs
    if frame.brain is not None:
        x, front, base = frame.brain[:, 0].mean(), frame.brain[1, 1], frame.brain[0, 2]
        front = max(front, frame.brain[0, 1] + 140)  # a brain cut by the field of view shows less of itself
    else:
        x, front, base = frame.spine_x, (lo[1] + hi[1]) / 2 + 100, hi[2] + 150
    yield "face", (x, front - 40, base - 28), (40, 44, 38)
    yield "mouth", (x, front - 32, base - 45), (22, 28, 15)
    yield "nasopharynx", (x, front - 62, base), (14, 7, 10)
    yield "nose", (x, front - 12, base + 5), (10, 25, 15)
    yield "larynx", (x, front - 72, base - 95), (12, 8, 8)
    for side in (-1, 1):
        yield "tonsils", (x + side * 16, front - 55, base - 25), (7, 8, 10)
        yield "eyes", (x + side * 30, front + 3, base + 30), (10, 12, 8)
        yield "lacrimal glands", (x + side * 42, front - 4, base + 42), (5, 7, 5)


def _trunk(frame: Frame, gen: torch.Generator) -> Iterator[tuple[str, Point, Point]]:
    lo, hi = frame.lungs
    x, half, pole = frame.spine_x, (hi[0] - lo[0]) / 2, frame.abdomen[0, 2]
    yield "oesophagus", (x - 5, lo[1] + 72, (lo[2] + hi[2]) / 2), (7, 7, 95)
    yield "duodenum", (x + 42, lo[1] + 105, pole + 85), (12, 12, 28)
    yield "duodenum", (x + 10, lo[1] + 100, pole + 50), (32, 11, 11)
    yield "duodenum", (x - 45, lo[1] + 112, pole + 65), (28, 20, 20)
    yield "gallbladder", (x + 62, lo[1] + 150, pole + 75), (13, 13, 22)
    for _ in range(3):
        z = uniform(gen, pole - 60, hi[2])
        yield "facets", (x + (22 if chance(gen, 0.5) else -22), lo[1] + 15, z), (8, 8, 10)
    for side in (-1, 1):
        yield "thyroid", (x + side * 18, lo[1] + 95, hi[2] + 15), (8, 8, 18)
        yield "brown fat", (x + side * 75, lo[1] + 60, hi[2] + 5), (28, 18, 20)
        yield "shoulders", (x + side * (half + 28), lo[1] + 65, hi[2] - 5), (18, 16, 18)
        yield "ganglia", (x + side * 14, lo[1] + 82, pole + 110), (4, 3, 6)


def _pelvis(frame: Frame, male: bool) -> Iterator[tuple[str, Point, Point]]:
    x, y, z = frame.bladder
    yield "rectum", (x, y - 60, z - 35), (13, 13, 16)
    yield "urethra", (x, y + 5, z - 55), (5, 6, 22)
    if not male:
        yield "uterus", (x, y - 28, z + 25), (22, 18, 18)
    for side in (-1, 1):
        yield "hips", (x + side * 86, y - 12, z - 22), (25, 24, 25)
        if male:
            yield "testes", (x + side * 16, y + 12, z - 95), (13, 16, 20)


def _paint(
    image: torch.Tensor, tissue: torch.Tensor, body: Body, name: str, centre: Point, radii: Point,
    suv: float, gen: torch.Generator,
) -> None:  # fmt: skip
    """One site as an uneven ellipsoid, a little elsewhere and of another size than in the table."""
    shift = 4.0 * torch.randn(3, generator=gen, device=gen.device)
    size = torch.tensor(radii, device=gen.device) * log_normal(gen, 1.0, 0.2)
    size = size * torch.exp(0.15 * torch.randn(3, generator=gen, device=gen.device))
    middle = (torch.tensor([float(v) for v in centre], device=gen.device) + shift) / body.spacing
    reach = 1.4 * size / body.spacing + 2
    box = tuple(
        slice(max(0, int(c - r)), max(0, min(n, int(c + r) + 1)))
        for c, r, n in zip(middle.tolist(), reach.tolist(), image.shape, strict=True)
    )
    local = tissue[box]
    if 0 in local.shape:
        return
    axes = [torch.arange(s.start, s.stop, device=gen.device).float() for s in box]
    rel = (torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - middle) * body.spacing / size
    distance = rel.square().sum(-1).clamp_min(1e-6).sqrt() + 0.2 * smooth_noise(gen, tuple(local.shape), 3)
    share = ((1 - distance) * float(size.mean()) / body.spacing + 0.5).clamp(0, 1)
    allowed = ~torch.isin(local, torch.tensor(list(ORGANS), device=gen.device))
    if name == "testes":
        local[(share > 0.5) & (local == tissues.AIR)] = tissues.MUSCLE
    share = share * (allowed & (local != tissues.AIR))
    part = image[box]
    texture = torch.exp(0.15 * smooth_noise(gen, tuple(local.shape), 3))
    image[box] = torch.maximum(part, part + share * (suv * texture - part))
