"""`anypet response`: PERCIST, TMTV, Deauville, PSMA volume and RECIP as proposals for a physician."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anypet.cli.objects import find_region, read_objects, uptake_minutes
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.lesions.organs import Organs
    from anypet.quantify.matching import Matches
    from anypet.quantify.proposal import Proposal
    from anypet.quantify.suv import Patient
    from anypet.volume import Volume

response = typer.Typer(
    help="Response criteria and scores: each a proposal for a physician, never a diagnosis.",
    no_args_is_help=True,
)

Scan = Annotated[Path, typer.Argument(help="PET: DICOM folder, file or zip; NIfTI, NRRD or MetaImage file.")]
Lesions = Annotated[Path, typer.Argument(help="Label map, RTSTRUCT or DICOM SEG of the lesions.")]
Unit = Annotated[str | None, typer.Option(help="SUVbw, where the file does not say that it holds SUV.")]
Place = Annotated[
    str | None,
    typer.Option(help="auto (the organ head finds it), a mask, FILE:LABEL, or x,y,z in RAS mm."),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="JSON file to write.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Align = Annotated[
    str,
    typer.Option(
        help="How the second scan is laid over the first, for new lesions: none, rigid, affine, bspline."
    ),
]
AlignOn = Annotated[str, typer.Option(help="What is registered: pet, or ct (DICOM studies with a CT).")]
Smallest = Annotated[
    float, typer.Option(min=0, help="Components below this volume (mL), such as stray voxels, do not count.")
]
MaxGap = Annotated[float, typer.Option(help="Lesions further apart than this (mm) are not the same.")]


@response.command()
def percist(
    baseline: Scan,
    baseline_lesions: Lesions,
    followup: Scan,
    followup_lesions: Lesions,
    baseline_liver: Place = None,
    followup_liver: Place = None,
    baseline_blood: Place = None,
    followup_blood: Place = None,
    suv: Annotated[str, typer.Option(help="lbm (Janmahasatian) or lbm-james.")] = "lbm",
    baseline_weight: Annotated[float | None, typer.Option(help="kg, else from the header.")] = None,
    followup_weight: Annotated[float | None, typer.Option(help="kg, else from the header.")] = None,
    height: Annotated[float | None, typer.Option(help="Metres, else from the headers.")] = None,
    sex: Annotated[str | None, typer.Option(help="M, F or O, else from the headers.")] = None,
    align: Align = "rigid",
    align_on: AlignOn = "pet",
    max_gap: MaxGap = 15.0,
    smallest_ml: Smallest = 0.0,
    unit: Unit = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """PERCIST 1.0 between two FDG scans. Every connected component of the masks is a lesion."""
    from anypet.quantify.measures import measure
    from anypet.quantify.response import TimePoint
    from anypet.quantify.response import percist as propose

    first = _Visit.read(
        baseline, baseline_lesions, unit, suv, (baseline_weight, height, sex), align_on, smallest_ml
    )
    last = _Visit.read(
        followup, followup_lesions, unit, suv, (followup_weight, height, sex), align_on, smallest_ml
    )
    points = [
        TimePoint(
            measure(visit.pet, visit.lesions, suv=suv, patient=visit.patient),
            find_region("liver", liver, visit.pet, visit.organs),
            find_region("blood pool", blood, visit.pet, visit.organs),
            uptake_minutes(visit.pet),
        )
        for visit, liver, blood in (
            (first, baseline_liver, baseline_blood),
            (last, followup_liver, followup_blood),
        )
    ]
    matches = _matches(first, last, align, max_gap)
    _tell([propose(points[0], points[1], matches.new)], output, as_json, matches)


@response.command()
def preselect(
    scan: Scan,
    output: Annotated[Path, typer.Option("-o", "--output", help="Labels to write: .nii.gz, .nrrd, ...")],
    suv: Annotated[float, typer.Option(help="Lowest SUVbw that counts.")] = 4.0,
    smallest_ml: Annotated[float, typer.Option(help="Smaller regions are left out.")] = 3.0,
    unit: Unit = None,
) -> None:
    """Every region of SUV 4 and 3 mL, physiologic uptake included, for a reader to take that out again."""
    from anypet.io import read, write
    from anypet.quantify.lymphoma import preselect as found

    labels = found(read(scan, unit=unit), suv, smallest_ml)
    write(labels, output)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"wrote {escape(str(output))} with {len(labels.meta['names'])} regions")


@response.command()
def tmtv(
    scan: Scan,
    lesions: Lesions,
    threshold: Annotated[str, typer.Option(help="4.0 (with at least 3 mL), 41%, 2.5, ...")] = "4.0",
    smallest_ml: Annotated[
        float | None, typer.Option(help="Components below do not count; 3 mL with 4.0, else 0.")
    ] = None,
    unit: Unit = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Total metabolic tumour volume of lymphoma, inside the lesions given."""
    from anypet.io import read
    from anypet.quantify.lymphoma import total_metabolic_volume
    from anypet.quantify.threshold import parse

    pet = read(scan, unit=unit)
    rule = parse(threshold, None, pet.unit)
    _tell(
        [total_metabolic_volume(pet, read_objects(lesions, pet), rule, smallest_ml)],
        output,
        as_json,
    )


