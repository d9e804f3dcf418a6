"""Radiomic features after the Image Biomarker Standardisation Initiative, by MIRP (an optional extra).

MIRP is kept by authors of the IBSI reference manual and checked against its reference values.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anypet.errors import AnyPETError
from anypet.formats import save
from anypet.objects import Patch
from anypet.quantify.parts import Objects, parts_of
from anypet.volume import Volume

BIN_WIDTH = 0.25
_MARGIN_MM = 25.0  # around an object, for the interpolation and the local peak
_ABOUT_IMAGE = "image_"  # names of MIRP's columns that describe the image, not the object


def features(
    pet: Volume,
    objects: Objects,
    *,
    families: Sequence[str] = ("all",),
    spacing_mm: float | None = None,
    bin_width: float = BIN_WIDTH,
) -> dict[str, dict[str, float]]:
    """The IBSI features of every object.

    Args:
        pet: (i, j, k) in a SUV.
        objects: as for `measure`.
        families: MIRP's names of feature families: "morphological", "local_intensity", "statistical",
            "intensity_histogram", "intensity_volume_histogram", "glcm", "glrlm", "glszm", "gldzm", "ngtdm",
            "ngldm" or "all".
        spacing_mm: isotropic voxels to interpolate to first; the scan's own voxels by default.
        bin_width: of the grey levels, in SUV from 0 up (IBSI's fixed bin size), as is usual for PET.

    Returns:
        Object name -> MIRP's name of the feature, with its settings -> value. A feature that does not exist
        for an object, such as the texture of one voxel, is NaN.

    Raises:
        AnyPETError: MIRP is not installed, the grids differ, a setting is not positive, or MIRP refuses an
            object.

    Source: Zwanenburg A et al., Radiology 2020;295:328; MIRP: Zwanenburg A, Löck S, J Open Source Softw
    2024;9:6413.
    """
    try:
        from mirp import extract_features
    except ImportError as error:
        raise AnyPETError("radiomics needs MIRP: pip install anypet[radiomics]") from error
    if not bin_width > 0 or (spacing_mm is not None and not spacing_mm > 0):
        raise AnyPETError(f"bin width and spacing must be positive, got {bin_width} and {spacing_mm}")
    found = {}
    for part in parts_of(objects, pet):
        with tempfile.TemporaryDirectory(prefix="anypet-") as folder, _quiet():
            image, mask = _files(pet, part.patch, Path(folder))
            try:
                tables = extract_features(
                    image=str(image),
                    mask=str(mask),
                    image_modality="pet",
                    new_spacing=spacing_mm,
                    base_feature_families=list(families),
                    base_discretisation_method="fixed_bin_size",
                    base_discretisation_bin_width=bin_width,
                    export_features=True,
                    write_features=False,
                )
                found[part.name] = _values(tables[0])
            except (ValueError, TypeError, RuntimeError, IndexError, KeyError) as error:
                raise AnyPETError(f"{part.name}: MIRP cannot compute these features: {error}") from error
    return found


def _files(pet: Volume, patch: Patch, folder: Path) -> tuple[Path, Path]:
    """The surroundings of an object as files, from which MIRP takes the geometry too."""
    margin = np.ceil(_MARGIN_MM / pet.spacing).astype(int)
    low = np.maximum(np.array(patch.start) - margin, 0)
    high = np.minimum(np.array(patch.start) + patch.values.shape + margin, pet.shape)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = pet.affine.copy()
    affine[:3, 3] = pet.to_mm(low)
    image, mask = folder / "image.nii.gz", folder / "mask.nii.gz"
    save(Volume(pet.array[i, j, k].astype(np.float32), affine, pet.unit), image)
    save(Volume(patch.on_grid(pet.shape, np.uint8)[i, j, k], affine, "label"), mask)
    return image, mask


def _values(table: Any) -> dict[str, float]:
    """The features in MIRP's table of one region."""
    names = [n for n in table.select_dtypes("number").columns if not str(n).startswith(_ABOUT_IMAGE)]
    return {str(name): float(table[name].iloc[0]) for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps MIRP from setting up logging to the screen, and from warning that grey levels begin at SUV 0."""
    root, before = logging.getLogger(), logging.root.manager.disable
    nobody = logging.NullHandler()
    root.addHandler(nobody)  # with a handler there, logging.basicConfig does nothing
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(nobody)
