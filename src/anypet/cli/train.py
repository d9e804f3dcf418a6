"""`anypet train`: from shared data to weights in one command."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from anypet.cli.train_lesions import lesion_run
from anypet.errors import AnyPETError


def train(
    settings: Annotated[
        str, typer.Argument(help="Packaged (compact, compact-lesion, lesions-compact, ...) or a .yaml file.")
    ] = "compact",
    minutes: Annotated[float, typer.Option(help="Time budget; earlier, resumed time counts.")] = 60.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in steps, in place of minutes.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("runs/compact"),
    pool: Annotated[
        Path, typer.Option(help="Folder of simulated studies; filled where it is not full.")
    ] = Path("pool"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with anatomy/ and sts/ (default: ANYPET_DATA; none: analytic anatomy), "
            "or a list of your own cases (.csv or .json)."
        ),
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
    """Trains a network on simulated PET, and on real training patients where they are at hand."""
    import torch

    from anypet.training.config import Settings, load_any
    from anypet.training.distributed import join_world
    from anypet.training.run import Budget

    console = Console(stderr=True)
    overrides = _overrides(change)
    chosen = load_any(settings, **overrides, seed=seed)
    if threads:
        torch.set_num_threads(threads)
    if (output / "checkpoint.pt").exists() and not resume:
        raise AnyPETError(f"{output} holds a run already; add --resume to go on, or choose another -o")
    world = join_world(device)
    if isinstance(chosen, Settings):
        run = _promptable_run(
            chosen, overrides, output, pool, data, start, fold, device, world, workers, console
        )
    else:
        run = lesion_run(chosen, output, pool, data, start, device, world, workers, console)
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


def _promptable_run(
    chosen: Any, overrides: dict[str, Any], output: Path, pool: Path, data: Path | None, start: str | None,
    fold: int | None, device: str, world: Any, workers: int, console: Console,
) -> Any:  # fmt: skip
    """A run of a promptable network on simulated patches and real ones."""
    from anypet.training.learners import make_learner
    from anypet.training.pool import Pool
    from anypet.training.run import Run
    from anypet.training.sources import Mixture

    learner = make_learner(chosen, start)
    own = data if data is not None and data.suffix.lower() in (".csv", ".json") else None
    if own is not None and "real_share" not in overrides:
        chosen = chosen.model_copy(update={"real_share": 1.0})  # one's own cases alone
    folder = _data(None if own else data, console, quiet=own is not None)
    simulated = Pool(pool, chosen.seed, chosen.studies)
    if chosen.real_share < 1:
        if world.leads:
            _fill(pool, folder, chosen, workers, console)
        world.wait()
        simulated = Pool(pool, chosen.seed, chosen.studies)
    real = _real_studies(own, folder, fold, chosen, pool / "cases")
    source = Mixture(simulated, real, chosen, learner.spacing)
    if world.leads:  # what it simulates or caches, the others find
        validation = _validation(own, folder, chosen, learner.spacing, pool, workers)
    world.wait()
    if not world.leads:
        validation = _validation(own, folder, chosen, learner.spacing, pool, workers)
    return Run(output, chosen, learner, source, device, world, validation)


def _overrides(changes: list[str] | None) -> dict[str, Any]:
    """`key=value` words -> settings; values as YAML reads them."""
    found = {}
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals:
            raise AnyPETError(f"--set {change}: write it as key=value")
        found[key] = yaml.safe_load(value)
    return found


def _data(data: Path | None, console: Console, quiet: bool) -> Path | None:
    from anypet.evaluation.cases import data_folder

    try:
        return data_folder(data)
    except AnyPETError:
        if data is not None:
            raise
    if not quiet:
        text = "no data folder: training on the analytic anatomy alone (set ANYPET_DATA for real anatomies)"
        console.print(text)
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


def _real_studies(
    own: Path | None, folder: Path | None, fold: int | None, settings: Any, cache: Path
) -> list[Any]:
    """The real patients to train on: of one's own list; else the training split, or all but one fold."""
    from anypet.evaluation.cases import sts_cases, sts_split
    from anypet.evaluation.manifest import manifest_cases
    from anypet.manifest import read_manifest
    from anypet.training.real import real_studies

    if own is not None:
        divided = any(row.split for row in read_manifest(own))
        return real_studies(manifest_cases(own, "train" if divided else None, skip_unlabelled=True), cache)
    if folder is None or not (folder / "sts").is_dir() or settings.real_share == 0:
        return []
    if fold is None:
        return real_studies(sts_cases(folder, "train"))
    folds = sts_split().folds
    if not 0 <= fold < len(folds):
        raise AnyPETError(f"--fold must lie between 0 and {len(folds) - 1}, got {fold}")
    return real_studies(c for c in sts_cases(folder) if c.patient not in folds[fold])


def _validation(
    own: Path | None, folder: Path | None, settings: Any, spacing: float | None, pool: Path, workers: int
) -> Any:
    """Windows to look at during the run: of the list's validation patients, else simulated ones."""
    from anypet.evaluation.manifest import manifest_cases
    from anypet.manifest import read_manifest
    from anypet.simulate import anatomy_split
    from anypet.training.patches import Draw
    from anypet.training.pool import Pool, build_pool
    from anypet.training.real import real_studies
    from anypet.training.validation import Validation

    if not settings.validate_every:
        return None
    if own is not None:
        if not any(row.split == "validation" for row in read_manifest(own)):
            raise AnyPETError(f"validate_every needs validation patients; {own} has none: set their split")
        cases = manifest_cases(own, "validation", skip_unlabelled=True)
        studies = real_studies(cases, pool / "cases")
    else:
        sources = anatomy_split(sorted((folder / "anatomy").glob("*.nii.gz"))) if folder else {}
        for _ in build_pool(pool / "validation", sources.get("validation", []), 8, 0, workers):
            pass
        found = Pool(pool / "validation", 0, 8)
        studies = [found[n] for n in range(len(found))]
    return Validation(studies, Draw(settings.window, settings.organ_share, 1, spacing=spacing))
