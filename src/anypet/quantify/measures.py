"""What a reader signs for every object: uptake, volume, form and place; and the same for all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.objects import Patch, Triple
from anypet.quantify.parts import Connectivity, Objects, Part, lesions_of, parts_of, union
from anypet.quantify.peak import Centre, Peak, PeakFinder
from anypet.quantify.shape import Mesh
from anypet.quantify.spread import centroid, spread
from anypet.quantify.suv import Patient, as_suv, suv_kind
from anypet.quantify.table import MeasureTable
from anypet.volume import FloatArray, Volume


@dataclass(frozen=True)
class Measures:
    """The measures of one object; `definitions` says what each is, in which unit and from where.

    None stands where a measure does not exist: all but the volumes of an empty object, the distance to the
    spleen without a spleen.

    Args:
        label, name: which object; label 0 is all together.
        voxels: number of voxels.
        volume_ml: voxels times the volume of one.
        suv_max, suv_mean, suv_median, suv_sd, suv_peak: in the SUV of the table.
        suv_max_voxel, suv_max_mm: where the hottest voxel is, (i, j, k) and RAS mm.
        suv_peak_mm: centre of the sphere of SUVpeak, RAS mm.
        tlg: SUVmean times volume, SUV x mL.
        surface_cm2, sphericity: of the mesh around the object.
        longest_mm, longest_axial_mm: longest diameter in 3D and in an axial plane of the patient.
        centroid_mm: mean place of its voxels, RAS mm.
        spleen_mm: distance of its centroid from the spleen's.
    """

    label: int
    name: str
    voxels: int
    volume_ml: float
    suv_max: float | None = None
    suv_max_voxel: tuple[int, int, int] | None = None
    suv_max_mm: Triple | None = None
    suv_mean: float | None = None
    suv_median: float | None = None
    suv_sd: float | None = None
    suv_peak: float | None = None
    suv_peak_mm: Triple | None = None
    tlg: float = 0.0
    surface_cm2: float | None = None
    longest_mm: float | None = None
    longest_axial_mm: float | None = None
    sphericity: float | None = None
    centroid_mm: Triple | None = None
    spleen_mm: float | None = None

    @property
    def mtv_ml(self) -> float:
        """Metabolic tumour volume: the volume of the object's voxels, under the name that reports ask for."""
        return self.volume_ml


def measure(
    pet: Volume,
    objects: Objects,
    *,
    suv: str = "bw",
    patient: Patient | None = None,
    spleen: npt.NDArray[np.bool_] | None = None,
    connectivity: Connectivity = 26,
    centre: Centre = "inside",
) -> MeasureTable:
    """Measures every object of a scan, and all of them together.

    Args:
        pet: (i, j, k) in a SUV.
        objects: labels on the PET's grid, or name -> (I, J, K) bool, which may overlap; voxels in several
            objects count once in the total.
        suv: "bw", "lbm" (Janmahasatian), "lbm-james", "ibw" or "bsa".
        patient: weight, height and sex, for the SUV and SDmax; by default what the header said.
        spleen: (I, J, K) bool, for the distance to it.
        connectivity: which voxels make one lesion, for the count and the distances: 6, 18 or 26.
        centre: where SUVpeak's sphere may have its centre: "inside" the object, "near" it, or on its
            "hottest" voxel.

    Returns:
        The table; it has no row where there is no object.

    Raises:
        AnyPETError: the grids differ.
        SUVError: the scan is not in SUV, or weight, height or sex is missing for the SUV wanted.
    """
    patient = patient or Patient.of(pet)
    scan = as_suv(pet, suv, patient)
    parts = parts_of(objects, scan)
    spleen_mm = _spleen_centre(spleen, scan)
    finder = PeakFinder(scan, centre)
    rows = tuple(_row(part, scan, finder, spleen_mm) for part in parts)
    everything = union(parts, scan.shape)
    lesions = lesions_of(everything, connectivity)
    return MeasureTable(
        rows=rows,
        total=_total(rows, lesions, everything, scan, centre),
        spread=spread(lesions, scan, connectivity, patient.body_surface_m2()),
        suv=suv_kind(suv),
        centre=centre,
    )


def _row(part: Part, scan: Volume, finder: PeakFinder, spleen_mm: FloatArray | None) -> Measures:
    patch = part.patch
    values = scan.array[patch.slices][patch.values]
    voxels = np.argwhere(patch.values) + np.array(patch.start)
    middle = centroid(patch, scan)
    return Measures(
        label=part.label,
        name=part.name,
        spleen_mm=None if spleen_mm is None else float(np.linalg.norm(middle - spleen_mm)),
        **_uptake(values, voxels, scan),
        **_peak(finder.find(patch)),
        **_form(Mesh.around(patch, scan.affine)),
        centroid_mm=_triple(middle),
    )


def _total(
    rows: Sequence[Measures],
    lesions: Sequence[Patch],
    everything: npt.NDArray[np.bool_],
    scan: Volume,
    centre: Centre,
) -> Measures:
    """All objects together; SUVpeak is that of the object where it is highest."""
    if not rows:
        return Measures(0, "total", 0, 0.0)
    voxels = np.argwhere(everything)
    # on the hottest voxel of all, where the sphere belongs there; else the best place in any of the objects
    best = max(rows, key=lambda row: (row.suv_max if centre == "hottest" else row.suv_peak) or 0.0)
    return Measures(
        label=0,
        name="total",
        **_uptake(scan.array[everything], voxels, scan),
        suv_peak=best.suv_peak,
        suv_peak_mm=best.suv_peak_mm,
        **_form(Mesh.joined([Mesh.around(patch, scan.affine) for patch in lesions])),
        centroid_mm=_triple(scan.to_mm(voxels.mean(axis=0))),
    )


def _uptake(values: npt.NDArray[Any], voxels: npt.NDArray[Any], scan: Volume) -> dict[str, Any]:
    """Statistics of the values (N,) of voxels (N, 3)."""
    exact = values.astype(np.float64)
    hottest = voxels[int(np.argmax(exact))]
    volume = len(exact) * scan.voxel_volume_ml
    return {
        "voxels": len(exact),
        "volume_ml": volume,
        "suv_max": float(exact.max()),
        "suv_max_voxel": (int(hottest[0]), int(hottest[1]), int(hottest[2])),
        "suv_max_mm": _triple(scan.to_mm(hottest)),
        "suv_mean": float(exact.mean()),
        "suv_median": float(np.median(exact)),
        "suv_sd": float(exact.std()),
        "tlg": float(exact.mean()) * volume,
    }


def _peak(peak: Peak) -> dict[str, Any]:
    return {"suv_peak": peak.value, "suv_peak_mm": peak.centre_mm}


def _form(mesh: Mesh) -> dict[str, Any]:
    return {
        "surface_cm2": mesh.area_mm2 / 100.0,
        "longest_mm": mesh.longest_mm,
        "longest_axial_mm": mesh.longest_axial_mm,
        "sphericity": mesh.sphericity,
    }


def _spleen_centre(spleen: npt.NDArray[np.bool_] | None, scan: Volume) -> FloatArray | None:
    if spleen is None:
        return None
    if spleen.shape != scan.shape:
        raise AnyPETError(f"the spleen has shape {spleen.shape}, the scan {scan.shape}: they need one grid")
    if not spleen.any():
        raise AnyPETError("the spleen's mask is empty: leave it out where the spleen was removed")
    return centroid(Patch.tight(spleen.astype(bool), spleen.astype(bool)), scan)


def _triple(point: FloatArray) -> Triple:
    x, y, z = (float(v) for v in point)
    return x, y, z
