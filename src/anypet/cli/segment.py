"""`anypet segment`: clicks on the command line, a mask in a file, its numbers on the screen."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anypet.errors import AnyPETError, PromptError

if TYPE_CHECKING:
    from anypet.checks import Space
    from anypet.objects import SegmentedObject
    from anypet.session import Session


def segment(
    scan: Annotated[
        Path, typer.Argument(help="PET: DICOM folder, file or zip; NIfTI, NRRD or MetaImage file.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Mask to write: .nii.gz, .nii, .nrrd, .mha.")
    ],
    point: Annotated[
        list[str] | None, typer.Option(help="i,j,k of a point on the object; may be repeated.")
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option(help="i,j,k of a point beside the object; may be repeated.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="i0,j0,k0,i1,j1,k1: corners of a box around the object.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="A mask to refine, on the scan's grid.")] = None,
    text: Annotated[
        str | None,
        typer.Option(help='Words in place of prompts: "left kidney", "liver and spleen", "all lesions".'),
    ] = None,
    ct: Annotated[Path | None, typer.Option(help="CT of the same patient, which helps --text.")] = None,
    space: Annotated[str, typer.Option(help="Points and box are in 'voxel' (from 0) or RAS 'mm'.")] = "voxel",
    unit: Annotated[
        str | None, typer.Option(help="SUVbw, where the file does not say that it holds SUV.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Series UID or number, where there are several.")] = None,
    model: Annotated[str, typer.Option(help="Model, see `anypet models`.")] = "default",
    weights: Annotated[Path | None, typer.Option(help="Weights file in place of the model's own.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; by default the GPU if there is one.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Also draw projections and slices with the outline.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Segment one object of a PET from points, a box or an earlier mask; or what words name.

    The box and the mask are given to the model first, then the points one after another, positive ones first:
    each corrects what came before, as clicks in a viewer do. Words may name several objects: the file then
    holds one label for each.
    """
    _check_output(output)
    if png is not None:
        _check_picture(png)
    from anypet.io import read, read_study, write
    from anypet.session import Session

    if text is not None:
        if point or negative or box or mask:
            raise PromptError("--text stands alone: give either words or points, box and mask")
        from anypet.cli.segment_text import segment_text

        study = read_study(scan, ct=ct, unit=unit, series=series)
        session = Session(study.pet, model, weights, device)
        segment_text(session, study.ct, text, output, png, as_json)
        return
    if ct is not None:
        raise PromptError("--ct is for --text; points, box and mask need the PET alone")
    asked = _Asked.parse(point or [], negative or [], box, mask, space)
    started = time.perf_counter()
    volume = read(scan, unit=unit, series=series)
    session = Session(volume, model, weights, device)
    asked.check(session)
    was_read = time.perf_counter()
    session.predictor  # noqa: B018 - loads the model now, so that its time is not taken for the prompts'
    loaded = time.perf_counter()
    asked.give(session)
    done = time.perf_counter()
    found = session.selected
    write(volume.with_array(found.mask, unit="label"), output)
    if png is not None:
        from anypet.render import mip_figure

        mip_figure(volume, {"object": found.mask}, png, found.prompts, title=scan.name)
    seconds = {"read": was_read - started, "load_model": loaded - was_read, "segment": done - loaded}
    told = _told(scan, output, png, session, found, seconds)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _print(told)


