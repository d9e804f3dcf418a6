"""What a search for lesions leaves in a folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anypet.files import write_whole
from anypet.io import write
from anypet.lesions.finder import LesionResult
from anypet.lesions.sites import sites
from anypet.quantify.measures import measure
from anypet.quantify.table import MeasureTable
from anypet.volume import Volume


@dataclass(frozen=True)
class Written:
    """What was written, for people and machines.

    Args:
        names: lesion number -> its name, with its site where organs were found.
        table: measures of the lesions.
        told: the content of result.json.
    """

    names: dict[int, str]
    table: MeasureTable
    told: dict[str, Any]


def write_lesions(
    folder: Path, pet: Volume, result: LesionResult, *, title: str = "", picture: bool = True
) -> Written:
    """Writes mask.nii.gz, instances.nii.gz, organs.nii.gz, lesions.csv, result.json and picture.png.

    Args:
        folder: made if it is not there.
        pet: that the lesions were found in, SUVbw.
        result: organs.nii.gz is only written where it has organs.
        title: of the picture.
        picture: whether picture.png is drawn.

    Raises:
        AnyPETError: the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {n: f"lesion {n}" for n in range(1, int(result.instances.max()) + 1)}
    if result.organs is not None:
        where = sites(result.instances, result.organs, result.organ_names, pet.spacing)
        names = {n: f"{name}: {where[n]}" for n, name in names.items()}
        organ_names = dict(enumerate(result.organ_names, start=1))
        write(pet.with_array(result.organs, unit="label", names=organ_names), folder / "organs.nii.gz")
    write(pet.with_array(result.mask, unit="label"), folder / "mask.nii.gz")
    instances = pet.with_array(result.instances, unit="label", names=names)
    write(instances, folder / "instances.nii.gz")
    table = measure(pet, instances).with_about(tracer="/".join(result.used))
    table.write(folder / "lesions.csv")
    told = {**_told(result), "measures": table.as_dict()}
    write_whole(folder / "result.json", json.dumps(told, indent=1) + "\n")
    if picture:
        from anypet.render import mip_figure  # imports matplotlib

        mip_figure(pet, {"lesions": result.mask}, folder / "picture.png", title=title)
    return Written(names, table, told)


def _told(result: LesionResult) -> dict[str, Any]:
    guess = result.tracer
    return {
        "tracers": list(result.used),
        "tracer_probability": None if guess is None else {"FDG": 1 - guess.psma, "PSMA": guess.psma},
        "lesions": int(result.instances.max()),
        "changes": [asdict(change) for change in result.changes],
        "depth": asdict(result.depth),
        "notes": list(result.notes),
        "seconds": round(result.seconds, 2),
    }