@response.command()
def deauville(
    scan: Scan,
    lesions: Annotated[Path, typer.Argument(help="What is left of the lymphoma; may be an empty label map.")],
    liver: Annotated[
        str, typer.Option(help="auto (the organ head finds it), a mask, FILE:LABEL, or x,y,z in RAS mm.")
    ],
    blood: Annotated[str, typer.Option(help="The aorta's mask, FILE:LABEL, or x,y,z in RAS mm.")],
    new_lesions: Annotated[int, typer.Option(min=0, help="New lesions that are likely lymphoma.")] = 0,
    unit: Unit = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Deauville score by SUVmax, and by the qPET ratio."""
    from anypet.io import read
    from anypet.lesions.organs import Organs
    from anypet.quantify.deauville import deauville as propose
    from anypet.quantify.deauville import qpet
    from anypet.quantify.measures import measure

    pet = read(scan, unit=unit)
    table = measure(pet, read_objects(lesions, pet))
    organs = Organs(pet)
    regions = find_region("liver", liver, pet, organs), find_region("blood pool", blood, pet, organs)
    assert regions[0] is not None
    assert regions[1] is not None
    found = [propose(table, regions[0], regions[1], new_lesions), qpet(table, regions[0], new_lesions)]
    _tell(found, output, as_json)


@response.command()
def psma(
    scan: Scan,
    lesions: Lesions,
    threshold: Annotated[str, typer.Option(help="3 by default; a SUV or a share of SUVmax.")] = "3",
    unit: Unit = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """PSMA-positive total tumour volume, inside the lesions given."""
    from anypet.io import read
    from anypet.quantify.psma import psma_volume
    from anypet.quantify.threshold import parse

    pet = read(scan, unit=unit)
    found = psma_volume(pet, read_objects(lesions, pet), parse(threshold, None, pet.unit))
    _tell([found], output, as_json)


@response.command()
def recip(
    baseline: Scan,
    baseline_lesions: Lesions,
    followup: Scan,
    followup_lesions: Lesions,
    threshold: Annotated[str, typer.Option(help="3 by default; a SUV or a share of SUVmax.")] = "3",
    align: Align = "rigid",
    align_on: AlignOn = "pet",
    max_gap: MaxGap = 15.0,
    smallest_ml: Smallest = 0.0,
    unit: Unit = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """RECIP 1.0 between two PSMA scans, from tumour volumes and new lesions."""
    from anypet.quantify.psma import psma_volume
    from anypet.quantify.psma import recip as propose
    from anypet.quantify.threshold import parse

    first = _Visit.read(baseline, baseline_lesions, unit, "bw", (None, None, None), align_on, smallest_ml)
    last = _Visit.read(followup, followup_lesions, unit, "bw", (None, None, None), align_on, smallest_ml)
    volumes = [
        psma_volume(visit.pet, visit.lesions, parse(threshold, None, visit.pet.unit))
        for visit in (first, last)
    ]
    matches = _matches(first, last, align, max_gap)
    before, after = (float(volume.inputs["PSMA-TV, mL"]) for volume in volumes)
    _tell([*volumes, propose(before, after, len(matches.new))], output, as_json, matches)


@dataclass(frozen=True, eq=False)
class _Visit:
    """A scan with its lesions: labels, one component each."""

    pet: Volume
    lesions: Volume
    patient: Patient
    to_align: Volume
    organs: Organs

    @classmethod
    def read(
        cls,
        scan: Path,
        lesions: Path,
        unit: str | None,
        suv: str,
        patient: tuple[float | None, float | None, str | None],
        align_on: str,
        smallest_ml: float,
    ) -> _Visit:
        from anypet.io import read, read_study
        from anypet.lesions.organs import Organs
        from anypet.quantify.parts import split_into_lesions
        from anypet.quantify.suv import Patient, as_suv

        if align_on not in ("pet", "ct"):
            raise AnyPETError(f"--align-on is pet or ct, got {align_on!r}")
        study = read_study(scan, unit=unit) if align_on == "ct" else None
        if study is not None and study.ct is None:
            raise AnyPETError(f"{scan}: there is no CT to register: use --align-on pet")
        body = read(scan, unit=unit) if study is None else study.pet
        known = Patient.of(body, *patient)
        pet = as_suv(body, suv, known)
        labels = split_into_lesions(read_objects(lesions, pet), pet, smallest_ml=smallest_ml)
        ct = None if study is None else study.ct
        return cls(pet, labels, known, pet if ct is None else ct, Organs(body, ct))


def _matches(first: _Visit, last: _Visit, align: str, max_gap: float) -> Matches:
    from anypet.quantify.matching import match_lesions
    from anypet.quantify.registration import align as register

    if align == "none":
        return match_lesions(first.pet, first.lesions, last.pet, last.lesions, None, max_gap)
    found = register(first.to_align, last.to_align, align)  # type: ignore[arg-type]
    return match_lesions(first.pet, first.lesions, last.pet, last.lesions, found, max_gap)


def _tell(
    proposals: list[Proposal], output: Path | None, as_json: bool, matches: Matches | None = None
) -> None:
    from anypet._version import __version__
    from anypet.files import write_whole

    told: dict[str, Any] = {"anypet_version": __version__, "proposals": [p.as_dict() for p in proposals]}
    if matches is not None:
        told["alignment"] = matches.alignment
        told["matches"] = [vars(match) for match in matches.matches]
    text = json.dumps(told, indent=2, allow_nan=False)
    if output is not None:
        write_whole(output, (text + "\n").encode())
    if as_json:
        typer.echo(text)
        return
    console = Console(highlight=False)
    if matches is not None and matches.matches:
        console.print(_lesion_table(matches))
    for proposal in proposals:
        console.print(proposal.rich())
    if output is not None:
        console.print(f"wrote {escape(str(output))}", soft_wrap=True)


def _lesion_table(matches: Matches) -> Table:
    table = Table(title=f"Lesions (alignment: {matches.alignment})", title_justify="left")
    for name in ("what", "baseline", "follow-up", "gap mm", "overlap"):
        table.add_column(name)
    for match in matches.matches:
        gap = "–" if match.gap_mm is None else f"{match.gap_mm:.1f}"
        sides = [escape(", ".join(names)) or "–" for names in (match.baseline, match.followup)]
        table.add_row(match.kind, *sides, gap, f"{match.overlap:.2f}")
    return table
