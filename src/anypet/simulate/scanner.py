"""The scanner: blur, noise and reconstruction texture, then the grid of the machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from anypet.simulate.noise import chance, gaussian_blur, log_uniform, uniform

FWHM_TO_SIGMA = 1 / 2.3548


@dataclass(frozen=True)
class Scanner:
    """One machine and protocol.

    Args:
        fwhm_mm: resolution of the reconstructed image, in-plane and axial.
        noise: coefficient of variation in tissue of SUV 2 (liver); EANM asks for less than 0.15.
        grain_mm: FWHM of the noise's own correlation.
        edge: strength of the overshoot at edges that resolution modelling leaves (0 = none).
        spacing_mm: voxel size in-plane and axial.
    """

    fwhm_mm: tuple[float, float]
    noise: float
    grain_mm: float
    edge: float
    spacing_mm: tuple[float, float]


def draw_scanner(gen: torch.Generator) -> Scanner:
    """A machine between a current digital one and an analogue one of twenty years ago."""
    in_plane = uniform(gen, 2.5, 5.6)
    fwhm = max(uniform(gen, 4.5, 8.5), in_plane)
    return Scanner(
        fwhm_mm=(fwhm, fwhm * uniform(gen, 0.85, 1.25)),
        noise=log_uniform(gen, 0.03, 0.25),
        grain_mm=uniform(gen, 4.0, 8.0),
        edge=uniform(gen, 0.1, 0.6) if chance(gen, 0.35) else 0.0,
        spacing_mm=(in_plane, uniform(gen, 2.0, 5.0)),
    )


def acquire(activity: torch.Tensor, spacing: float, scanner: Scanner, gen: torch.Generator) -> torch.Tensor:
    """Activity (D, H, W) in SUV at `spacing` mm -> PET (D, H, W) on the same grid, never negative."""
    sigma = [f * FWHM_TO_SIGMA / spacing for f in scanner.fwhm_mm]
    image = gaussian_blur(activity[None, None], (sigma[0], sigma[0], sigma[1]))
    if scanner.edge:
        image = image + scanner.edge * (image - gaussian_blur(image, (sigma[0], sigma[0], sigma[1])))
    white = torch.randn(image.shape, generator=gen, device=gen.device)
    grain = gaussian_blur(white, (scanner.grain_mm * FWHM_TO_SIGMA / spacing,) * 3)
    grain = grain / grain.std()
    # iterative reconstruction: noise grows a little slower than the signal
    deviation = scanner.noise * 2.0**0.25 * image.clamp_min(0.05) ** 0.75
    return (image + deviation * grain).clamp_min(0)[0, 0]


def regrid(image: torch.Tensor, spacing: float, target: tuple[float, float, float]) -> torch.Tensor:
    """Resamples (D, H, W) from isotropic `spacing` to `target` mm; the outer faces of both grids coincide."""
    size = [max(1, round(n * spacing / t)) for n, t in zip(image.shape, target, strict=True)]
    return F.interpolate(image[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
