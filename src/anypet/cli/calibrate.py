"""`anypet calibrate`: whether probabilities mean what they say, and the temperature that helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from anypet.errors import AnyPETError


def calibrate(
    data: Annotated[str, typer.Option(help="sts, simulated, or a list of cases (.csv or .json).")] = "sts",
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "validation",
    model: Annotated[str, typer.Option(help="Model of the registry.")] = "default",
    weights: Annotated[Path | None, typer.Option(help="Weights file in place of the registered one.")] = None,
    clicks: Annotated[int, typer.Option(min=1, help="Clicks on each target.")] = 1,
    cases: Annotated[int | None, typer.Option(min=1, help="At most so many cases (simulated: 10).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of first clicks and of simulated cases.")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of sts/ and anatomy/ (else ANYPET_DATA).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the weights here with the temperature set.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measures the expected calibration error, before and after one temperature for all logits.

    The error "after" is cross-fitted: every patient's voxels are scaled with a temperature that the other
    patients chose. A temperature changes no mask.
    """
    from anypet.cli.evaluate import chosen_cases
    from anypet.evaluation.calibration import collect, cross_fitted, reliability
    from anypet.models.registry import load_model, weights_file
    from anypet.models.weights import copy_with_metadata

    if output and output.suffix != ".safetensors":
        raise AnyPETError(f"-o {output}: name a .safetensors file")
    loaded = load_model(model, weights=weights)
    listed = chosen_cases(data, data_dir, None if split == "all" else split, None, cases, seed, None)
    voxels = collect(listed, loaded, clicks, seed)
    temperature, after = cross_fitted(voxels)
    temperature *= loaded.spec.temperature  # it divides logits that were divided by this before
    before, better = reliability(voxels.probability, voxels.truth), reliability(after, voxels.truth)
    if output:
        source = weights or weights_file(model)
        copy_with_metadata(source, output, {"temperature": f"{temperature:.3f}"})
    if as_json:
        found = {
            "voxels": int(voxels.truth.size),
            "patients": int(voxels.patient.max()) + 1,
            "ece_before": before.ece,
            "ece_after": better.ece,
            "temperature": temperature,
        }
        typer.echo(json.dumps(found, indent=1))
        return
    table = Table("probability", "voxels", "share of object", "share after", title="Reliability")
    for n, count in enumerate(before.count):
        if count:
            edge = f"{n / len(before.count):.2f} to {(n + 1) / len(before.count):.2f}"
            after_text = f"{better.share[n]:.3f}" if better.count[n] else "-"
            table.add_row(edge, f"{count:,}", f"{before.share[n]:.3f}", after_text)
    console = Console()
    console.print(table)
    console.print(
        f"expected calibration error {before.ece:.4f}, after scaling {better.ece:.4f} (cross-fitted); "
        f"temperature {temperature:.3f}"
    )
    if output:
        console.print(f"wrote {output}", highlight=False, soft_wrap=True)
