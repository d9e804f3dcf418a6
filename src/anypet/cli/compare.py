"""`anypet compare`: how far readers and models agree, and how much time an assisted method saves."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from anypet._version import __version__
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.evaluation.agreement import PairAgreement, Reading
    from anypet.evaluation.readings import ReadCase


def compare(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables, plots and consensus.")],
    labels: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A label file of each reader (one case), or a folder of each (a file a case, named alike)."
        ),
    ] = None,
    names: Annotated[str, typer.Option(help="Names of the readers: anna,ben,model.")] = "",
    pet: Annotated[
        Path | None, typer.Option(help="PET, for TLG and SUVmean; a folder with one a case for folders.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Of a PET file that does not say it: SUVbw.")] = None,
    by_label: Annotated[
        bool, typer.Option("--by-label", help="Compare every label by itself, not all that is marked.")
    ] = False,
    nsd_mm: Annotated[float, typer.Option(help="Tolerance of the surface Dice in mm.")] = 3.0,
    consensus: Annotated[bool, typer.Option(help="Find and write the STAPLE consensus.")] = True,
    times: Annotated[Path | None, typer.Option(help="CSV of timers: reader, case, method, seconds.")] = None,
    time_reference: Annotated[str, typer.Option(help="Method that the others replace.")] = "manual",
    seed: Annotated[int, typer.Option(min=0, help="Of bootstrap intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Compares label volumes of several readers or models, pair by pair, and their annotation times."""
    from anypet.evaluation.agreement import Summary, summarise_agreement
    from anypet.evaluation.agreement_report import rich_tables, summary_dict, write_agreement
    from anypet.evaluation.annotation_time import read_timers, time_saved
    from anypet.evaluation.readings import find_cases

    if not labels and not times:
        raise AnyPETError("nothing to compare: give label volumes of two readers or more, or --times")
    timers = read_timers(times) if times else []
    savings = time_saved(timers, time_reference, seed=seed) if timers else []
    cases = []
    if labels:
        cases = find_cases(labels, [n.strip() for n in names.split(",") if n.strip()], pet)
    output.mkdir(parents=True, exist_ok=True)
    readings, pairs = _compare(cases, output if consensus else None, by_label, nsd_mm, unit)
    summary = summarise_agreement(readings, pairs, seed=seed) if pairs else Summary((), {})
    about = {
        "anypet": __version__,
        "readers": list(cases[0].labels) if cases else [],
        "cases": [case.name for case in cases],
        "by_label": by_label,
        "suv": "SUVbw" if pet else None,
        "nsd_mm": nsd_mm,
        "lesion_connectivity": 18,
        "time_reference": time_reference if timers else None,
        "python": platform.python_version(),
    }
    written = write_agreement(
        output, readings, pairs, summary, about, timers=timers, savings=savings, reference=time_reference
    )
    if as_json:
        import json

        typer.echo(json.dumps({"about": about, **summary_dict(summary, savings)}, indent=2))
        return
    console = Console()
    for table in rich_tables(summary, savings):
        console.print(table)
    if consensus and cases:
        written.append(output / "consensus")
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)


def _compare(
    cases: list[ReadCase], output: Path | None, by_label: bool, nsd_mm: float, unit: str | None
) -> tuple[list[Reading], list[PairAgreement]]:
    """Compares case by case; with an output folder, the consensus of each is written there."""
    from anypet.evaluation.agreement import compare_case
    from anypet.evaluation.readings import load_case

    readings: list[Reading] = []
    pairs: list[PairAgreement] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        for case in bars.track(cases, description="cases"):
            grid, targets = load_case(case, by_label=by_label, unit=unit)
            found = {}
            for target, masks in targets.items():
                result = compare_case(
                    case.name,
                    masks,
                    grid,
                    target=target,
                    with_uptake=case.pet is not None,
                    tolerance_mm=nsd_mm,
                    consensus=output is not None,
                )
                readings += result.readings
                pairs += result.pairs
                if result.consensus is not None:
                    found[target] = result.consensus.mask
            if output is not None and found:
                _write_consensus(output / "consensus", case.name, grid, found)
    return readings, pairs


def _write_consensus(folder: Path, case: str, grid: Any, masks: dict[str, Any]) -> None:
    """One label volume; where targets overlap, the smaller one is put on top."""
    import numpy as np

    from anypet.io import write
    from anypet.volume import Volume

    array = np.zeros(grid.shape, dtype=np.uint8 if len(masks) < 256 else np.uint16)
    for value, name in sorted(enumerate(masks, start=1), key=lambda item: -int(masks[item[1]].sum())):
        array[masks[name]] = value
    folder.mkdir(exist_ok=True)
    meta = {"names": dict(enumerate(masks, start=1))}
    write(Volume(array, grid.affine, "label", meta), folder / f"{case}.nii.gz")
