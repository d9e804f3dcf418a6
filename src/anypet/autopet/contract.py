"""The container contract of autoPET IV on Grand Challenge: what lies where for one case at one step.

input/images/ct/<any name>.mha      CT in HU, on the grid of the PET
input/images/pet/<any name>.mha     PET in SUV
input/lesion-clicks.json            the clicks given so far; may be missing or empty
output/images/tumor-lesion-segmentation/<name of the CT>.mha      0 and 1, uint8, on the same grid
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk  # noqa: N813

from anypet.autopet.segmenter import Segmenter, segment
from anypet.errors import AnyPETError, ReadError
from anypet.grids import resample, to_sitk
from anypet.io import AIR_HU, read
from anypet.lesions.click_files import LesionClicks, read_clicks
from anypet.volume import Volume

log = logging.getLogger(__name__)

CT_FOLDER = Path("images/ct")
PET_FOLDER = Path("images/pet")
CLICKS_FILE = Path("lesion-clicks.json")
MASK_FOLDER = Path("images/tumor-lesion-segmentation")


@dataclass(frozen=True, eq=False)
class ContractInput:
    """One case as the container gets it.

    Args:
        pet: SUVbw.
        ct: HU, on the grid of the PET.
        clicks: in the scan; none at the first step.
        name: of the CT's file without its suffix; the output gets it.
        pet_file: where the PET came from; the output gets its geometry.
    """

    pet: Volume
    ct: Volume
    clicks: LesionClicks
    name: str
    pet_file: Path


def read_input(root: Path | str) -> ContractInput:
    """Reads the input folder of a container.

    Raises:
        ReadError: not exactly one .mha where the CT or the PET belongs, or it cannot be read.
        PromptError: clicks in neither spelling, or outside of the scan.
    """
    root = Path(root)
    ct_file, pet_file = _only_image(root / CT_FOLDER), _only_image(root / PET_FOLDER)
    pet, ct = read(pet_file, unit="SUVbw"), read(ct_file, unit="HU")
    if not ct.same_grid(pet):
        log.warning("%s is not on the grid of the PET and is resampled", ct_file)
        ct = resample(ct, pet, outside=AIR_HU)
    clicks_file = root / CLICKS_FILE
    clicks = read_clicks(clicks_file) if clicks_file.exists() else LesionClicks()
    clicks.check_inside(pet.shape, str(clicks_file))
    return ContractInput(pet, ct, clicks, ct_file.stem, pet_file)


def _only_image(folder: Path) -> Path:
    images = sorted(p for p in folder.glob("*") if p.suffix.lower() == ".mha") if folder.is_dir() else []
    if len(images) != 1:
        found = ", ".join(p.name for p in images) or "none"
        raise ReadError(f"{folder}: found {found}; expected exactly one .mha file, of any name")
    return images[0]


def write_output(root: Path | str, case: ContractInput, mask: Volume) -> Path:
    """Writes the mask of a case where the challenge looks for it.

    Args:
        root: the output folder; made if it is not there.
        case: gives the name and, to the last digit of its PET's header, the geometry.
        mask: bool, on the grid of the PET.

    Returns:
        The file, which is there only once it is whole.

    Raises:
        AnyPETError: the disk refuses.
    """
    path = Path(root) / MASK_FOLDER / f"{case.name}.mha"
    part = path.with_name(f".{case.name}.{os.getpid()}.part.mha")
    image = to_sitk(mask)
    header = sitk.ImageFileReader()
    header.SetFileName(str(case.pet_file))
    header.ReadImageInformation()
    image.SetSpacing(header.GetSpacing())
    image.SetOrigin(header.GetOrigin())
    image.SetDirection(header.GetDirection())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(part), useCompression=True)
        part.replace(path)
    except (OSError, RuntimeError) as error:
        raise AnyPETError(f"{path}: cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def run_contract(input_root: Path | str, output_root: Path | str, segmenter: Segmenter) -> Path:
    """Reads a case, segments it and writes the mask: what a container does when it is started.

    Returns:
        The file written.

    Raises:
        AnyPETError: as `read_input`, `segment` and `write_output`.
    """
    case = read_input(input_root)
    return write_output(output_root, case, segment(segmenter, case.pet, case.ct, case.clicks))
