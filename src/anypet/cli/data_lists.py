"""`anypet data check`, `build` and `degrade`: lists of cases, and labels of lower quality."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anypet.errors import AnyPETError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from anypet.manifest_check import Finding
    from anypet.volume import Volume


def check(
    cases: Annotated[Path, typer.Argument(metavar="LIST", help="List of cases, .csv or .json.")],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Looks for faults in a list of cases and in its files; exit code 1 if there is an error."""
    from anypet.manifest_check import check_manifest

    log = logging.getLogger("anypet")
    level = log.level
    log.setLevel(logging.ERROR)  # what the readers warn of is among the findings
    try:
        findings = check_manifest(cases)
    finally:
        log.setLevel(level)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        _print(findings, cases)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


def _print(findings: Sequence[Finding], cases: Path) -> None:
    console = Console(highlight=False)
    errors = sum(finding.severity == "error" for finding in findings)
    if findings:
        table = Table("case", "field", "severity", "what is wrong and what to do")
        for f in findings:
            colour = "red" if f.severity == "error" else "yellow"
            row = str(f.row) if f.row else "all"
            table.add_row(row, escape(f.field), f"[{colour}]{f.severity}[/]", escape(f.message))
        console.print(table)
    console.print(f"{escape(str(cases))}: {errors} errors, {len(findings) - errors} warnings", soft_wrap=True)


def build(
    kind: Annotated[
        str, typer.Argument(help="autopet, autopet3, psma, hecktor, udpet, sts, nnunet or bids.")
    ],
    folder: Annotated[Path, typer.Argument(help="Where the data set was unpacked.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="List to write, .csv or .json.")],
    split: Annotated[
        bool, typer.Option("--split", help="Give 80/10/10 % of the patients to train/validation/test.")
    ] = False,
    split_seed: Annotated[int, typer.Option(min=0, help="Another seed, another split.")] = 0,
    unit: Annotated[
        str | None, typer.Option(help="SUVbw, where the files hold it and the layout does not say so.")
    ] = None,
) -> None:
    """Lists the cases of a public data set as it lies on the disk after download."""
    from anypet.builders import assign_splits
    from anypet.builders import build as build_rows
    from anypet.manifest import write_manifest
    from anypet.units import check_unit

    rows = build_rows(kind, folder)
    if unit is not None:
        known = check_unit(unit)
        rows = [row if row.unit else row.model_copy(update={"unit": known}) for row in rows]
    if split:
        rows = assign_splits(rows, split_seed)
    write_manifest(rows, output)
    labelled, patients = sum(row.label is not None for row in rows), len({row.patient for row in rows})
    Console(highlight=False, soft_wrap=True).print(
        f"wrote {escape(str(output))}: {len(rows)} cases of {patients} patients, {labelled} with a label"
    )


def degrade(
    labels: Annotated[Path, typer.Argument(help="Label map: NIfTI, NRRD or MetaImage.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Label map to write.")],
    strength: Annotated[
        float, typer.Option(help="From just above 0 (nearly unchanged) to 1 (severe).")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same result.")] = 0,
    image: Annotated[
        Path | None, typer.Option(help="PET on the same grid: thresholds of it are then among the faults.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Of the image, where its file does not say it.")] = None,
    names: Annotated[
        str | None,
        typer.Option(help='"1=left kidney;2=right kidney": sides may be swapped. By default from the file.'),
    ] = None,
) -> None:
    """Makes a low-quality copy of a label map, as hurried readers and automatic tools would leave it."""
    import numpy as np

    from anypet.io import read, write
    from anypet.manifest import parse_names
    from anypet.training.degrade import degrade_labels

    if not 0 < strength <= 1:
        raise AnyPETError(f"--strength must be above 0 and at most 1, got {strength:g}")
    for given in (labels, image):
        if given is not None and given.resolve() == output.resolve():
            raise AnyPETError(f"{output} would overwrite its input; choose another name with -o")
    volume = read(labels, unit="label")
    try:
        told = parse_names(names) if names else dict(volume.meta.get("names") or {})
    except AnyPETError as error:
        raise AnyPETError(f"--names {error}") from None
    pet = None if image is None else _on_grid(read(image, unit=unit), volume, image)
    rng = np.random.default_rng(seed)
    spoilt = degrade_labels(volume.array, tuple(volume.spacing), rng, strength, pet, told)
    write(volume.with_array(spoilt, names=told), output)
    before, after = np.unique(volume.array[volume.array > 0]), np.unique(spoilt[spoilt > 0])
    Console(highlight=False, soft_wrap=True).print(
        f"wrote {escape(str(output))}: {np.count_nonzero(spoilt != volume.array)} voxels changed, "
        f"{len(np.setdiff1d(before, after))} of {len(before)} labels left out"
    )


def _on_grid(pet: Volume, labels: Volume, path: Path) -> npt.NDArray[np.float32]:
    """The voxels of the image, once it is sure that they are the labels' voxels."""
    if not pet.same_grid(labels, tolerance_mm=0.5):
        raise AnyPETError(
            f"--image {path} has shape {pet.shape} and the labels {labels.shape}, or they lie apart; "
            "give an image on the labels' grid"
        )
    return pet.array
