"""`anypet pull`: finds PET studies in a DICOM archive (PACS), and fetches one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.dicomweb import Archive, Study

URL_HELP = "Address of the archive's DICOMweb services, such as https://pacs.example/dicom-web."


def pull(
    url: Annotated[str, typer.Argument(envvar="ANYPET_PACS", help=URL_HELP)],
    patient: Annotated[str, typer.Option(help="Patient ID.")] = "",
    name: Annotated[str, typer.Option(help="Parts of the patient's name.")] = "",
    date: Annotated[str, typer.Option(help="Study date: YYYYMMDD, or from-to.")] = "",
    accession: Annotated[str, typer.Option(help="Accession number.")] = "",
    study: Annotated[str, typer.Option(help="Study Instance UID.")] = "",
    series: Annotated[
        list[str] | None, typer.Option(help="Series Instance UIDs; by default every PET and CT series.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to make with the study; without it they are listed."),
    ] = None,
) -> None:
    """List the PET studies of an archive, or fetch the PET and CT of one.

    ANYPET_PACS_USER and ANYPET_PACS_PASSWORD, or ANYPET_PACS_TOKEN, hold what the archive asks for.
    """
    archive = open_archive(url)
    found = archive.find(patient=patient, name=name, date=date, accession=accession, study=study)
    console = Console(highlight=False)
    if output is None or len(found) != 1:
        _show(found, console)
    if output is None:
        return
    if len(found) != 1:
        raise AnyPETError(f"{len(found)} PET studies fit; ask for exactly one, with --study UID for example")
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("fetching", total=None)
        archive.fetch(
            found[0].uid, output, series=series or (),
            progress=lambda done, planned: progress.update(task, completed=done, total=planned),
        )  # fmt: skip
    console.print(f"wrote {escape(str(output))}", soft_wrap=True)


def open_archive(url: str) -> Archive:
    """The archive at an address, with what the environment says of user, password or token."""
    from anypet.dicomweb import Archive

    known = {key: os.environ.get(f"ANYPET_PACS_{key.upper()}", "") for key in ("user", "password", "token")}
    return Archive(url, **known)  # type: ignore[arg-type]


def _show(studies: list[Study], console: Console) -> None:
    from rich.table import Table

    table = Table("date", "patient", "name", "description", "modalities", "objects", "study")
    for one in studies:
        cells = (
            one.date, one.patient_id, one.patient_name, one.description, " ".join(one.modalities),
            str(one.instances or ""), one.uid,
        )  # fmt: skip
        table.add_row(*map(escape, cells))
    console.print(table if studies else "no PET study fits")
