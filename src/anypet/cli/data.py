"""`anypet data`: where the public data sets are to be had; lists of cases are in `data_lists`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from anypet.cli.data_lists import build, check, degrade

data = typer.Typer(
    help="Public data sets and lists of cases: find, list, check, degrade.", no_args_is_help=True
)
for _command in (check, build, degrade):
    data.command()(_command)


@dataclass(frozen=True)
class Source:
    """A public data set: its contents, licence, home, and the folder of ANYPET_DATA that it fills."""

    name: str
    holds: str
    licence: str
    home: str
    folder: str


SOURCES = (
    Source(
        "Soft-tissue-Sarcoma (TCIA)",
        "FDG PET/CT and MR of 51 patients as DICOM, with tumour contours",
        "CC BY 3.0",
        "https://doi.org/10.7937/K9/TCIA.2015.7GO2GSKS",
        "sts_001_wholebody/",
    ),
    Source(
        "IBSI 1 and 2 validation set",
        "the same 51 patients as SUV crops around the tumour, NIfTI",
        "CC BY 3.0",
        "https://github.com/theibsi/data_sets",
        "sts/",
    ),
    Source(
        "autoPET III organ labels",
        "TotalSegmentator organs of 1,611 FDG and PSMA studies",
        "Apache-2.0",
        "https://github.com/MIC-DKFZ/autopet-3-submission",
        "anatomy/",
    ),
    Source(
        "autoPET IV clicks",
        "tumour and background clicks of the same studies",
        "Apache-2.0",
        "https://github.com/Zrrr1997/AutoPET_IV_Interactive",
        "anatomy/lesion_clicks.json",
    ),
    Source(
        "SUV digital reference objects",
        "17 synthetic PET series with known SUV, DICOM",
        "CC BY 4.0",
        "https://github.com/oncoray/suv_computation",
        "suv_reference/",
    ),
    Source(
        "SUV header sets",
        "headers of real scanners with their SUV factors, JSON",
        "MIT",
        "https://github.com/cornerstonejs/calculate-suv",
        "suv_headers/",
    ),
    Source(
        "FDG-PET-CT-Lesions (TCIA)",
        "1,014 whole-body FDG PET/CT with lesion masks",
        "TCIA restricted, see page",
        "https://doi.org/10.7937/gkr0-xv29",
        "",
    ),
    Source(
        "PSMA-PET-CT-Lesions (TCIA)",
        "597 whole-body PSMA PET/CT with lesion masks",
        "see page",
        "https://doi.org/10.7937/r7ep-3x37",
        "",
    ),
)


@data.command()
def sources(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Lists the public data sets, their licences and homes, and where ANYPET_DATA expects them."""
    if as_json:
        typer.echo(json.dumps([asdict(s) for s in SOURCES], indent=1))
        return
    table = Table("data set", "holds", "licence", "home", "folder in ANYPET_DATA")
    for s in SOURCES:
        table.add_row(s.name, s.holds, s.licence, s.home, s.folder)
    Console().print(table)
