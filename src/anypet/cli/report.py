"""`anypet report`: the page that a physician signs, as one HTML file and as PDF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from anypet.cli.objects import find_region, read_objects
from anypet.errors import AnyPETError, ReadError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from anypet.quantify.parts import Objects
    from anypet.quantify.regions import Region
    from anypet.volume import Volume


def report(
    scan: Annotated[
        Path, typer.Argument(help="PET: DICOM folder, file or zip; NIfTI, NRRD or MetaImage file.")
    ],
    mask: Annotated[Path, typer.Argument(help="Lesions: label map, RTSTRUCT or DICOM SEG.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file to write.")],
    pdf: Annotated[Path | None, typer.Option(help="PDF file to write as well.")] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="Only these regions of the mask are lesions; may be repeated.")
    ] = None,
    ct: Annotated[
        Path | None, typer.Option(help="CT for the slices; by default that of the same DICOM study.")
    ] = None,
    organs: Annotated[Path | None, typer.Option(help="Labels of organs, for their table.")] = None,
    liver: Annotated[
        str | None,
        typer.Option(
            help="Where the liver's SUV is checked: auto (the organ head finds it), a mask, FILE:LABEL, or "
            "x,y,z in RAS mm; by default the liver of the organs."
        ),
    ] = None,
    suv: Annotated[str, typer.Option(help="bw, lbm (Janmahasatian), lbm-james, ibw or bsa.")] = "bw",
    weight: Annotated[float | None, typer.Option(help="kg, where the file does not say it.")] = None,
    height: Annotated[float | None, typer.Option(help="Patient's height in metres.")] = None,
    sex: Annotated[str | None, typer.Option(help="Patient's sex: M, F or O.")] = None,
    tracer: Annotated[str, typer.Option(help="Such as FDG or PSMA, where the header does not say it.")] = "",
    drawn_by: Annotated[
        str | None, typer.Option(help="Model and version, or person, that outlined the lesions.")
    ] = None,
    slices: Annotated[int, typer.Option(min=0, help="How many lesions are shown in slices.")] = 6,
    anonymise: Annotated[
        bool,
        typer.Option(
            help="Leave out names, dates, UIDs, institution and free text; sex, age, size, weight stay."
        ),
    ] = False,
    unit: Annotated[
        str | None, typer.Option(help="SUVbw, where the file does not say that it holds SUV.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Series UID or number, where there are several.")] = None,
) -> None:
    """Write a report: header, numbered lesions in projections and slices, tables, checks, a place to sign.

    A mask of one object is taken apart into its connected components; of a mask with several objects each is
    a lesion. --anonymise does not deface the pictures.
    """
    for path, suffix in ((output, ".html"), (pdf, ".pdf")):
        if path is not None and path.suffix.lower() != suffix:
            raise AnyPETError(f"{path}: expected a name that ends in {suffix}")
    from anypet.files import write_whole
    from anypet.io import read
    from anypet.lesions.organs import Organs
    from anypet.quantify.suv import Patient, as_suv
    from anypet.report.build import Source, make_report
    from anypet.report.content import Field
    from anypet.report.html import as_html

    pet = read(scan, unit=unit, series=series)
    patient = Patient.of(pet, weight, height, sex)
    bw = as_suv(pet, "bw", patient) if liver or organs else pet
    parts = None if organs is None else read_objects(organs, pet)
    made = make_report(
        Source(
            pet=pet,
            lesions=_lesions(mask, pet, region or ()),
            ct=_ct(scan, ct, pet),
            organs=parts,
            liver=find_region("liver", liver, bw, Organs(bw)) or _liver_among(parts, bw),
            header=_header(pet),
            patient=patient,
            tracer=tracer,
            made_by=(Field("Lesions outlined by", drawn_by or "not stated"),),
            names=(Field("Scan", scan.name), Field("Mask", mask.name)),
        ),
        suv=suv,
        anonymise=anonymise,
        most_slices=slices,
    )
    written = [write_whole(output, as_html(made))]
    if pdf is not None:
        from anypet.report.pdf import as_pdf

        written.append(write_whole(pdf, as_pdf(made)))
    console = Console(highlight=False, soft_wrap=True)
    for flag in made.warnings:
        console.print(f"[yellow]{escape(flag.what)}: {escape(flag.value)}, {escape(flag.why)}[/]")
    for path in written:
        console.print(f"wrote {escape(str(path))}")


def _liver_among(organs: Objects | None, pet: Volume) -> Region | None:
    """The reference region in the organ that is called liver, where it is large enough for it."""
    from anypet.quantify.parts import parts_of, union
    from anypet.quantify.regions import liver_sphere

    found = [] if organs is None else [p for p in parts_of(organs, pet) if p.name.strip().lower() == "liver"]
    try:
        return liver_sphere(pet, union(found, pet.shape)) if found else None
    except AnyPETError:
        return None


def _lesions(mask: Path, pet: Volume, wanted: list[str] | tuple[()]) -> Objects:
    """The regions of a mask, or those of the names or numbers wanted."""
    from anypet.quantify.parts import parts_of, union

    objects = read_objects(mask, pet)
    if not wanted:
        return objects
    parts = parts_of(objects, pet)
    asked = {name.lower() for name in wanted}
    chosen = {p.name: union([p], pet.shape) for p in parts if asked & {p.name.lower(), str(p.label)}}
    known = {word for p in parts for word in (p.name.lower(), str(p.label))}
    if asked - known:
        raise AnyPETError(
            f"{mask}: no region {', '.join(sorted(asked - known))}; it holds "
            + (", ".join(f"{p.label} {p.name}" for p in parts) or "nothing")
        )
    return chosen


def _ct(scan: Path, given: Path | None, pet: Volume) -> Volume | None:
    """The CT at its own resolution: the one given, else the study's in the PET's coordinates."""
    from anypet.io import read

    if given is not None:
        return read(given, unit="HU")
    if not pet.meta.get("frame_of_reference"):
        return None
    try:
        found = read(scan, unit="HU")
    except ReadError:
        return None
    same = found.meta.get("frame_of_reference") == pet.meta["frame_of_reference"]
    return found if same else None


def _header(pet: Volume) -> Dataset | None:
    """The header of the PET's first slice, where it comes from a DICOM folder."""
    from anypet.dicom.files import read_header

    files = pet.meta.get("files") or ()
    return read_header(Path(files[0])) if files else None
