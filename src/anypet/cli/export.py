"""`anypet export`: masks as DICOM objects of the study that they were drawn on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from anypet.errors import AnyPETError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from anypet.dicom.maker import Algorithm
    from anypet.dicom.regions import Regions
    from anypet.dicom.source import Source
    from anypet.volume import Volume

TARGETS = ("seg", "rtstruct", "sr")


def export(
    mask: Annotated[
        Path, typer.Argument(help="Label map (NIfTI, NRRD, MetaImage), or a DICOM SEG or RTSTRUCT file.")
    ],
    like: Annotated[
        Path, typer.Option("--like", help="The DICOM study drawn on: folder, file or zip with its PET.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="DICOM file to write.")],
    to: Annotated[str, typer.Option("--to", help="seg, rtstruct or sr.")] = "seg",
    kind: Annotated[
        str,
        typer.Option(help="Of a SEG: binary, fractional (a file of probabilities) or labelmap."),
    ] = "binary",
    names: Annotated[
        str | None, typer.Option(help="Names of the labels: 1=liver;2=spleen, or a JSON file.")
    ] = None,
    measures: Annotated[
        Path | None,
        typer.Option(
            help="For sr a JSON file, {region: {measure: value}}, to write in place of volume, SUV and TLG."
        ),
    ] = None,
    series: Annotated[str | None, typer.Option(help="Series UID or number, where there are several.")] = None,
    frame: Annotated[int | None, typer.Option(help="Frame of a dynamic scan.")] = None,
    resample: Annotated[
        bool, typer.Option(help="Accept a mask on another grid than the series' own (nearest voxel).")
    ] = False,
    algorithm: Annotated[
        str | None,
        typer.Option(help="What outlined the regions, as name or name:version; by default AnyPET."),
    ] = None,
    anonymise: Annotated[
        bool,
        typer.Option(
            help="Replace the patient, drop staff, institution, notes; dates, UIDs, sex, size, weight stay."
        ),
    ] = False,
) -> None:
    """Write masks as DICOM SEG, RTSTRUCT or SR that refer to the study's own slices.

    A report (sr) needs a SEG to refer to: MASK, if it is one of this series, else one that is written next to
    the report as OUTPUT with _seg in its name.
    """
    if to not in TARGETS:
        raise AnyPETError(f"--to {to!r}: expected one of {', '.join(TARGETS)}")
    if measures is not None and to != "sr":
        raise AnyPETError("--measures goes with --to sr")
    from anypet.dicom import find_source, write_segmentation, write_structures

    original = find_source(like, series=series, frame=frame)
    source = original.anonymised() if anonymise else original
    regions, seg = _regions(mask, original, names, resample, fractional=to == "seg" and kind == "fractional")
    maker, written = _algorithm(algorithm), [output]
    if to == "seg":
        write_segmentation(regions, source, output, kind=kind, algorithm=maker)  # type: ignore[arg-type]
    elif to == "rtstruct":
        write_structures(regions, source, output, algorithm=maker)
    else:
        if seg is None or anonymise:
            seg = output.with_name(f"{output.stem}_seg{output.suffix}")
            write_segmentation(regions, source, seg, algorithm=maker)
            written.insert(0, seg)
        _report(regions, seg, source, output, (like, series, frame), measures, maker)
    console = Console(highlight=False, soft_wrap=True)
    for path in written:
        console.print(f"wrote {escape(str(path))}")


def _regions(
    mask: Path, source: Source, names: str | None, resample: bool, *, fractional: bool
) -> tuple[Regions, Path | None]:
    """The regions of a mask file, and the file itself if it is a DICOM SEG."""
    from anypet.dicom.regions import regions_on
    from anypet.dicom.seg import seg_masks
    from anypet.formats import suffix_of
    from anypet.io import read, read_labels, read_masks
    from anypet.manifest import parse_names

    known = None
    if names is not None:
        try:
            known = parse_names(Path(names).read_text("utf-8") if Path(names).is_file() else names)
        except AnyPETError as error:
            raise AnyPETError(f"--names {error}") from error
    if suffix_of(mask):
        labels = read(mask, unit="probability") if fractional else read_labels(mask)
        return regions_on(source.grid, labels, known, resample=resample), None
    if known is not None:
        raise AnyPETError("--names is for label maps: a DICOM SEG or RTSTRUCT names its regions itself")
    if _modality(mask) == "SEG":
        grid, masks = seg_masks(mask, None, [])
        drawn = {name: grid.with_array(array) for name, array in masks.items()}
        return regions_on(source.grid, drawn, resample=resample), mask
    return regions_on(source.grid, read_masks(mask, source.grid)), None


def _modality(mask: Path) -> str:
    from anypet.dicom.files import read_header

    header = read_header(mask) if mask.is_file() else None
    if header is None:
        raise AnyPETError(f"{mask}: expected the file of a label map, a DICOM SEG or an RTSTRUCT")
    return str(header.get("Modality"))


def _algorithm(text: str | None) -> Algorithm | None:
    from anypet.dicom import Algorithm

    if text is None:
        return None
    name, _, version = text.partition(":")
    return Algorithm(name.strip(), version.strip() or "unknown")


def _report(
    regions: Regions,
    seg: Path,
    source: Source,
    output: Path,
    scan: tuple[Path, str | None, int | None],
    measures: Path | None,
    algorithm: Algorithm | None,
) -> None:
    """Writes the measures of a file, or those that a session shows, as a structured report."""
    from anypet.dicom import write_measurements
    from anypet.io import read

    if measures is not None:
        values = _values(measures)
        total = values.pop("total", None) if "total" not in regions.names else None
        write_measurements(values, seg, source, output, total=total, algorithm=algorithm)
        return
    path, series, frame = scan
    pet = read(path, series=series, frame=frame)
    values = {name: _measured(pet, name, regions.mask(n)) for n, name in enumerate(regions.names, start=1)}
    write_measurements(values, seg, source, output, suv_unit=pet.unit, algorithm=algorithm)


def _measured(pet: Volume, name: str, mask: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Volume, SUV and TLG of a mask."""
    from anypet.objects import Patch, Prediction, SegmentedObject

    found = SegmentedObject(name, pet, [Prediction(mask=Patch.tight(mask, mask))])
    return {key: value for key, value in found.measures.items() if key != "voxels"}


def _values(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AnyPETError(f"--measures {path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, Mapping) or not all(
        isinstance(numbers, Mapping) and all(isinstance(value, (int, float)) for value in numbers.values())
        for numbers in values.values()
    ):
        raise AnyPETError(f'--measures {path}: expected {{"lesion 1": {{"suv_max": 7.9, ...}}, ...}}')
    return dict(values)
