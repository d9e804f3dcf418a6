"""`anypet autopet`: the autoPET IV challenge for those who take part and for those who score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from anypet._version import __version__
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.autopet.protocol import Step
    from anypet.autopet.segmenter import Segmenter

autopet = typer.Typer(
    help="autoPET IV: run as its container, simulate its clicks, score its protocol.", no_args_is_help=True
)


@autopet.command()
def predict(
    input_folder: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Holds images/ct, images/pet and lesion-clicks.json.")
    ] = Path("/input"),
    output_folder: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="Gets images/tumor-lesion-segmentation.")
    ] = Path("/output"),
    tracer: Annotated[str, typer.Option(help="auto, fdg or psma.")] = "auto",
    time_limit: Annotated[float, typer.Option(help="Seconds that the segmentation may take.")] = 900.0,
    nnunet: Annotated[
        list[str] | None, typer.Option(help="Trained nnU-Net folder, as in anypet lesions.")
    ] = None,
    channels: Annotated[str | None, typer.Option(help="What its channels show, if it does not say.")] = None,
    device: Annotated[str, typer.Option(help="Of an nnU-Net: cpu, cuda, mps.")] = "cpu",
) -> None:
    """Segments one case as Grand Challenge lays it out."""
    from anypet.autopet.contract import run_contract

    segmenter = _segmenter(tracer, time_limit)
    if nnunet:
        segmenter = _nnunet_segmenter(nnunet, channels, tracer, time_limit, device)
    _wrote(run_contract(input_folder, output_folder, segmenter))


@autopet.command("simulate-clicks")
def simulate_clicks(
    label: Annotated[Path, typer.Argument(help="Lesion mask; what is not 0 is lesion.")],
    pet: Annotated[
        Path, typer.Argument(help="The PET on the same grid, in SUV where the file says no unit.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write.")],
    spelling: Annotated[str, typer.Option(help="plain (training data) or gc (Grand Challenge).")] = "plain",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same clicks.")] = 42,
    budget: Annotated[int, typer.Option(min=0, help="Clicks of either kind.")] = 10,
    centre_offset: Annotated[
        int, typer.Option(min=0, help="Moves clicks at centres by up to so many voxels along each axis.")
    ] = 0,
    edge_offset: Annotated[int, typer.Option(min=0, help="The same for the other clicks.")] = 0,
) -> None:
    """Places the challenge's tumour and background clicks by its rules, on the CPU."""
    import numpy as np

    from anypet.autopet.simulate import simulate_clicks as simulate
    from anypet.io import read
    from anypet.lesions.click_files import write_clicks

    if spelling not in ("plain", "gc"):
        raise AnyPETError(f"--spelling takes plain or gc, got {spelling!r}")
    clicks = simulate(
        read(label, unit="label"),
        read(pet, unit="SUVbw"),
        np.random.default_rng(seed),
        budget=budget,
        centre_offset=centre_offset,
        edge_offset=edge_offset,
    )
    _wrote(write_clicks(clicks, output, "gc" if spelling == "gc" else "plain"))


@autopet.command("export-nnunet")
def export_nnunet(
    cases: Annotated[
        Path, typer.Argument(help="List of cases (.csv or .json) with PET, CT and lesion label.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to make, named like nnUNet_raw/Dataset501_Lesions.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Of the clicks.")] = 42,
    budget: Annotated[int, typer.Option(min=0, help="Clicks of either kind at most.")] = 10,
    vary: Annotated[
        bool, typer.Option("--vary/--all", help="Each case gets 0 to --budget clicks, or all of them.")
    ] = True,
    click_channels: Annotated[
        int, typer.Option(min=1, max=2, help="One for each kind of click, or one for their difference.")
    ] = 2,
    organs: Annotated[bool, typer.Option(help="Organs that every case names become labels.")] = True,
) -> None:
    """Writes training data for nnU-Net: CT, PET and simulated clicks as channels; test cases are left out."""
    from anypet.autopet.nnunet_raw import export_raw
    from anypet.evaluation.lesion_cases import lesion_cases

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("cases", total=None)
        written = export_raw(
            lesion_cases(cases, "train", "validation", None), output, seed=seed, budget=budget, vary=vary,
            click_channels=click_channels, organs=organs,  # type: ignore[arg-type]
            progress=lambda done, planned: bars.update(task, completed=done, total=planned),
        )  # fmt: skip
    _wrote(written)


@autopet.command()
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="Folder of masks <case>_pred<step>.nii.gz, steps from 0.")
    ],
    labels: Annotated[Path, typer.Argument(help="Folder of labels <case>.nii.gz.")],
    steps: Annotated[int, typer.Option(min=2, help="Masks that each case has.")] = 11,
    dmm_iou: Annotated[float, typer.Option(min=0, max=1, help="Least IoU of a match in DMM.")] = 0.1,
    normalised: Annotated[
        bool,
        typer.Option("--normalised", help="Areas as mean heights (Dice 0 to 1), not per step (0 to 10)."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for tables, summary and plot.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Scores the masks of all steps: Dice, FPV and FNV at the last one and as areas, DMM and lesion F1."""
    from anypet.autopet.predictions import find_cases, score_case
    from anypet.autopet.protocol import case_scores, summarise_scores
    from anypet.autopet.report import rich_table, summary_json, write_report

    cases = find_cases(predictions, labels, steps)
    rows: list[Step] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        for case in bars.track(cases, description="cases"):
            rows += score_case(case, dmm_iou=dmm_iou)
    about = {"anypet": __version__, "cases": len(cases), "dmm_iou": dmm_iou, "normalised": normalised}
    written = write_report(output, rows, about, normalised=normalised) if output else []
    scores = summarise_scores(case_scores(rows, normalised=normalised))
    if as_json:
        typer.echo(summary_json(scores, rows, about), nl=False)
        return
    Console().print(rich_table(scores, rows))
    for path in written:
        _wrote(path)


def _segmenter(tracer: str, time_limit_s: float) -> Segmenter:
    """The lesion pipeline as what the contract and the protocol take."""
    from anypet.lesions.pipeline import find_lesions

    return lambda pet, ct, clicks: (
        find_lesions(pet, ct, clicks, tracer=tracer, time_limit_s=time_limit_s).mask  # type: ignore[arg-type]
    )


def _nnunet_segmenter(
    given: list[str], channels: str | None, tracer: str, time_limit_s: float, device: str
) -> Segmenter:
    """nnU-Nets with our clean-up as what the contract and the protocol take."""
    from anypet.cli.lesions import nnunet_folders
    from anypet.lesions.nnunet.run import find_lesions

    folders = nnunet_folders(given, channels)
    options: dict[str, Any] = {"tracer": tracer, "time_limit_s": time_limit_s, "device": device}
    return lambda pet, ct, clicks: find_lesions(pet, ct, clicks, folders, **options).mask


def _wrote(path: Path) -> None:
    Console(highlight=False, soft_wrap=True).print(f"wrote {escape(str(path))}")
