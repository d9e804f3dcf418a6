"""`anypet train-baseline`: the papers' task-specific networks, on the same cases and for the same time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from anypet.cli.evaluate import chosen_cases
from anypet.errors import AnyPETError
from anypet.files import write_whole

if TYPE_CHECKING:
    from anypet.baselines.scans import Labelled
    from anypet.baselines.train import Budget

NETWORKS = ("segresnet", "swinunetr", "nnunet", "stunet")


def train_baseline(
    network: Annotated[str, typer.Argument(help="segresnet, swinunetr, nnunet or stunet.")],
    data: Annotated[str, typer.Option(help="sts, simulated, or a list of cases (.csv or .json).")] = "sts",
    pool: Annotated[
        Path | None, typer.Option(help="In place of --data: the studies that `anypet train` simulated.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.001, help="Time budget; earlier, resumed time counts.")
    ] = 60.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in steps, in place of minutes.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path(
        "runs/baseline"
    ),
    quality: Annotated[str, typer.Option(help="HQ: only labels of high quality; all.")] = "all",
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "train",
    cases: Annotated[int | None, typer.Option(min=1, help="At most so many (simulated: 10).")] = None,
    tracer: Annotated[str | None, typer.Option(help="Of simulated cases: FDG, PSMA or random.")] = None,
    spacing: Annotated[
        float | None,
        typer.Option(help="Millimetres of the network's voxels (4; nnunet, stunet: as nnU-Net plans)."),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(help="segresnet, swinunetr: voxels along a side of a patch, a multiple of 32 (64)."),
    ] = None,
    width: Annotated[
        int, typer.Option(min=0, help="Channels of the first stage (0: the network's own); not for nnunet.")
    ] = 0,
    batch: Annotated[
        int | None, typer.Option(min=1, help="segresnet, swinunetr: patches of a step (2).")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="segresnet, swinunetr: highest learning rate (0.001).")
    ] = None,
    memory_gb: Annotated[
        float | None,
        typer.Option(help="nnunet, stunet: of the GPU that nnU-Net plans for (8); less: smaller patches."),
    ] = None,
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
    if network not in NETWORKS:
        raise AnyPETError(
            f"{network} is not trained here, only {', '.join(NETWORKS)}; "
            f"its weights: {chosen.weights or 'none needed'}"
        )
    if quality not in ("HQ", "all"):
        raise AnyPETError(f"--quality takes HQ or all, got {quality!r}")
    planned = network in ("nnunet", "stunet")
    given = {"--patch": patch, "--batch": batch, "--rate": rate} if planned else {"--memory-gb": memory_gb}
    if network == "nnunet":
        given["--width"] = width or None
    if surplus := [option for option, value in given.items() if value is not None]:
        raise AnyPETError(f"{network} takes no {', '.join(surplus)}: that is for the other networks")
    if any((output / name).exists() for name in ("checkpoint.pt", "checkpoint.pth")) and not resume:
        raise AnyPETError(f"{output} holds a run already; add --resume to go on, or choose another -o")
    chosen.check_packages()
    import torch

    if threads:
        torch.set_num_threads(threads)

    def labelled() -> Iterator[Labelled]:
        from anypet.baselines.scans import of_cases, of_pool

        if pool is not None:
            return of_pool(pool, cases, high_quality=quality == "HQ")
        found = chosen_cases(data, data_dir, None if split == "all" else split, None, cases, seed, tracer)
        found = [case for case in found if case.high_quality or quality == "all"]
        if not found:
            raise AnyPETError(f"none of the cases of {data} has a label of high quality")
        return of_cases(found)

    described = {
        "network": network, "data": data, "pool": str(pool), "quality": quality, "split": split,
        "cases": cases, "tracer": tracer, "seed": seed, "spacing": spacing, "patch": patch, "width": width,
        "memory_gb": memory_gb,
    }  # fmt: skip
    _check_same(output, described)
    from anypet.baselines.train import Budget

    with console.status("preparing the scans"):
        if planned:
            run = _nnunet_run(output, network, labelled, quality, spacing, memory_gb, width, seed, device)
        else:
            run = _task_run(
                output, network, labelled, quality, spacing or 4.0, patch or 64, width, rate or 1e-3,
                batch or 2, seed, device, "pool" if pool else Path(data).stem,
            )  # fmt: skip
    if resume:
        run.resume()
    weights = _train(run, Budget(minutes, steps), console)
    console.print(f"{run.progress.step} steps; weights: {weights}", highlight=False, soft_wrap=True)


def _check_same(output: Path, described: dict[str, Any]) -> None:
    """Raises AnyPETError where the folder was prepared for another network or from other data."""
    file = output / "run.json"
    if file.exists():
        earlier = json.loads(file.read_text())
        other = [key for key, value in described.items() if earlier.get(key) != value]
        if other:
            said = ", ".join(f"{key} {earlier.get(key)!r}" for key in other)
            raise AnyPETError(f"{output} was begun with {said}; give the same, or choose another -o")
    output.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(described, indent=1) + "\n")


def _task_run(
    output: Path, network: str, labelled: Callable[[], Iterator[Labelled]], quality: str, spacing: float,
    patch: int, width: int, rate: float, batch: int, seed: int, device: str, data: str,
) -> Any:  # fmt: skip
    """SegResNet or Swin UNETR."""
    from anypet.baselines.scans import read_scans, write_scans
    from anypet.baselines.task import TaskConfig
    from anypet.baselines.train import BaselineRun

    classes = write_scans(output / "scans", labelled(), spacing)
    config = TaskConfig(network, classes, spacing, patch, width, quality, data)
    return BaselineRun(output, config, read_scans(output / "scans"), rate, batch, seed, device)


def _nnunet_run(
    output: Path, network: str, labelled: Callable[[], Iterator[Labelled]], quality: str,
    spacing: float | None, memory_gb: float | None, width: int, seed: int, device: str,
) -> Any:  # fmt: skip
    """nnU-Net or STU-Net, planned by nnU-Net."""
    from anypet.baselines.nnunet_data import plan_and_preprocess, write_raw
    from anypet.baselines.nnunet_train import NnunetRun

    write_raw(output, labelled(), quality)
    plans = plan_and_preprocess(output, spacing, memory_gb)
    return NnunetRun(output, network, plans, width, seed, device)


def _train(run: Any, budget: Budget, console: Console) -> Path:
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

        weights: Path = run.train(budget, report)
    return weights