@dataclass(frozen=True)
class _Asked:
    """The prompts of the command line."""

    positive: list[tuple[float, ...]]
    negative: list[tuple[float, ...]]
    box: tuple[float, ...] | None
    mask: Path | None
    space: Space

    @classmethod
    def parse(
        cls, positive: list[str], negative: list[str], box: str | None, mask: Path | None, space: str
    ) -> _Asked:
        if space not in ("voxel", "mm"):
            raise PromptError(f"--space: expected voxel or mm, got {space!r}")
        if not positive and box is None and mask is None:
            raise PromptError(
                "nothing says what is wanted: give --point i,j,k, --box i0,j0,k0,i1,j1,k1 or --mask FILE"
            )
        return cls(
            [_numbers(text, 3, "--point") for text in positive],
            [_numbers(text, 3, "--negative") for text in negative],
            None if box is None else _numbers(box, 6, "--box"),
            mask,
            space,  # type: ignore[arg-type]
        )

    def check(self, session: Session) -> None:
        """Refuses points outside of the scan before a model is loaded."""
        from anypet.checks import box_prompt, point_prompt

        for values in (*self.positive, *self.negative):
            point_prompt(session.scan, values, True, self.space)
        if self.box is not None:
            box_prompt(session.scan, self.box[:3], self.box[3:], self.space)

    def give(self, session: Session) -> None:
        """Box and mask, then the points, each as a step."""
        if self.box is not None:
            session.add_box(self.box[:3], self.box[3:], space=self.space)
        if self.mask is not None:
            from anypet.io import read_labels

            labels = read_labels(self.mask, session.scan)
            session.add_mask(labels.with_array(labels.array > 0))
        for values in self.positive:
            session.add_point(values, True, space=self.space)
        for values in self.negative:
            session.add_point(values, False, space=self.space)


def _numbers(text: str, count: int, option: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise PromptError(
            f"{option} {text!r}: expected {count} numbers with commas between, no spaces"
        ) from error
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise PromptError(f"{option} {text!r}: expected {count} numbers with commas between, no spaces")
    return values


def _check_output(output: Path) -> None:
    """Refuses what cannot be written before minutes are spent on it."""
    from anypet.formats import suffix_of

    if not suffix_of(output):
        raise AnyPETError(f"{output}: unknown suffix; expected .nii, .nii.gz, .nrrd, .mha or .mhd")
    if not output.expanduser().absolute().parent.is_dir():
        raise AnyPETError(f"{output}: there is no folder {output.parent}")


def _check_picture(png: Path) -> None:
    if png.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise AnyPETError(f"--png {png}: expected a suffix .png, .pdf or .svg, got {png.suffix!r}")
    if not png.expanduser().absolute().parent.is_dir():
        raise AnyPETError(f"--png {png}: there is no folder {png.parent}; create it first")


def _told(
    scan: Path,
    output: Path,
    png: Path | None,
    session: Session,
    found: SegmentedObject,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Everything that is printed; NaN (of an empty mask) becomes null."""
    measures = {k: (v if math.isfinite(v) else None) for k, v in found.measures.items()}
    points = [{"mm": list(p.mm), "positive": p.positive} for p in found.prompts.points]
    return {
        "scan": str(scan),
        "output": str(output),
        "png": None if png is None else str(png),
        "model": session.model_name,
        "points": points,
        "boxes": [{"lo_mm": list(b.lo_mm), "hi_mm": list(b.hi_mm)} for b in found.prompts.boxes],
        "measures": measures,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def _print(told: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    measures, seconds = told["measures"], told["seconds"]
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right")
    table.add_column()

    def row(name: str, value: float | None, unit: str, form: str = ".2f") -> None:
        table.add_row(name, "none" if value is None else format(value, form), unit)

    row("volume", measures["volume_ml"], f"mL ({measures['voxels']} voxels)")
    row("SUVmax", measures["suv_max"], "SUVbw")
    row("SUVmean", measures["suv_mean"], "SUVbw")
    row("TLG", measures["tlg"], "SUVbw x mL")
    row(
        "time",
        seconds["segment"],
        f"s (reading {seconds['read']:.2f} s, model {seconds['load_model']:.2f} s)",
    )
    console.print(table)
    if not measures["voxels"]:
        console.print("[yellow]the mask is empty[/]")
    for path in (told["output"], told["png"]):
        if path:
            console.print(f"wrote {escape(path)}")
