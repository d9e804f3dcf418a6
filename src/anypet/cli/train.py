"""`anypet train`: from shared data to weights in one command."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from anypet.errors import AnyPETError


def train(
    settings: Annotated[
        str, typer.Argument(help="Packaged settings (compact, compact-lesion, segany-vit-b) or a .yaml file.")
    ],
    minutes: Annotated[float, typer.Option(help="Time budget; earlier, resumed time counts.")] = 60.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in steps, in place of minutes.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("runs/compact"),
    pool: Annotated[
        Path, typer.Option(help="Folder of simulated studies; filled where it is not full.")
    ] = Path("pool"),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with anatomy/ and sts/ (default: ANYPET_DATA; none: analytic anatomy)."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Weights to start from: a file, or a model's name (default).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    fold: Annotated[
        int | None, typer.Option(help="Leave out this fold of the real patients (cross-validation).")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, overrides one of the settings; repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the settings.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Threads of the training itself (0 = torch's choice).")] = 0,
) -> None:
    """Trains the compact network on simulated PET, and on real training patients where they are at hand."""
    import torch

    from anypet.training.config import load_settings
    from anypet.training.distributed import join_world
    from anypet.training.learners import make_learner
    from anypet.training.pool import Pool
    from anypet.training.run import Budget, Run
    from anypet.training.sources import Mixture

    console = Console(stderr=True)
    chosen = load_settings(settings, **_overrides(change), seed=seed)
    if threads:
        torch.set_num_threads(threads)
    if (output / "checkpoint.pt").exists() and not resume:
        raise AnyPETError(f"{output} holds a run already; add --resume to go on, or choose another -o")
    world = join_world(device)
    folder = _data(data, console)
    learner = make_learner(chosen, start)
    if world.leads:
        _fill(pool, folder, chosen, workers, console)
    world.wait()
    real = _real_cases(folder, fold, chosen, learner.spacing)
    source = Mixture(Pool(pool, chosen.seed, chosen.studies), real, chosen, learner.spacing)
    run = Run(output, chosen, learner, source, device, world)
    if resume:
        run.resume()
    budget = Budget(minutes if steps is None else math.inf, steps or math.inf)
    columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console, disable=not world.leads) as bars:
        task = bars.add_task("training", total=1.0)

        def report(progress: Any) -> None:
            scores = f"DSC {progress.dice_first:.2f} > {progress.dice_last:.2f}"
            text = f"step {progress.step}  loss {progress.loss:.3f}  {scores}"
            bars.update(task, completed=budget.share(progress), description=text)

        run.train(budget, report)
    if world.leads:
        console.print(
            f"{run.progress.step} steps; weights: {output / 'weights.safetensors'}, "
            f"curve: {output / 'curve.png'}"
        )
    world.leave()


def _overrides(changes: list[str] | None) -> dict[str, Any]:
    """`key=value` words -> settings; values as YAML reads them."""
    found = {}
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals:
            raise AnyPETError(f"--set {change}: write it as key=value")
        found[key] = yaml.safe_load(value)
    return found


def _data(data: Path | None, console: Console) -> Path | None:
    from anypet.evaluation.cases import data_folder

    try:
        return data_folder(data)
    except AnyPETError:
        if data is not None:
            raise
    console.print(
        "no data folder: training on the analytic anatomy alone (set ANYPET_DATA for real anatomies)"
    )
    return None


def _fill(pool: Path, folder: Path | None, settings: Any, workers: int, console: Console) -> None:
    """Simulates what the pool lacks."""
    from anypet.simulate import anatomy_split
    from anypet.training.pool import build_pool

    sources = anatomy_split(sorted((folder / "anatomy").glob("*.nii.gz")))["train"] if folder else []
    with Progress(*Progress.get_default_columns(), console=console) as bars:
        task = bars.add_task("simulating studies", total=settings.studies)
        for count in build_pool(pool, sources, settings.studies, settings.seed, workers):
            bars.update(task, completed=count)


def _real_cases(folder: Path | None, fold: int | None, settings: Any, spacing: float | None) -> Any:
    """The real patients to train on: the training split, or all but one fold."""
    from anypet.evaluation.cases import sts_cases, sts_split
    from anypet.training.real import RealCases

    if folder is None or not (folder / "sts").is_dir() or settings.real_share == 0:
        return None
    if fold is None:
        return RealCases(sts_cases(folder, "train"), settings.window, spacing)
    folds = sts_split().folds
    if not 0 <= fold < len(folds):
        raise AnyPETError(f"--fold must lie between 0 and {len(folds) - 1}, got {fold}")
    held_out = folds[fold]
    return RealCases([c for c in sts_cases(folder) if c.patient not in held_out], settings.window, spacing)
