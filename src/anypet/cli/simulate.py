"""`anypet simulate`: simulated PET/CT with its truth, and a preview to hold against a real scan."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from anypet.errors import AnyPETError


def simulate(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that receives the studies.")],
    anatomy: Annotated[
        list[Path] | None, typer.Option(help="Organ label map(s); without any, the analytic anatomy is used.")
    ] = None,
    tracer: Annotated[str | None, typer.Option(help="FDG, PSMA or random; by default drawn.")] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Studies per anatomy.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same studies.")] = 0,
    preview: Annotated[bool, typer.Option("--preview", help="Write a picture of the MIPs as well.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps.")] = "cpu",
) -> None:
    """Simulates studies: PET (SUVbw), CT (HU), organ and lesion masks as NIfTI."""
    import numpy as np

    from anypet import io
    from anypet.simulate import analytic_anatomy, load_anatomy
    from anypet.simulate import simulate as simulate_study
    from anypet.simulate.tracer import TRACERS
    from anypet.volume import Volume

    if tracer is not None and tracer.upper() not in [t.upper() for t in TRACERS]:
        raise AnyPETError(f"unknown tracer {tracer!r}; one of {', '.join(TRACERS)}")
    for path in anatomy or []:
        if not path.is_file():
            raise AnyPETError(f"no anatomy at {path}")
    output.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    pictures = []
    sources: list[Path | None] = list(anatomy) if anatomy else [None]
    for source in sources:
        for index in range(number):
            person = load_anatomy(source) if source else analytic_anatomy(seed + index)
            with console.status(f"simulating {person.name}"):
                study = simulate_study(person, seed + index, tracer, device)
            folder = output / f"{person.name}-{seed + index}"
            folder.mkdir(exist_ok=True)
            io.write(study.pet, folder / "PET.nii.gz")
            io.write(study.ct, folder / "CT.nii.gz")
            labels = np.zeros(study.pet.shape, dtype=np.uint8)
            names = {}
            for number_, (name, mask) in enumerate(study.organs.items(), start=1):
                labels[mask] = number_
                names[number_] = name
            io.write(Volume(labels, study.truth_affine, "label"), folder / "organs.nii.gz")
            spots = np.zeros(study.pet.shape, dtype=np.uint8)
            for number_, mask in enumerate(study.lesions, start=1):
                spots[mask] = number_
            io.write(Volume(spots, study.truth_affine, "label"), folder / "lesions.nii.gz")
            facts = {
                "anatomy": person.name, "seed": seed + index, "tracer": study.tracer,
                "scanner": vars(study.scanner), "organs": names, "lesions": len(study.lesions),
            }  # fmt: skip
            partial = folder / "study.json.part"
            partial.write_text(json.dumps(facts, indent=1))
            os.replace(partial, folder / "study.json")
            console.print(f"{folder}: {study.tracer}, {len(names)} organs, {len(study.lesions)} lesions")
            pictures.append((f"{person.name} {study.tracer}", study.pet))
    if preview:
        _preview(pictures, output / "preview.png")
        console.print(f"picture: {output / 'preview.png'}")


def _preview(pictures: list, path: Path) -> None:  # type: ignore[type-arg]
    """Coronal MIPs side by side, SUV 0 to 8, patient's right on the left."""
    from matplotlib.figure import Figure

    shown = pictures[:8]
    figure = Figure(figsize=(2.6 * len(shown), 6), layout="constrained")
    for axes, (title, pet) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        mip = pet.array.max(axis=1)[::-1].T
        axes.imshow(
            mip, origin="lower", cmap="gray_r", vmin=0, vmax=8, aspect=pet.spacing[2] / pet.spacing[0]
        )
        axes.set_title(title, fontsize=7)
        axes.set_axis_off()
    figure.savefig(path, dpi=130)
