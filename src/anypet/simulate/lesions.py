"""Lesions: shapes from 0.2 mL to 2 L as soft occupancies, and what is in them.

A lesion is a union of ellipsoids whose surface is disturbed by a smooth random field: round, lobulated,
elongated. Inside it may be even, patchy, necrotic (a cold core inside a rim) or cold throughout. Occupancy is
soft at the border, so that a 7 mm lesion keeps its volume on a 4 mm grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from anypet.components import connected_components
from anypet.simulate import body as tissues
from anypet.simulate.anatomy import BRAIN, LIVER, Anatomy
from anypet.simulate.body import Body
from anypet.simulate.noise import chance, log_normal, log_uniform, smooth_noise, uniform


@dataclass(frozen=True)
class Lesion:
    """One lesion on the body's grid.

    Args:
        box: the voxels that hold it.
        occupancy: float (d, h, w) in [0, 1], the share of each voxel of the box that is lesion.
        suv: float (d, h, w), activity of the lesion tissue in each voxel of the box.
    """

    box: tuple[slice, slice, slice]
    occupancy: torch.Tensor
    suv: torch.Tensor


def _random_rotation(gen: torch.Generator) -> torch.Tensor:
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=gen, device=gen.device))
    return q * torch.sign(torch.diagonal(r))


def signed_distance(
    gen: torch.Generator, shape: tuple[int, ...], centre: torch.Tensor, radius: float, upright: bool
) -> torch.Tensor:
    """About the signed distance in voxels (negative inside) to a random lobulated shape of this radius."""
    axes = [torch.arange(n, device=gen.device).float() for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - centre
    lobes = 1 if chance(gen, 0.45) else int(uniform(gen, 2, 6))
    field: torch.Tensor | None = None
    for lobe in range(lobes):
        stretch = torch.exp(0.3 * torch.randn(3, generator=gen, device=gen.device))
        if upright:  # tumours of the limbs grow along them
            stretch = stretch * torch.tensor([0.8, 0.8, uniform(gen, 1.0, 2.2)], device=gen.device)
        stretch = stretch / stretch.prod() ** (1 / 3)
        size = radius * (1.0 if lobes == 1 else uniform(gen, 0.5, 0.8))
        shift = torch.zeros(3, device=gen.device)
        if lobe:
            shift = torch.randn(3, generator=gen, device=gen.device) * radius * 0.5 * stretch
        local = (grid - shift) if upright else (grid - shift) @ _random_rotation(gen)
        d = ((local / (size * stretch)).square().sum(-1).clamp_min(1e-6).sqrt() - 1) * size
        field = d if field is None else -torch.logaddexp(-field / 1.0, -d / 1.0)
    assert field is not None
    rough = uniform(gen, 0.0, 0.3) * radius
    return field + rough * smooth_noise(gen, shape, max(2.0, radius * uniform(gen, 0.5, 1.0)))


def fill(
    gen: torch.Generator, distance: torch.Tensor, radius: float, hot: float, background: float
) -> torch.Tensor:
    """SUV inside: even, patchy, necrotic or cold; `background` is the SUV around it."""
    shape = tuple(distance.shape)
    fine = torch.exp(uniform(gen, 0.05, 0.25) * smooth_noise(gen, shape, 3))
    suv = hot * fine
    cold = min(hot, max(0.15, uniform(gen, 0.05, 0.4) * hot))
    kind = uniform(gen, 0.0, 1.0)
    big = radius > 4
    if big and kind < 0.35:  # necrotic core under a rim of uneven thickness
        rim = radius * uniform(gen, 0.15, 0.6)
        edge = distance + rim * (1 + 0.5 * smooth_noise(gen, shape, max(3.0, radius / 2)))
        suv = suv + (cold - suv) * torch.sigmoid(-edge / 0.8)
    elif big and kind < 0.8:  # patchy: a few hot regions in moderate or cold tissue
        share = uniform(gen, -1.2, 0.9)
        patches = smooth_noise(gen, shape, max(3.0, radius * uniform(gen, 0.4, 1.2)))
        low = cold if chance(gen, 0.5) else hot * uniform(gen, 0.3, 0.7)
        suv = suv + (low - suv) * torch.sigmoid((share - patches) * -uniform(gen, 1.5, 6.0))
    return suv.clamp_min(min(background, 0.1))


def lesion_at(
    gen: torch.Generator,
    body: Body,
    tissue: torch.Tensor,
    image: torch.Tensor,
    centre: torch.Tensor,
    volume_ml: float,
) -> Lesion | None:
    """Makes one lesion around a voxel; None where the body leaves it less than half a voxel."""
    radius = (volume_ml * 1000 * 3 / (4 * math.pi)) ** (1 / 3) / body.spacing
    reach = math.ceil(radius * 2.6 + 2)
    c = [round(float(v)) for v in centre]
    box = tuple(
        slice(max(0, v - reach), max(0, min(n, v + reach + 1))) for v, n in zip(c, tissue.shape, strict=True)
    )
    local = tissue[box]
    if 0 in local.shape:
        return None
    offset = torch.tensor([s.start for s in box], device=gen.device)
    inside_limb = volume_ml > 60 and chance(gen, 0.6)
    distance = signed_distance(gen, tuple(local.shape), centre - offset, radius, upright=inside_limb)
    distance = _of_volume(distance, volume_ml * 1000 / body.spacing**3)
    allowed = local != tissues.AIR
    if volume_ml > 20 and chance(gen, 0.6):  # big tumours push bone aside more often than they eat it
        allowed &= (local != tissues.CORTEX) & (local != tissues.MARROW)
    if volume_ml > 20:
        allowed &= local != BRAIN
    occupancy = _largest_part((0.5 - distance).clamp(0, 1) * allowed)
    if float(occupancy.sum()) < 0.5:
        return None
    around = float((image[box] * occupancy).sum() / occupancy.sum())
    hot = _hot_level(gen, around)
    suv = fill(gen, distance, radius, hot, around)
    return Lesion(box, occupancy, suv)  # type: ignore[arg-type]


def _of_volume(distance: torch.Tensor, voxels: float) -> torch.Tensor:
    """Moves the surface in or out until it holds this many voxels (bisection)."""
    low, high = float(distance.min()) - 1.0, float(distance.max()) + 1.0
    for _ in range(14):
        middle = (low + high) / 2
        if float((0.5 - distance + middle).clamp(0, 1).sum()) < voxels:
            low = middle
        else:
            high = middle
    return distance - (low + high) / 2


def _largest_part(occupancy: torch.Tensor) -> torch.Tensor:
    """Keeps one piece: a tumour does not jump from the arm to the chest through air."""
    parts = connected_components((occupancy > 0.05).cpu().numpy())
    if parts.max() < 2:
        return occupancy
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return occupancy * torch.from_numpy(parts == largest).to(occupancy.device)


def _hot_level(gen: torch.Generator, around: float) -> float:
    """SUV of the viable part, in view of the tissue that it grew in."""
    if chance(gen, 0.06):  # a cyst or an ablated region: colder than its host
        return around * uniform(gen, 0.05, 0.5)
    level = log_normal(gen, 5.0, 0.75)
    return min(60.0, max(level, around * uniform(gen, 1.4, 3.0), 0.9))


def draw_lesions(
    body: Body, anatomy: Anatomy, image: torch.Tensor, gen: torch.Generator, most: int = 12
) -> list[Lesion]:
    """A patient's lesions, drawn at real lesion sites, in liver and marrow, in muscle and fat, in chains."""
    if most < 1:
        return []
    tissue = torch.from_numpy(body.tissue).to(gen.device)
    count = int(uniform(gen, 1, most + 1))
    sites = _sites(body, anatomy, tissue, gen, count)
    lesions: list[Lesion] = []
    taken = torch.zeros_like(tissue, dtype=torch.bool)
    for index, site in enumerate(sites):
        large = index == 0 and chance(gen, 0.65)
        volume = log_uniform(gen, 20.0, 2000.0) if large else log_uniform(gen, 0.2, 40.0)
        lesion = lesion_at(gen, body, tissue, image, site, volume)
        if lesion is None:
            continue
        solid = lesion.occupancy > 0.05
        if bool((taken[lesion.box] & solid).any()):  # two lesions in one would be one target with two labels
            continue
        taken[lesion.box] |= solid
        lesions.append(lesion)
    return lesions


