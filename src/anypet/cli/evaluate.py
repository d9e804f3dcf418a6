"""`anypet evaluate`: what a model, and every threshold beside it, reaches after so many clicks."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from anypet._version import __version__
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.evaluation.cases import Case
    from anypet.evaluation.run import Evaluation


def evaluate(
    data: Annotated[str, typer.Option(help="sts, simulated, or a list of cases (.csv or .json).")] = "sts",
    model: Annotated[str, typer.Option(help="Model of the registry; none = baselines alone.")] = "default",
    weights: Annotated[Path | None, typer.Option(help="Weights file in place of the registered one.")] = None,
    clicks: Annotated[
        str, typer.Option(help="Click counts to measure at; the last is where it ends.")
    ] = "1,3,5,10",
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs of each target, each from another first click.")
    ] = 3,
    split: Annotated[
        str, typer.Option(help="train, validation, test or all; a list without splits is taken whole.")
    ] = "validation",
    fold: Annotated[
        int | None, typer.Option(help="Only this fold of the sts patients; ignores --split.")
    ] = None,
    cases: Annotated[int | None, typer.Option(min=1, help="At most so many cases (simulated: 10).")] = None,
    targets: Annotated[str, typer.Option(help="Kinds of target, such as liver,lesion; all by default.")] = "",
    tracer: Annotated[str | None, typer.Option(help="Of simulated cases: FDG, PSMA or random.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice and simulation of simulated cases.")] = 0,
    baselines: Annotated[bool, typer.Option(help="Run thresholds and the random walker too.")] = True,
    nsd_mm: Annotated[float, typer.Option(help="Tolerance of the surface Dice in mm.")] = 3.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each holds the model.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the GPU if there is one.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of sts/ and anatomy/ (else ANYPET_DATA).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for tables, rows and plot.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Measures a model by the clicks it needs, on real, simulated or your own PET."""
    from anypet.evaluation.protocol import Settings
    from anypet.evaluation.report import rich_tables, summary_json, write_report
    from anypet.evaluation.summary import summarise_rows
    from anypet.evaluation.systems import SystemsToRun

    settings = Settings(
        clicks=_click_counts(clicks),
        seeds=seeds,
        tolerance_mm=nsd_mm,
        targets=frozenset(name.strip() for name in targets.split(",") if name.strip()),
    )
    chosen = chosen_cases(data, data_dir, None if split == "all" else split, fold, cases, seed, tracer)
    name = None if model == "none" else model
    if name is None and not baselines:
        raise AnyPETError("nothing to evaluate: give --model, or leave --baselines on")
    if output:  # hours of work must not end at a folder that cannot be made
        output.mkdir(parents=True, exist_ok=True)
    used = device or _best_device() if name else "cpu"
    threads = max(1, (os.cpu_count() or 1) // workers) if workers > 1 else 0
    began = time.perf_counter()
    result = _run(chosen, SystemsToRun(name, weights, used, baselines, threads), settings, baselines, workers)
    about = {
        "anypet": __version__,
        "model": model,
        "weights": _fingerprint(name, weights),
        "device": used,
        "data": Path(data).name,
        "split": split
        if fold is None and data in ("sts", "simulated")
        else f"fold {fold}"
        if fold is not None
        else "-",
        "cases": len(chosen) - len(result.failures),
        "clicks": list(settings.clicks),
        "seeds": seeds,
        "nsd_mm": nsd_mm,
        "simulation_seed": seed,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": round((time.perf_counter() - began) / 60, 2),
        "workers": workers,
        "python": platform.python_version(),
        "failures": result.failures,
    }
    summary = summarise_rows(result.rows, settings, first=name)
    written = write_report(output, result.rows, summary, settings, about) if output else []
    if as_json:
        typer.echo(summary_json(summary, about), nl=False)
        return
    console = Console()
    for table in rich_tables(summary, settings):
        console.print(table)
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _click_counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise AnyPETError(f"--clicks takes rising numbers such as 1,3,5,10, got {text!r}") from None


def chosen_cases(
    data: str,
    data_dir: Path | None,
    split: str | None,
    fold: int | None,
    most: int | None,
    seed: int,
    tracer: str | None,
) -> list[Case]:
    """The cases that the words of a command line ask for: sts, simulated, or a list of cases."""
    from anypet.evaluation.cases import simulated_cases, sts_cases
    from anypet.evaluation.manifest import manifest_cases

    if data == "sts":
        return sts_cases(data_dir, split if fold is None else None, fold)[:most]
    if data == "simulated":
        return simulated_cases(data_dir, split, most or 10, seed, tracer)
    if Path(data).suffix.lower() not in (".csv", ".json"):
        raise AnyPETError(f"--data takes sts, simulated, or a list of cases (.csv or .json), got {data!r}")
    return manifest_cases(data, _split_of(data, split))[:most]


def _split_of(data: str, split: str | None) -> str | None:
    """The split of a list to look at: none where the list has no splits."""
    from anypet.manifest import read_manifest

    return split if split and any(row.split for row in read_manifest(data)) else None


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _fingerprint(model: str | None, weights: Path | None) -> str:
    """File name and SHA-256 of the weights, so that a figure can be traced to them."""
    if model is None:
        return "none"
    if weights is None:
        from anypet.models.registry import entry

        weights = entry(model).file
    if weights is None or not weights.is_file():
        return "unknown"
    return f"{weights.name} sha256:{hashlib.sha256(weights.read_bytes()).hexdigest()}"


def _run(cases: Sequence[Case], systems: Any, settings: Any, sweep: bool, workers: int) -> Evaluation:
    from anypet.evaluation.run import evaluate_cases

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("cases", total=len(cases))

        def done(case: Case) -> None:
            bars.update(task, advance=1, description=case.name)

        return evaluate_cases(cases, systems, settings, sweep=sweep, workers=workers, on_case=done)
