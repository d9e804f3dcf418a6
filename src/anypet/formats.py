"""NIfTI, NRRD and MetaImage files as volumes and back; the unit and the label names travel in the header."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from anypet.errors import AnyPETError, ReadError
from anypet.grids import affine_of, to_sitk
from anypet.units import warn
from anypet.volume import Volume

NIFTI = (".nii", ".nii.gz")
METAIMAGE_NRRD = (".nrrd", ".mha", ".mhd")
SUFFIXES = (*NIFTI, *METAIMAGE_NRRD)

UNIT_KEY = "anypet_unit"
NAMES_KEY = "anypet_names"
_DESCRIP = "AnyPET unit="  # in NIfTI's descrip, 79 characters long
_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


def suffix_of(path: Path) -> str:
    """The image suffix of a file name in lower case (".nii.gz" as one); "" if it is none of `SUFFIXES`."""
    name = path.name.lower()
    return next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(s)), "")


def load(path: Path, frame: int | None = None) -> Volume:
    """Reads an image file as it is, without looking at its values.

    Args:
        path: .nii, .nii.gz, .nrrd, .mha or .mhd.
        frame: which 3D image of a 4D file; a 4D file with one needs none.

    Returns:
        A volume whose unit is the one stored by `save`, or "" where the file names none.

    Raises:
        ReadError: the file is damaged, is not what its name says, or is not one 3D image of numbers.
    """
    warnings: list[str] = []
    if suffix_of(path) in NIFTI:
        array, affine, unit, names = _load_nifti(path, frame, warnings)
    else:
        array, affine, unit, names = _load_sitk(path, frame)
    meta: dict[str, Any] = {"source": str(path), "format": suffix_of(path).lstrip("."), "warnings": warnings}
    if names:
        meta["names"] = names
    try:
        return Volume(array, affine, unit, meta)
    except AnyPETError as error:
        raise ReadError(f"{path}: {error}") from error


def _load_nifti(
    path: Path, frame: int | None, warnings: list[str]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], str, dict[int, str]]:
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):
            raise ReadError(f"{path}: holds {type(image).__name__}, not NIfTI")
        if image.get_data_dtype().names or image.get_data_dtype().kind == "c":
            raise ReadError(f"{path}: voxels of type {image.get_data_dtype()}, expected plain numbers")
        array = np.asanyarray(image.dataobj)
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError) as error:
        raise ReadError(f"{path}: not a NIfTI file, or a damaged one: {error}") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path}: the file is damaged or truncated: {error}") from error
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        warn(
            warnings,
            str(path),
            "the header has no orientation (sform and qform codes are 0): sides may be wrong",
        )
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _TO_MM.get(header.get_xyzt_units()[0], 1.0)
    descrip = bytes(header["descrip"].item()).decode("latin-1").strip("\0 ")
    unit = descrip.removeprefix(_DESCRIP).strip() if descrip.startswith(_DESCRIP) else ""
    names: dict[int, str] = {}
    for extension in header.extensions:
        if extension.get_code() == 6:  # comment
            names = names or _parse_names(extension.get_content())
    return _one_frame(array, frame, path), affine, unit, names


def _load_sitk(
    path: Path, frame: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], str, dict[int, str]]:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ReadError(f"{path}: cannot be read as {suffix_of(path)[1:].upper()}: {reason[-1]}") from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ReadError(f"{path}: {image.GetNumberOfComponentsPerPixel()} numbers a voxel, expected one")
    keys = image.GetMetaDataKeys()
    unit = image.GetMetaData(UNIT_KEY) if UNIT_KEY in keys else ""
    names = _parse_names(image.GetMetaData(NAMES_KEY)) if NAMES_KEY in keys else {}
    array = sitk.GetArrayFromImage(image)
    array = array.transpose(*reversed(range(array.ndim)))
    if image.GetDimension() == 4:
        array = _one_frame(array, frame, path)
        size = [*image.GetSize()[:3], 0]
        image = sitk.Extract(image, size, [0, 0, 0, frame or 0])
    elif image.GetDimension() != 3:
        raise ReadError(f"{path}: a {image.GetDimension()}D image; expected 3D")
    else:
        array = _one_frame(array, frame, path)
    return array, affine_of(image), unit, names


def _one_frame(array: npt.NDArray[Any], frame: int | None, path: Path) -> npt.NDArray[Any]:
    """The 3D image of a 3D array or of one frame of a 4D array."""
    while array.ndim > 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 4:
        count = array.shape[3]
        if count > 1 and frame is None:
            raise ReadError(f"{path}: 4D with {count} frames; choose one with frame=0 to frame={count - 1}")
        if not 0 <= (frame or 0) < count:
            raise ReadError(f"{path}: frame={frame} is wanted, but there are frames 0 to {count - 1}")
        return array[..., frame or 0]
    if array.ndim != 3 or min(array.shape, default=0) < 1:
        raise ReadError(f"{path}: an image of shape {array.shape}; expected 3D")
    if frame not in (None, 0):
        raise ReadError(f"{path}: frame={frame} is wanted, but the file has one frame")
    return array


def save(volume: Volume, path: Path) -> None:
    """Writes a volume under a temporary name and renames it, so that no half file is ever seen.

    Booleans become uint8, half precision float32, and integers of 64 bits the smallest type that holds them.
    The unit and `meta["names"]` go into the header, from where `load` takes them again.

    Args:
        volume: what to write.
        path: .nii, .nii.gz, .nrrd, .mha or .mhd in a folder that exists.

    Raises:
        AnyPETError: unknown suffix, no such folder, or the file cannot be written.
    """
    suffix = suffix_of(path)
    if not suffix:
        raise AnyPETError(f"{path}: unknown suffix; expected one of {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise AnyPETError(f"{path}: the folder {path.parent} does not exist; create it first")
    volume = volume.with_array(_storable(volume.array))
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".anypet-", dir=path.parent))
    except OSError as error:
        raise AnyPETError(f"{path}: cannot write there: {error}") from error
    try:
        if suffix in NIFTI:
            _save_nifti(volume, scratch / path.name)
        else:
            _save_sitk(volume, scratch / path.name)
        # the data file of an .mhd goes before the header that names it
        for part in sorted(scratch.iterdir(), key=lambda p: p.name == path.name):
            os.replace(part, path.parent / part.name)
    except (OSError, RuntimeError, nib.spatialimages.HeaderDataError) as error:
        raise AnyPETError(f"{path}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _storable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        low, high = int(array.min()), int(array.max())
        for kind in (np.uint8, np.int16, np.int32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return array.astype(kind)
        raise AnyPETError(f"whole numbers from {low} to {high} do not fit 32 bits")
    if array.dtype.kind not in "iuf":
        raise AnyPETError(f"an array of type {array.dtype} cannot be written as an image")
    return array


def _save_nifti(volume: Volume, path: Path) -> None:
    image = nib.Nifti1Image(volume.array, volume.affine)
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1, strip_shears=True)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = (_DESCRIP + volume.unit).encode("latin-1", "replace")[:79]
    if volume.meta.get("names"):
        text = json.dumps({"names": {str(k): v for k, v in volume.meta["names"].items()}})
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", text.encode()))
    nib.save(image, path)


def _save_sitk(volume: Volume, path: Path) -> None:
    image = to_sitk(volume)
    image.SetMetaData(UNIT_KEY, volume.unit)
    if volume.meta.get("names"):
        image.SetMetaData(
            NAMES_KEY, json.dumps({"names": {str(k): v for k, v in volume.meta["names"].items()}})
        )
    sitk.WriteImage(image, str(path), useCompression=True)


def _parse_names(content: str | bytes) -> dict[int, str]:
    """Label names from the JSON that `save` writes; {} for any other text."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
        return {int(k): str(v) for k, v in json.loads(text.strip("\0 "))["names"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
