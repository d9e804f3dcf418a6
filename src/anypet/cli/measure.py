"""`anypet measure`: the measures of every object of a mask, on the screen and in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from anypet.cli.objects import find_mask, find_region, read_objects
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.quantify.parts import Objects
    from anypet.quantify.regions import Region
    from anypet.volume import Volume


def measure(
    scan: Annotated[
        Path, typer.Argument(help="PET: DICOM folder, file or zip; NIfTI, NRRD or MetaImage file.")
    ],
    mask: Annotated[
        Path, typer.Argument(help="Label map, RTSTRUCT or DICOM SEG; every label or region is an object.")
    ],
    suv: Annotated[
        str, typer.Option(help="bw, lbm (Janmahasatian), lbm-james, ibw or bsa: the SUV to measure in.")
    ] = "bw",
    weight: Annotated[
        float | None, typer.Option(help="Patient's weight in kg, where the file does not say it.")
    ] = None,
    height: Annotated[float | None, typer.Option(help="Patient's height in metres.")] = None,
    sex: Annotated[str | None, typer.Option(help="Patient's sex: M, F or O (mean of both formulas).")] = None,
    components: Annotated[
        bool, typer.Option("--components", help="Make every connected component an object of its own.")
    ] = False,
    connectivity: Annotated[
        int, typer.Option(help="Which voxels make one lesion: 6 (faces), 18 (and edges), 26 (and corners).")
    ] = 26,
    threshold: Annotated[
        str | None, typer.Option(help="Keep only what reaches 41%, 50%, a SUV such as 4.0, percist or liver.")
    ] = None,
    liver: Annotated[
        str | None,
        typer.Option(
            help="For the thresholds percist and liver: auto (the organ head finds it), a mask, FILE:LABEL, "
            "or x,y,z in RAS mm."
        ),
    ] = None,
    blood_pool: Annotated[
        str | None, typer.Option(help="In place of a diseased liver: the aorta's mask, or x,y,z in RAS mm.")
    ] = None,
    spleen: Annotated[
        str | None, typer.Option(help="For the distance to it: auto, a mask, or FILE:LABEL.")
    ] = None,
    peak: Annotated[
        str, typer.Option(help="Where SUVpeak's 1 mL sphere may have its centre: inside, near or hottest.")
    ] = "inside",
    unit: Annotated[
        str | None, typer.Option(help="SUVbw, where the file does not say that it holds SUV.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Series UID or number, where there are several.")] = None,
    radiomics: Annotated[
        Path | None,
        typer.Option(help="Also write IBSI features of every object, .csv or .json (needs MIRP)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Table to write: .csv, .json or .parquet.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure uptake, volume, form and spread of every object of a mask, and of all together.

    docs/measures.md says what each measure is. All values are in one SUV, which the table names.
    """
    from anypet.io import read
    from anypet.lesions.organs import Organs
    from anypet.quantify.measures import measure as measured
    from anypet.quantify.suv import Patient, as_suv
    from anypet.quantify.table import SUFFIXES

    for path, suffixes in ((output, SUFFIXES), (radiomics, (".csv", ".json"))):
        if path is not None and path.suffix.lower() not in suffixes:
            raise AnyPETError(f"{path}: unknown suffix; expected one of {', '.join(suffixes)}")
    body = read(scan, unit=unit, series=series)
    organs = Organs(body)
    patient = Patient.of(body, weight, height, sex)
    pet = as_suv(body, suv, patient)
    objects = read_objects(mask, pet)
    about: dict[str, Any] = {"scan": scan.name, "mask": mask.name}
    if threshold is not None:
        reference = find_region("liver", liver, pet, organs)
        reference = reference or find_region("blood pool", blood_pool, pet, organs)
        objects, about["threshold"] = _thresholded(pet, objects, threshold, reference)
        if reference is not None:
            about["reference region"] = str(reference)
    if components:
        from anypet.quantify.parts import split_into_lesions

        objects = split_into_lesions(objects, pet, connectivity)  # type: ignore[arg-type]
    table = measured(
        pet,
        objects,
        suv=suv,
        patient=patient,
        spleen=None if spleen is None else find_mask("spleen", spleen, pet, organs),
        connectivity=connectivity,  # type: ignore[arg-type]
        centre=peak,  # type: ignore[arg-type]
    ).with_about(**about)
    written = [] if output is None else [table.write(output)]
    if radiomics is not None:
        written.append(_write_features(pet, objects, radiomics))
    if as_json:
        typer.echo(json.dumps(table.as_dict(), indent=2, allow_nan=False))
        return
    console = Console(highlight=False)
    console.print(table.rich())
    if not table.rows:
        console.print("[yellow]the mask holds no object[/]")
    for path in written:
        console.print(f"wrote {escape(str(path))}", soft_wrap=True)


def _thresholded(pet: Volume, objects: Objects, text: str, reference: Region | None) -> tuple[Objects, str]:
    """The objects above a threshold, and the rule in words."""
    from anypet.quantify.threshold import parse, resegment

    rule = parse(text, reference, pet.unit)
    return resegment(pet, objects, rule), f"{rule.text} ({rule.source})"


def _write_features(pet: Volume, objects: Objects, path: Path) -> Path:
    from anypet.files import write_whole
    from anypet.quantify.radiomics import features
    from anypet.quantify.table import csv_of

    found = features(pet, objects)
    rows: list[dict[str, Any]] = [
        {"object": name, "suv": pet.unit, **{k: None if v != v else v for k, v in values.items()}}
        for name, values in found.items()
    ]
    text = csv_of(rows) if path.suffix.lower() == ".csv" else json.dumps(rows, indent=2) + "\n"
    return write_whole(path, text.encode())