def _sites(
    body: Body, anatomy: Anatomy, tissue: torch.Tensor, gen: torch.Generator, count: int
) -> list[torch.Tensor]:
    """Centres in voxels of the body's grid."""
    sites: list[torch.Tensor] = []
    real = (anatomy.lesion_sites - np.array(body.origin_mm)) / body.spacing
    real = real[(real > 2).all(1) & (real < np.array(body.tissue.shape) - 3).all(1)]
    depth = torch.from_numpy(body.depth_mm).to(gen.device)
    soft = (depth > 15) & ((tissue == tissues.MUSCLE) | (tissue == tissues.FAT))
    pools = {
        "soft": torch.nonzero(soft)[::7],
        "bone": torch.nonzero(tissue == tissues.MARROW)[::3],
        "liver": torch.nonzero(tissue == LIVER)[::5],
        "any": torch.nonzero(depth > 8)[::11],
    }
    while len(sites) < count:
        if not sites or chance(gen, 0.45):
            kind = (
                "soft" if not sites or chance(gen, 0.5) else ("bone", "liver", "any")[int(uniform(gen, 0, 3))]
            )
            pool = pools[kind] if len(pools[kind]) else pools["any"]
            site = pool[int(uniform(gen, 0, len(pool)))].float()
        elif len(real) and chance(gen, 0.6):
            pick = real[int(uniform(gen, 0, len(real)))]
            site = torch.tensor(pick, dtype=torch.float32, device=gen.device)
        else:  # a chain: beside the one before
            site = sites[-1] + torch.randn(3, generator=gen, device=gen.device) * 30.0 / body.spacing
        sites.append(site + torch.rand(3, generator=gen, device=gen.device) - 0.5)
    return sites
