"""`anypet convert`: a scan as one image file in SUV, with how the SUV came about next to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from anypet.errors import AnyPETError


def convert(
    scan: Annotated[Path, typer.Argument(help="DICOM folder, file or zip; NIfTI, NRRD or MetaImage file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".nii.gz, .nii, .nrrd, .mha or .mhd to write.")
    ],
    unit: Annotated[
        str | None,
        typer.Option(
            help="For DICOM the unit wanted: SUVbw (default), SUVlbm, SUVlbm-james, SUVibw, SUVbsa, Bq/mL "
            "or HU. For other files the unit that their values are in."
        ),
    ] = None,
    ct: Annotated[
        bool, typer.Option("--ct", help="Also write the CT on the grid of the PET, as <output>_ct.")
    ] = False,
    series: Annotated[str | None, typer.Option(help="Series UID or number, where there are several.")] = None,
    frame: Annotated[int | None, typer.Option(help="Frame of a dynamic or 4D scan.")] = None,
    allow_uncorrected: Annotated[
        bool, typer.Option(help="Accept a PET that is not marked as attenuation-corrected.")
    ] = False,
) -> None:
    """Write a scan as an image in SUV, and a JSON file that tells how the SUV factor was found."""
    from anypet.describe import write_sidecar
    from anypet.formats import suffix_of
    from anypet.io import read, read_study, write

    suffix = suffix_of(output)
    if not suffix:
        raise AnyPETError(f"{output}: unknown suffix; expected .nii, .nii.gz, .nrrd, .mha or .mhd")
    written = []
    if ct:
        study = read_study(scan, unit=unit, series=series, frame=frame, allow_uncorrected=allow_uncorrected)
        if study.ct is None:
            raise AnyPETError(
                f"{scan}: no CT to write: {study.meta.get('ct', {}).get('why', 'none in the scan')}"
            )
        volume = study.pet
        beside = output.with_name(output.name[: len(output.name) - len(suffix)] + "_ct" + suffix)
        write(study.ct, beside)
        written.append(beside)
    else:
        volume = read(scan, unit=unit, series=series, frame=frame, allow_uncorrected=allow_uncorrected)
    write(volume, output)
    written += [output, write_sidecar(volume, output)]
    console = Console(highlight=False, soft_wrap=True)
    for path in written:
        console.print(f"wrote {escape(str(path))}")
