"""Finds labels and the masks predicted for them, as the autoPET IV evaluation lays them out.

Labels are `<case>.nii.gz`, masks `<case>_pred<step>.nii.gz` with steps from 0 (no click), in one folder, in
subfolders, or beside the labels. Other image suffixes do as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from anypet.autopet.protocol import STEPS, Step, score_masks
from anypet.builders.files import stem
from anypet.errors import AnyPETError
from anypet.evaluation.lesion_metrics import DMM_IOU
from anypet.formats import suffix_of
from anypet.io import read

_MASK = re.compile(r"(.+)_pred(0|[1-9]\d*)")
_AUTOPET_NAME = re.compile(r"(?:fdg|psma)_([^_]+)_.+")


@dataclass(frozen=True)
class CaseFiles:
    """One case on disk.

    Args:
        name: of the case.
        label: the truth.
        masks: of steps 0, 1, 2, ...
    """

    name: str
    label: Path
    masks: tuple[Path, ...]

    @property
    def patient(self) -> str:
        """Whose it is: the second part of a name of autoPET's (`fdg_<patient>_<date>`), else the case."""
        found = _AUTOPET_NAME.fullmatch(self.name)
        return found[1] if found else self.name


def find_cases(predictions: Path | str, labels: Path | str, steps: int = STEPS) -> list[CaseFiles]:
    """All labels of a folder with their masks of every step, by name.

    Raises:
        AnyPETError: no label, a case with steps missing or too many, or a mask without a label; names them.
    """
    truths = {name: path for name, path in _images(Path(labels)).items() if not _MASK.fullmatch(name)}
    masks: dict[str, dict[int, Path]] = {}
    for name, path in _images(Path(predictions)).items():
        if found := _MASK.fullmatch(name):
            masks.setdefault(found[1], {})[int(found[2])] = path
    if not truths:
        raise AnyPETError(f"{labels}: no label; expected images such as <case>.nii.gz")
    if strays := sorted(masks.keys() - truths.keys()):
        raise AnyPETError(
            f"{labels}: no label for {_some(strays)}, of which there are masks in {predictions}"
        )
    expected = list(range(steps))
    wrong = [name for name in sorted(truths) if sorted(masks.get(name, {})) != expected]
    if wrong:
        raise AnyPETError(
            f"{predictions}: {_some(wrong)} need masks <case>_pred0 to <case>_pred{steps - 1} and no others; "
            f"found for {wrong[0]} steps {sorted(masks.get(wrong[0], {}))}; add them or change --steps"
        )
    return [
        CaseFiles(name, truths[name], tuple(masks[name][step] for step in expected))
        for name in sorted(truths)
    ]


def score_case(case: CaseFiles, *, dmm_iou: float = DMM_IOU) -> list[Step]:
    """Reads a case mask by mask and measures every step.

    Raises:
        AnyPETError: a file cannot be read as labels, or a mask is not on the grid of the label.
    """
    masks = (read(path, unit="label") for path in case.masks)
    return score_masks(case.name, case.patient, read(case.label, unit="label"), masks, dmm_iou=dmm_iou)


def _images(folder: Path) -> dict[str, Path]:
    """Name without suffix -> file, of all images in a folder and below."""
    if not folder.is_dir():
        raise AnyPETError(f"{folder}: no such folder")
    images: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if not suffix_of(path):
            continue
        if (name := stem(path)) in images:
            raise AnyPETError(f"{path} and {images[name]} have one name; which is {name}?")
        images[name] = path
    return images


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
