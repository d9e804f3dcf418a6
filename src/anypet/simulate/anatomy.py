"""Anatomies to simulate from: organ label maps of patients, or the analytic one that the package carries."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from anypet.errors import ReadError

# Labels of the anatomy maps (TotalSegmentator's organs as drawn for the autoPET III data).
SPLEEN, KIDNEYS, LIVER, BLADDER, LUNGS, BRAIN, HEART, STOMACH, PROSTATE, SALIVARY = range(1, 11)
ORGANS = {
    SPLEEN: "spleen",
    KIDNEYS: "kidneys",
    LIVER: "liver",
    BLADDER: "urinary bladder",
    LUNGS: "lungs",
    BRAIN: "brain",
    HEART: "heart",
    STOMACH: "stomach",
    PROSTATE: "prostate",
    SALIVARY: "salivary glands",
}


@dataclass(frozen=True)
class Anatomy:
    """Organs of one patient.

    Args:
        labels: uint8 indexed along (R, A, S); values of `ORGANS`, 0 elsewhere.
        spacing: millimetres per voxel, isotropic.
        origin_mm: RAS millimetres of voxel (0, 0, 0).
        name: study name.
        tracer: "FDG", "PSMA" or None where nothing is known.
        lesion_sites: (N, 3) RAS millimetres where real lesions were seen.
        hot_sites: (M, 3) RAS millimetres of strong physiological uptake in the same scan.
    """

    labels: npt.NDArray[np.uint8]
    spacing: float
    origin_mm: tuple[float, float, float]
    name: str = "anatomy"
    tracer: str | None = None
    lesion_sites: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    hot_sites: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """4 x 4; voxel -> RAS millimetres."""
        affine = np.diag([self.spacing] * 3 + [1.0])
        affine[:3, 3] = self.origin_mm
        return affine


@lru_cache(maxsize=4)
def _clicks(folder: Path) -> dict[str, Any]:
    path = folder / "lesion_clicks.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def load_anatomy(path: str | Path) -> Anatomy:
    """Reads an organ label map; the real lesion sites come from `lesion_clicks.json` beside it, if there.

    Raises:
        ReadError: no such file, not NIfTI, not a 3D label map on an isotropic grid, or labels that are not
            those of `ORGANS`.
    """
    path = Path(path)
    try:
        image: Any = nib.as_closest_canonical(nib.load(path))  # type: ignore[attr-defined]
        labels = np.asarray(image.dataobj)
    except (OSError, EOFError, zlib.error, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise ReadError(f"{path}: cannot be read as a NIfTI label map: {error}") from error
    spacing = np.asarray(image.header.get_zooms()[:3], dtype=float)
    if labels.ndim != 3 or np.ptp(spacing) > 1e-3:
        raise ReadError(
            f"{path}: an anatomy is a 3D label map on an isotropic grid, got {labels.shape} at {spacing} mm"
        )
    odd = np.setdiff1d(labels, [0, *ORGANS])
    if odd.size:  # body.py gives the values after these to tissues of its own
        known = ", ".join(f"{value} {organ}" for value, organ in ORGANS.items())
        raise ReadError(f"{path}: unknown labels {odd[:5].tolist()}; an anatomy holds 0 and {known}")
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    clicks = _clicks(path.parent).get(name, {})
    sites, hot = (
        np.array(clicks.get(kind, []), dtype=float).reshape(-1, 3) for kind in ("tumor", "background")
    )
    tracer = {"fdg": "FDG", "psma": "PSMA"}.get(name.split("_")[0])
    origin = tuple(float(v) for v in image.affine[:3, 3])
    return Anatomy(labels.astype(np.uint8), float(spacing[0]), origin, name, tracer, sites, hot)  # type: ignore[arg-type]


def patient_of(path: Path) -> str:
    """The patient of a study file: the second field of `tracer_patient_date`."""
    fields = path.name.split("_")
    return fields[1] if len(fields) > 1 else path.name


def anatomy_split(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Splits studies by patient: 85 % train, 5 % validation, 10 % test, by a hash of the patient's name."""
    split: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
    for path in sorted(paths):
        share = int(hashlib.sha256(patient_of(path).encode()).hexdigest()[:8], 16) / 2**32
        split["train" if share < 0.85 else "validation" if share < 0.90 else "test"].append(path)
    return split


def _ellipsoid(
    grid: list[npt.NDArray[Any]], centre: tuple[float, ...], radii: tuple[float, ...]
) -> npt.NDArray[Any]:
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1.0  # type: ignore[return-value]


def analytic_anatomy(seed: int = 0, spacing: float = 4.0) -> Anatomy:
    """A person made of ellipsoids in 560 x 400 x 940 mm, different for every seed; needs no data.

    Centres and radii in millimetres are round numbers for an adult torso, varied by 8 %.
    """
    rng = np.random.default_rng(seed)
    shape = tuple(round(mm / spacing) for mm in (560, 400, 940))
    axes = [(np.arange(n) - n / 2) * spacing for n in shape]
    grid = list(np.meshgrid(*axes, indexing="ij", sparse=True))
    labels = np.zeros(shape, dtype=np.uint8)
    vary = lambda *v: tuple(float(x * rng.uniform(0.92, 1.08)) for x in v)  # noqa: E731
    # (label, centre R A S, radii): later ones overwrite
    parts = [
        (LUNGS, (72, 0, 130), (58, 78, 125)),
        (LUNGS, (-72, 0, 130), (54, 76, 125)),
        (LIVER, (72, 8, -10), (82, 74, 62)),
        (LIVER, (5, 35, 5), (60, 42, 35)),
        (STOMACH, (-62, 38, -8), (42, 36, 48)),
        (SPLEEN, (-104, -28, 2), (30, 42, 52)),
        (HEART, (-22, 28, 92), (58, 48, 58)),
        (KIDNEYS, (62, -42, -68), (27, 28, 54)),
        (KIDNEYS, (-62, -42, -58), (27, 28, 54)),
        (BLADDER, (0, 15, -268), (38, 34, 30)),
        (PROSTATE, (0, 5, -308), (23, 18, 18)),
        (BRAIN, (0, 10, 398), (68, 84, 66)),
        (SALIVARY, (52, 10, 318), (12, 16, 24)),
        (SALIVARY, (-52, 10, 318), (12, 16, 24)),
    ]
    for label, centre, radii in parts:
        labels[_ellipsoid(grid, vary(*centre), vary(*radii))] = label
    origin = tuple(float(a[0]) for a in axes)
    return Anatomy(labels, spacing, origin, name=f"analytic-{seed}")  # type: ignore[arg-type]
