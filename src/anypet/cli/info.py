"""`anypet info`: what a scan is, and how its SUV comes about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def info(
    scan: Annotated[Path, typer.Argument(help="DICOM folder, file or zip; NIfTI, NRRD or MetaImage file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    series: Annotated[str | None, typer.Option(help="Series UID or number, where there are several.")] = None,
    frame: Annotated[int | None, typer.Option(help="Frame of a dynamic or 4D scan.")] = None,
) -> None:
    """Show modality, units, SUV factor and its rules, warnings, geometry and the series list."""
    from anypet.describe import describe

    told = describe(scan, series=series, frame=frame)
    if as_json:
        typer.echo(json.dumps(told, indent=2, default=str))
    else:
        _print(told)
    if told.get("error"):
        raise typer.Exit(1)


def _print(told: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(told):
        table.add_row(name, escape(value))
    console.print(table)


def _rows(told: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("scan", told["path"]),
        ("modality", str(told.get("modality") or told.get("format") or "unknown")),
    ]
    rows.append(("unit", str(told.get("unit") or "unknown")))
    place = told.get("geometry")
    if place:
        spacing = " x ".join(f"{s:.4g}" for s in place["spacing_mm"])
        shape = " x ".join(str(n) for n in place["shape"])
        rows.append(("grid", f"{shape} voxels of {spacing} mm, {place['orientation']}"))
    if told.get("values"):
        rows.append(("values", "min {min:.4g}, mean {mean:.4g}, max {max:.4g}".format(**told["values"])))
    suv = told.get("suv")
    if suv:
        factor = suv["factor"]
        shown = (
            f"{factor:.10g}"
            if isinstance(factor, float)
            else f"{min(factor):.6g} to {max(factor):.6g} by slice"
        )
        rows.append(("SUV factor", shown))
        rows += [("units rule", suv["units_rule"]), ("time rule", suv["time_rule"])]
        if suv["uptake_minutes"] is not None:
            rows.append(("uptake", f"{suv['uptake_minutes']:.1f} min"))
        rows += [("tag", f"{tag} = {value}") for tag, value in suv["tags"].items()]
    taken = told.get("series") or {}
    if "uid" in taken:
        rows.append(("series taken", f"{_line(taken)}: {taken['why']}"))
    rows += [("other series", _line(other)) for other in taken.get("others", ())]
    rows += [("warning", text) for text in told.get("warnings", ())]
    if told.get("error"):
        rows.append(("error", told["error"]))
    return rows


def _line(series: dict[str, Any]) -> str:
    corrected = {True: ", attenuation-corrected", False: ", not attenuation-corrected", None: ""}
    return (
        f"{series['number']} {series['modality']} {series['description']!r}, {series['slices']} slices"
        f"{corrected[series['attenuation_corrected']]}, {series['uid']}"
    )
