"""`anypet train lesions-compact`, `lesions-large` and `tracer`: what their runs are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from anypet.errors import AnyPETError

VALIDATION_SCANS = 16  # simulated, where no real ones are given


def lesion_run(
    settings: Any, output: Path, pool: Path, data: Path | None, start: str | None, device: str, world: Any,
    workers: int, console: Console,
) -> Any:  # fmt: skip
    """A run on one's own cases, on simulated scans of the training anatomies, or on both.

    It is looked at on the validation patients of the list, or on scans of the validation anatomies.

    Raises:
        AnyPETError: there are no anatomies, the list is at fault, or `start` does not fit.
    """
    import torch

    from anypet.devices import has_bfloat16
    from anypet.lesions.discriminator import MipCNN, load_discriminator
    from anypet.lesions.network import TwoHeadedUNet, load_encoder
    from anypet.models.registry import weights_file
    from anypet.models.weights import load_state_dict
    from anypet.training.config import LesionSettings
    from anypet.training.lesions.objective import LesionObjective
    from anypet.training.lesions.scans import scans_in
    from anypet.training.lesions.tracer import Projections, TracerObjective
    from anypet.training.lesions.validation import LesionLook
    from anypet.training.run import Run

    own = data if data is not None and data.suffix.lower() in (".csv", ".json") else None
    if own is None and data is not None and not data.is_dir():
        raise AnyPETError(f"--data {data}: give the folder with anatomy/, or a list of cases (.csv or .json)")
    if not isinstance(settings, LesionSettings):
        if own is not None:
            raise AnyPETError(f"--data {own}: the tracer discriminator trains on simulated scans alone")
        _simulate(pool, data, settings, world, workers, console)
        scans = scans_in(pool, settings.seed, settings.studies)
        mips = MipCNN() if start is None else load_discriminator(weights_file(start))
        return Run(output, settings, mips, Projections(scans), device, world, None, TracerObjective(mips))
    net = TwoHeadedUNet(settings.network)
    if start is not None:
        taken = load_encoder(net, load_state_dict(weights_file(start)))
        console.print(f"{len(taken)} tensors taken from {start}")
    source, seen = _lesion_data(settings, pool, data, own, world, workers, console)
    look = LesionLook(seen, settings) if seen else None
    half = settings.half and has_bfloat16(torch.device(device))
    objective = LesionObjective(net.to(device), settings.organ_weight, half)
    return Run(output, settings, net, source, device, world, look, objective)


def _lesion_data(
    settings: Any, pool: Path, data: Path | None, own: Path | None, world: Any, workers: int, console: Console
) -> tuple[Any, list[Any]]:
    """Where patches come from, and the scans to look at during the run."""
    from anypet.training.lesions.patches import LesionPatches
    from anypet.training.lesions.real_scans import MixedPatches, simulated_scans

    net, seen = settings.network, []
    if own is None or settings.real_share < 1:
        _simulate(pool, None if own else data, settings, world, workers, console, looked_at=own is None)
    if own is None:
        simulated = LesionPatches(
            _led(world, simulated_scans, pool, settings.seed, settings.studies, net), settings
        )
        if settings.validate_every:
            seen = _led(world, simulated_scans, pool / "validation", 0, VALIDATION_SCANS, net)
        return simulated, seen
    train, validation = _own_cases(own, bool(settings.validate_every))
    kept = pool / f"real-{settings.preset}"
    real = LesionPatches(_led(world, _taken_in, train, net, kept, console), settings)
    if validation:
        seen = _led(world, _taken_in, validation, net, kept, console)
    if settings.real_share == 1:
        return real, seen
    scans = _led(world, simulated_scans, pool, settings.seed, settings.studies, net)
    return MixedPatches(real, LesionPatches(scans, settings), settings.real_share), seen


def _led(world: Any, make: Any, *arguments: Any) -> Any:
    """What a function gives: the leading process makes its files, the others find them."""
    made = make(*arguments) if world.leads else None
    world.wait()
    return make(*arguments) if made is None else made


def _own_cases(own: Path, with_validation: bool) -> tuple[list[Any], list[Any]]:
    """The cases of a list to train on, and those to look at if that is asked for."""
    from anypet.evaluation.lesion_cases import lesion_cases
    from anypet.manifest import read_manifest

    splits = {row.split for row in read_manifest(own)}
    train = lesion_cases(own, *(("train",) if splits - {None} else ()))
    if not with_validation:
        return train, []
    if "validation" not in splits:
        raise AnyPETError(f"validate_every needs validation patients; {own} has none: set their split")
    return train, lesion_cases(own, "validation")


def _taken_in(cases: list[Any], net: Any, folder: Path, console: Console) -> list[Any]:
    from anypet.training.lesions.real_scans import real_scans

    with Progress(*Progress.get_default_columns(), console=console) as bars:
        task = bars.add_task("reading cases", total=len(cases))
        return real_scans(cases, net, folder, lambda done: bars.update(task, completed=done))


def _simulate(
    pool: Path, data: Path | None, settings: Any, world: Any, workers: int, console: Console,
    looked_at: bool = True,
) -> None:  # fmt: skip
    """Simulates what the pool lacks, and with `looked_at` what its validation lacks."""
    from anypet.evaluation.cases import data_folder
    from anypet.simulate import anatomy_split
    from anypet.training.lesions.scans import build_scans

    split = anatomy_split(sorted((data_folder(data) / "anatomy").glob("*.nii.gz")))
    parts = [(pool, "train", settings.studies, settings.seed)]
    if settings.validate_every and looked_at:
        parts.append((pool / "validation", "validation", VALIDATION_SCANS, 0))
    for folder, part, count, seed in parts if world.leads else ():
        with Progress(*Progress.get_default_columns(), console=console) as bars:
            task = bars.add_task("simulating scans", total=count)
            for done in build_scans(
                folder, split[part], count, seed, settings.tracers, settings.empty_share, workers
            ):
                bars.update(task, completed=done)
    world.wait()
