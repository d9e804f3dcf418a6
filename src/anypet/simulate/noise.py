"""Seeded random fields on a grid: smooth ones for texture and shape, and the generators they come from."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator on `device` with this seed."""
    return torch.Generator(device=device).manual_seed(seed)


def uniform(gen: torch.Generator, low: float, high: float) -> float:
    """One draw from U(low, high)."""
    return low + (high - low) * float(torch.rand((), generator=gen, device=gen.device))


def log_uniform(gen: torch.Generator, low: float, high: float) -> float:
    """One draw whose logarithm is uniform."""
    return math.exp(uniform(gen, math.log(low), math.log(high)))


def log_normal(gen: torch.Generator, median: float, sigma: float) -> float:
    """One draw from a log-normal with this median and this standard deviation of the logarithm."""
    return median * math.exp(sigma * float(torch.randn((), generator=gen, device=gen.device)))


def chance(gen: torch.Generator, probability: float) -> bool:
    """True with this probability."""
    return uniform(gen, 0.0, 1.0) < probability


def smooth_noise(gen: torch.Generator, shape: tuple[int, ...], cells: float) -> torch.Tensor:
    """A field (D, H, W) of mean 0 and standard deviation about 1 that varies over `cells` voxels."""
    coarse = [max(2, round(n / cells) + 2) for n in shape]
    seeds = torch.randn(1, 1, *coarse, generator=gen, device=gen.device)
    field = F.interpolate(seeds, size=shape, mode="trilinear", align_corners=True)[0, 0]
    # trilinear mixing of unit normals lowers their variance
    return field / field.std().clamp_min(1e-3)


def gaussian_blur(image: torch.Tensor, sigma: tuple[float, float, float]) -> torch.Tensor:
    """Separable Gaussian of `sigma` voxels along (D, H, W) of an image (B, 1, D, H, W); edges replicate."""
    for axis, s in enumerate(sigma):
        if s < 0.05:
            continue
        radius = max(1, math.ceil(3 * s))
        x = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
        kernel = torch.exp(-0.5 * (x / s) ** 2)
        kernel = kernel / kernel.sum()
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = kernel.numel()
        pad = [0] * 6
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = radius
        image = F.conv3d(F.pad(image, pad, mode="replicate"), kernel.reshape(shape))
    return image
