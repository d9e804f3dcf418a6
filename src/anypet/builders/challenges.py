"""The layouts of autoPET, HECKTOR and this project's sarcoma crops."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import cast

from anypet.builders.files import stem, there
from anypet.manifest import Row, Split

log = logging.getLogger(__name__)

_LESION = {1: "lesion"}
_AUTOPET3 = re.compile(r"(fdg|psma)_([^_]+)_.+_0001\.nii\.gz")
# the hospital and the tracer of either half of autoPET III
_COHORTS = {"fdg": ("UKT", "FDG"), "psma": ("LMU", "PSMA")}


def autopet_rows(folder: Path) -> list[Row]:
    """FDG-PET-CT-Lesions as NIfTI (https://doi.org/10.7937/gkr0-xv29, converted by its authors' script).

    SUV.nii.gz is SUVbw, SEG.nii.gz has its grid, CTres.nii.gz is the CT on it. Half of the studies have no
    lesion, so an empty SEG.nii.gz is right there.
    """
    rows = []
    for study in sorted(p for p in folder.glob("PETCT_*/*") if p.is_dir()):
        image = study / "SUV.nii.gz"
        if not image.is_file():
            log.warning("%s has no SUV.nii.gz and was left out", study)
            continue
        rows.append(
            Row(
                image=image,
                label=there(study / "SEG.nii.gz"),
                ct=there(study / "CTres.nii.gz", study / "CT.nii.gz"),
                patient=study.parent.name,
                unit="SUVbw",
                names=_LESION,
                centre="UKT",
                tracer="FDG",
            )
        )
    return rows


def autopet3_rows(folder: Path, cohorts: tuple[str, ...] = ("fdg", "psma")) -> list[Row]:
    """autoPET III: FDG and PSMA studies in nnU-Net's layout; channel 0 is the CT, 1 the PET in SUVbw."""
    rows = []
    for image in sorted((folder / "imagesTr").glob("*_0001.nii.gz")):
        found = _AUTOPET3.fullmatch(image.name)
        if found is None or found[1] not in cohorts:
            continue
        case = image.name.removesuffix("_0001.nii.gz")
        centre, tracer = _COHORTS[found[1]]
        rows.append(
            Row(
                image=image,
                label=there(folder / "labelsTr" / f"{case}.nii.gz"),
                ct=there(folder / "imagesTr" / f"{case}_0000.nii.gz"),
                patient=f"{found[1]}_{found[2]}",
                unit="SUVbw",
                names=_LESION,
                centre=centre,
                tracer=tracer,
            )
        )
    return rows


def psma_rows(folder: Path) -> list[Row]:
    """PSMA-PET-CT-Lesions (https://doi.org/10.7937/r7ep-3x37) as it lies in the layout of autoPET III."""
    return autopet3_rows(folder, ("psma",))


def hecktor_rows(folder: Path) -> list[Row]:
    """HECKTOR 2022 (imagesTr, labelsTr) and 2025 (a folder for each patient); <ID> is <centre>-<number>.

    The PET is in SUVbw. Labels may lie on the grid of the CT: `check_manifest` tells.
    """
    rows = []
    for image in sorted(folder.glob("*/*__PT.nii.gz")):
        case = stem(image).removesuffix("__PT")
        labels = image.parent.parent / image.parent.name.replace("images", "labels")
        # the challenge's page writes CHUM-001 for images and CHUM_001 for labels
        candidates = [labels / f"{name}.nii.gz" for name in (case, case.replace("-", "_"))]
        rows.append(
            Row(
                image=image,
                label=there(*candidates),
                ct=there(image.with_name(f"{case}__CT.nii.gz")),
                patient=case,
                unit="SUVbw",
                names={1: "GTVp", 2: "GTVn"},
                centre=case.rsplit("-", 1)[0],
                tracer="FDG",
            )
        )
    return rows


def sts_rows(folder: Path) -> list[Row]:
    """The sarcoma crops as `anypet.evaluation` reads them, in the split that ships with AnyPET."""
    from anypet.evaluation.cases import sts_split

    return [
        Row(
            image=image,
            label=there(image.with_name("GTV.nii.gz")),
            ct=there(image.with_name("CT.nii.gz")),
            patient=image.parent.name,
            unit="SUVbw",
            names={1: "tumour"},
            tracer="FDG",
            split=cast(Split, sts_split().of(image.parent.name)),
        )
        for image in sorted(folder.glob("STS_*/PET.nii.gz"))
    ]
