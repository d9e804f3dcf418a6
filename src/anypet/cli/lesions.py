"""`anypet lesions`: every lesion of a whole-body scan, with no click or a few."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.lesions.finder import LesionResult
    from anypet.lesions.nnunet.folder import NnunetFolder
    from anypet.volume import Volume


def lesions(
    pet: Annotated[Path, typer.Argument(help="PET, or a study with its CT: DICOM folder, zip, NIfTI, ...")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write; made if it is not there.")],
    ct: Annotated[Path | None, typer.Option(help="CT of the same patient, on any grid.")] = None,
    clicks: Annotated[
        Path | None, typer.Option(help="JSON of tumour and background clicks, either of autoPET's spellings.")
    ] = None,
    tracer: Annotated[str, typer.Option(help="auto, fdg or psma.")] = "auto",
    time_limit: Annotated[float, typer.Option(min=1, help="Minutes for the whole.")] = 15.0,
    policy: Annotated[str, typer.Option(help="Depth by the clock (measured) or by the paper.")] = "measured",
    mirror: Annotated[int, typer.Option(min=0, max=3, help="Mirrored axes at most.")] = 3,
    min_ml: Annotated[
        float, typer.Option(min=0, help="Lesions smaller than this go if their SUVmax is below 4.")
    ] = 0.3,
    organs: Annotated[bool, typer.Option(help="Find organs too: for sites, and organs.nii.gz.")] = True,
    weights: Annotated[
        list[Path] | None, typer.Option(help="Weights in place of the packaged; several are averaged.")
    ] = None,
    nnunet: Annotated[
        list[str] | None,
        typer.Option(
            help="Trained nnU-Net folder in place of our network; fdg=FOLDER and psma=FOLDER for one each."
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(help="What its channels show, if it does not say: ct,pet,clicks or ct,pet,tumour,..."),
    ] = None,
    unit: Annotated[str | None, typer.Option(help="SUVbw, where the file does not say that it is.")] = None,
    series: Annotated[str | None, typer.Option(help="Series UID or number, where there are several.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Finds every lesion of a PET, or PET/CT.

    Writes mask.nii.gz, instances.nii.gz (lesions by number, largest first), organs.nii.gz, lesions.csv,
    result.json (tracer, what clean-up changed and why, time) and picture.png.
    """
    from anypet.io import read_study
    from anypet.lesions.clean_up import SmallRule
    from anypet.lesions.click_files import LesionClicks, read_clicks
    from anypet.lesions.nnunet.run import find_lesions as by_nnunet
    from anypet.lesions.pipeline import find_lesions, load_nets

    console = Console(stderr=True)
    if weights and nnunet:
        raise AnyPETError("--weights are of our network, --nnunet is another; give one of them")
    if output.exists() and not output.is_dir():
        raise AnyPETError(f"{output} is a file; -o names a folder")
    asked = LesionClicks() if clicks is None else read_clicks(clicks)
    study = read_study(pet, ct=ct, unit=unit, series=series)
    columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console, disable=as_json) as bars:
        task = bars.add_task("looking for lesions", total=None)

        def report(done: int, planned: int) -> None:
            bars.update(task, completed=done, total=planned)

        options: dict[str, Any] = {
            "tracer": tracer, "organs": organs, "time_limit_s": 60 * time_limit, "policy": policy,
            "mirror": mirror, "rule": SmallRule(min_ml), "device": device, "progress": report,
        }  # fmt: skip
        if nnunet:
            result = by_nnunet(study.pet, study.ct, asked, nnunet_folders(nnunet, channels), **options)
        else:
            nets = load_nets(weights or (), device)
            result = find_lesions(study.pet, study.ct, asked, nets=nets, **options)
    _write(output, study.pet, result, console, as_json, pet.name)


def nnunet_folders(given: list[str], channels: str | None) -> dict[str, NnunetFolder]:
    """Words of `--nnunet` -> folders by tracer, "" for any.

    Raises:
        AnyPETError: a folder cannot be read, or two are given for one tracer.
    """
    from anypet.lesions.nnunet.folder import read_folder

    said = None if channels is None else [word.strip().lower() for word in channels.split(",")]
    folders: dict[str, NnunetFolder] = {}
    for word in given:
        name, equals, path = word.partition("=")
        tracer = name.upper() if equals and name.lower() in ("fdg", "psma") else ""
        if tracer in folders:
            raise AnyPETError(f"--nnunet {word}: there is one for {tracer or 'both tracers'} already")
        folders[tracer] = read_folder(path if tracer else word, said)
    return folders


def _write(
    output: Path, pet: Volume, result: LesionResult, console: Console, as_json: bool, title: str
) -> None:
    """Everything into the folder, the table on the screen."""
    from anypet.lesions.files import write_lesions

    written = write_lesions(output, pet, result, title=title)
    if as_json:
        typer.echo(json.dumps(written.told))
        return
    screen = Console(highlight=False, soft_wrap=True)
    if written.names:
        screen.print(written.table.rich())
    else:
        screen.print("no lesion was found")
    screen.print(f"tracer: {escape(str(result.tracer or '/'.join(result.used)))}")
    for change in result.changes:
        screen.print(f"{change.action} {change.volume_ml:.1f} mL: {escape(change.reason)}")
    for note in result.notes:
        screen.print(f"[yellow]{escape(note)}[/]")
    screen.print(f"{result.depth.why}")
    screen.print(f"wrote {escape(str(output))}")
