"""`anypet train-baseline`: the papers' task-specific networks, on the same cases and for the same time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from anypet.cli.evaluate import chosen_cases
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.evaluation.cases import Case


def train_baseline(
    network: Annotated[str, typer.Argument(help="segresnet, swinunetr or stunet.")],
    data: Annotated[str, typer.Option(help="sts, simulated, or a list of cases (.csv or .json).")] = "sts",
    pool: Annotated[
        Path | None, typer.Option(help="In place of --data: the studies that `anypet train` simulated.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Time budget; earlier, resumed time counts.")] = 60.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in steps, in place of minutes.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path(
        "runs/baseline"
    ),
    quality: Annotated[str, typer.Option(help="HQ: only labels of high quality; all.")] = "all",
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "train",
    cases: Annotated[int | None, typer.Option(min=1, help="At most so many (simulated: 10).")] = None,
    tracer: Annotated[str | None, typer.Option(help="Of simulated cases: FDG, PSMA or random.")] = None,
    spacing: Annotated[float, typer.Option(help="Millimetres of the network's voxels.")] = 4.0,
    patch: Annotated[int, typer.Option(help="Voxels along a side of a patch; a multiple of 32.")] = 64,
    width: Annotated[int, typer.Option(help="Channels of the first stage (0 = the network's own).")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Patches of a step.")] = 2,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, patches and simulated cases.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps.")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="Of torch (0 = its choice).")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of sts/ and anatomy/ (else ANYPET_DATA).")
    ] = None,
) -> None:
    """Trains a network that needs no prompt, to be compared with by `anypet benchmark`."""
    from anypet.baselines.registry import baseline

    console = Console(stderr=True)
    chosen = baseline(network)
    if not chosen.loader.startswith("task:"):
        raise AnyPETError(f"{network} is not trained here; its weights: {chosen.weights or 'none needed'}")
    if quality not in ("HQ", "all"):
        raise AnyPETError(f"--quality takes HQ or all, got {quality!r}")
    if (output / "checkpoint.pt").exists() and not resume:
        raise AnyPETError(f"{output} holds a run already; add --resume to go on, or choose another -o")
    chosen.check_packages()
    import torch

    if threads:
        torch.set_num_threads(threads)

    def listed() -> list[Case]:
        found = chosen_cases(data, data_dir, None if split == "all" else split, None, cases, seed, tracer)
        return [case for case in found if case.high_quality or quality == "all"]

    from anypet.baselines.scans import of_cases, of_pool, read_scans, write_scans
    from anypet.baselines.task import TaskConfig
    from anypet.baselines.train import BaselineRun, Budget

    with console.status("reading the scans"):
        source = of_pool(pool, cases) if pool else of_cases(listed())
        classes = write_scans(output / "scans", source, spacing)
        config = TaskConfig(network, classes, spacing, patch, width, quality)
        run = BaselineRun(output, config, read_scans(output / "scans"), rate, batch, seed, device)
    if resume:
        run.resume()
    budget = Budget(minutes, steps)
    columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("training", total=1.0)

        def report(progress: Any) -> None:
            loss = f"  loss {progress.losses[-1]:.3f}" if progress.losses else ""
            bars.update(
                task,
                completed=budget.share(progress.seconds, progress.step),
                description=f"step {progress.step}{loss}",
            )

        weights = run.train(budget, report)
    console.print(f"{run.progress.step} steps; weights: {weights}", highlight=False, soft_wrap=True)
