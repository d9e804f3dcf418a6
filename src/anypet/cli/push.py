"""`anypet push`: gives DICOM objects, such as a SEG, RTSTRUCT or SR, to a DICOM archive (PACS)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from anypet.cli.pull import URL_HELP, open_archive


def push(
    files: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    url: Annotated[str, typer.Option("--to", envvar="ANYPET_PACS", help=URL_HELP)],
) -> None:
    """Store DICOM objects in an archive.

    ANYPET_PACS_USER and ANYPET_PACS_PASSWORD, or ANYPET_PACS_TOKEN, hold what the archive asks for.
    """
    from anypet.dicomweb import read_objects

    archive = open_archive(url)
    stored = archive.store(read_objects(files))
    many = "object" if len(stored) == 1 else "objects"
    Console(highlight=False).print(f"stored {len(stored)} {many} in {archive.name}")
