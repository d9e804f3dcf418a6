"""`anypet train`: from shared data to weights in one command."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from anypet.errors import AnyPETError


def train(
    settings: Annotated[str, typer.Argument(help="Packaged settings (compact) or the path of a .yaml file.")],
    minutes: Annotated[float, typer.Option(help="Time budget; earlier, resumed time counts.")] = 60.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("runs/compact"),
    pool: Annotated[
        Path, typer.Option(help="Folder of simulated studies; filled where it is not full.")
    ] = Path("pool"),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with anatomy/ and sts/ (default: ANYPET_DATA; none: analytic anatomy)."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Weights (.safetensors) to start from.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    fold: Annotated[
        int | None, typer.Option(help="Leave out this fold of the real patients (cross-validation).")
    ] = None,
    studies: Annotated[int | None, typer.Option(help="Simulated studies in the pool.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Overrides the settings.")] = None,
    real_share: Annotated[float | None, typer.Option(help="Overrides the settings.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the settings.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate while training begins.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Threads of the training itself (0 = torch's choice).")] = 0,
) -> None:
    """Trains the compact network on simulated PET, and on real training patients where they are at hand."""
    import torch

    from anypet.evaluation.cases import data_folder
    from anypet.training.config import load_settings
    from anypet.training.pool import Pool
    from anypet.training.run import Run

    console = Console(stderr=True)
    chosen = load_settings(
        settings, studies=studies, learning_rate=learning_rate, real_share=real_share, seed=seed
    )
    if threads:
        torch.set_num_threads(threads)
    if (output / "checkpoint.pt").exists() and not resume:
        raise AnyPETError(f"{output} holds a run already; add --resume to go on, or choose another -o")
    try:
        folder: Path | None = data_folder(data)
    except AnyPETError:
        if data is not None:
            raise
        folder = None
        console.print(
            "no data folder: training on the analytic anatomy alone (set ANYPET_DATA for real anatomies)"
        )
    patches = Pool(_fill(pool, folder, chosen, workers))
    run = Run(output, chosen, patches, _real_cases(folder, fold, chosen), start, device)
    if resume:
        run.resume()
    columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("training", total=minutes * 60)

        def report(progress: Any) -> None:
            scores = f"DSC {progress.dice_first:.2f} > {progress.dice_last:.2f}"
            text = f"step {progress.step}  loss {progress.loss:.3f}  {scores}"
            bars.update(task, completed=progress.seconds, description=f"{text}  pool {len(patches)}")

        run.train(minutes, report)
    console.print(
        f"{run.progress.step} steps; weights: {output / 'weights.safetensors'}, curve: {output / 'curve.png'}"
    )


def _fill(pool: Path, folder: Path | None, settings: Any, workers: int) -> Path:
    """Starts filling the pool beside the training; returns when enough is there to begin."""
    from anypet.simulate import anatomy_split
    from anypet.training.pool import build_pool

    sources = anatomy_split(sorted((folder / "anatomy").glob("*.nii.gz")))["train"] if folder else []
    enough = min(settings.studies, 12)
    done = [0]

    def fill() -> None:
        for count in build_pool(pool, sources, settings.studies, settings.seed, workers):
            done[0] = count

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    while thread.is_alive() and done[0] < enough:
        time.sleep(0.2)
    return pool


def _real_cases(folder: Path | None, fold: int | None, settings: Any) -> Any:
    """The real patients to train on: the training split, or all but one fold."""
    from anypet.evaluation.cases import sts_cases, sts_split
    from anypet.training.real import RealCases

    if folder is None or not (folder / "sts").is_dir() or settings.real_share == 0:
        return None
    if fold is None:
        return RealCases(sts_cases(folder, "train"), settings.window)
    folds = sts_split().folds
    if not 0 <= fold < len(folds):
        raise AnyPETError(f"--fold must lie between 0 and {len(folds) - 1}, got {fold}")
    held_out = folds[fold]
    return RealCases([c for c in sts_cases(folder) if c.patient not in held_out], settings.window)
