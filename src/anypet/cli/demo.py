"""`anypet demo`: the main job on a scan made on the spot, so that it needs no data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the scan, the masks and the picture.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another patient.")] = 7,
    model: Annotated[str, typer.Option(help="Model to use.")] = "default",
) -> None:
    """Simulates a patient, clicks once on liver, brain, a kidney and a lesion, and shows the result."""
    import numpy as np

    from anypet import Session, io
    from anypet.clicks import first_click
    from anypet.evaluation.metrics import dice
    from anypet.render import mip_figure
    from anypet.simulate import analytic_anatomy, simulate

    console = Console()
    output.mkdir(parents=True, exist_ok=True)
    console.print(
        "1. A patient made of simple shapes, injected with FDG, is scanned (simulated, no data needed)."
    )
    study = simulate(analytic_anatomy(seed), seed, "FDG", most_lesions=6)
    io.write(study.pet, output / "pet.nii.gz")
    targets: dict[str, Any] = {
        name: study.organs[name] for name in ("liver", "brain", "left kidney") if name in study.organs
    }
    if study.lesions:
        targets["lesion"] = max(study.lesions, key=lambda mask: int(mask.sum()))

    console.print("2. One click on each target; the network that ships with the package draws the object.")
    session = Session(study.pet, model=model)
    table = Table("object", "click (i, j, k)", "volume mL", "true mL", "DSC", "SUVmax", "SUVmean", "seconds")
    rng = np.random.default_rng(seed)
    for name, truth in targets.items():
        click = first_click(truth, rng, tuple(study.pet.spacing))
        session.new_object(name)
        started = time.perf_counter()
        mask = session.add_point(click)
        seconds = time.perf_counter() - started
        suv = study.pet.array[mask]
        ml = study.pet.voxel_volume_ml
        table.add_row(
            name, str(click), f"{mask.sum() * ml:.0f}", f"{truth.sum() * ml:.0f}", f"{dice(mask, truth):.2f}",
            f"{suv.max():.1f}", f"{suv.mean():.1f}", f"{seconds:.2f}",
        )  # fmt: skip
    console.print(table)
    io.write(session.labels, output / "objects.nii.gz")
    picture = output / "objects.png"
    objects = session.objects
    masks = {name: objects[name].mask for name in targets}
    mip_figure(study.pet, masks, picture, {name: objects[name].prompts for name in targets})
    console.print(f"3. Scan {output / 'pet.nii.gz'}, labels {output / 'objects.nii.gz'}, picture {picture}.")
    console.print("Your own scan: anypet segment SCAN --point i,j,k -o mask.nii.gz --png picture.png")
