"""`anypet train lesions-compact` and `tracer`: what their runs are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from anypet.errors import AnyPETError


def lesion_run(
    settings: Any, output: Path, pool: Path, data: Path | None, start: str | None, device: str, world: Any,
    workers: int, console: Console,
) -> Any:  # fmt: skip
    """A run on simulated scans of the training anatomies, looked at on those of the validation anatomies.

    Raises:
        AnyPETError: there are no anatomies, or `start` does not fit.
    """
    import torch

    from anypet.evaluation.cases import data_folder
    from anypet.lesions.discriminator import MipCNN, load_discriminator
    from anypet.lesions.network import TwoHeadedUNet, load_encoder
    from anypet.models.registry import weights_file
    from anypet.models.weights import load_state_dict
    from anypet.simulate import anatomy_split
    from anypet.training.config import LesionSettings
    from anypet.training.lesions.objective import LesionObjective
    from anypet.training.lesions.patches import LesionPatches
    from anypet.training.lesions.scans import scans_in
    from anypet.training.lesions.tracer import Projections, TracerObjective
    from anypet.training.lesions.validation import LesionLook
    from anypet.training.run import Run, has_bfloat16

    if data is not None and not data.is_dir():
        raise AnyPETError(f"--data {data}: the lesion network trains on the folder with anatomy/")
    split = anatomy_split(sorted((data_folder(data) / "anatomy").glob("*.nii.gz")))
    parts = [(pool, "train", settings.studies, settings.seed)]
    if settings.validate_every:
        parts.append((pool / "validation", "validation", 16, 0))
    if world.leads:
        for folder, part, count, seed in parts:
            _fill(folder, split[part], count, seed, settings, workers, console)
    world.wait()
    scans = scans_in(pool, settings.seed, settings.studies)
    if not isinstance(settings, LesionSettings):
        mips = MipCNN() if start is None else load_discriminator(weights_file(start))
        return Run(output, settings, mips, Projections(scans), device, world, None, TracerObjective(mips))
    net = TwoHeadedUNet(settings.network)
    if start is not None:
        taken = load_encoder(net, load_state_dict(weights_file(start)))
        console.print(f"{len(taken)} tensors taken from {start}")
    source = LesionPatches(scans, settings)
    look = LesionLook(scans_in(pool / "validation", 0, 16), settings) if settings.validate_every else None
    half = settings.half and has_bfloat16(torch.device(device))
    objective = LesionObjective(net.to(device), settings.organ_weight, half)
    return Run(output, settings, net, source, device, world, look, objective)


def _fill(
    folder: Path, sources: list[Path], count: int, seed: int, settings: Any, workers: int, console: Console
) -> None:
    from anypet.training.lesions.scans import build_scans

    with Progress(*Progress.get_default_columns(), console=console) as bars:
        task = bars.add_task("simulating scans", total=count)
        for done in build_scans(
            folder, sources, count, seed, settings.tracers, settings.empty_share, workers
        ):
            bars.update(task, completed=done)
