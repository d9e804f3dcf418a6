"""A list of cases as an nnU-Net raw data set: CT, PET and clicks as images, lesions and organs as labels.

What is trained on it with nnU-Net's own commands runs here as it is: dataset.json says under "anypet" how the
clicks were drawn, and nnU-Net hands that file on. The click channels are called noNorm, which keeps nnU-Net
from scaling each scan's clicks by how many there are. Clicks are the challenge's (`anypet.autopet.simulate`);
each case gets the first few, a number drawn for it, and a share of the cases none at all, so that a network
learns to do with any number.

Beside what nnU-Net reads: clicksTr/CASE.json, and splits_final.json with five folds that divide no patient,
to be copied to the preprocessed folder before training.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from anypet._version import __version__
from anypet.autopet.simulate import BUDGET, SEED, simulate_clicks
from anypet.errors import AnyPETError
from anypet.evaluation.lesion_cases import LesionCase, LesionStudy
from anypet.files import write_whole
from anypet.io import write
from anypet.lesions.click_files import LesionClicks, write_clicks
from anypet.lesions.nnunet.channels import OURS, Channels, Role
from anypet.text import is_lesion

log = logging.getLogger(__name__)

FOLDS = 5
SILENT_SHARE = 0.25  # of the cases; with 0 to 10 clicks of either kind drawn alike often it would be 1 in 121
_NAMES = {"ct": "CT", "pet": "PET"}  # of the other channels: noNorm
_FOLDER = re.compile(r"Dataset\d{3}_\w+")


def export_raw(
    cases: Sequence[LesionCase],
    output: Path | str,
    *,
    seed: int = SEED,
    budget: int = BUDGET,
    vary: bool = True,
    click_channels: Literal[1, 2] = 2,
    organs: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes cases as imagesTr, labelsTr and dataset.json.

    Args:
        cases: with a label; either all have a CT or none has.
        output: the folder to make, named DatasetNNN_NAME as nnU-Net asks; it is there only once it is whole.
        seed: of the clicks; a case's depend on its name, not on the cases beside it.
        budget: clicks of either kind at most.
        vary: whether a case gets 0 to `budget` of either kind (none of both in `SILENT_SHARE`), or all.
        click_channels: tumour and background clicks in one each, or one channel with their difference.
        organs: whether organs that every case names become labels too.
        progress: called with cases done and all of them.

    Raises:
        AnyPETError: the folder exists or has another name, some cases alone have a CT, or a case is at fault.
    """
    output = Path(output)
    if not _FOLDER.fullmatch(output.name):
        raise AnyPETError(f"{output}: nnU-Net wants a folder named like Dataset501_Lesions")
    if output.exists():
        raise AnyPETError(f"{output} is there already; remove it or choose another number")
    if not cases:
        raise AnyPETError("there is no case to export")
    with_ct = [case for case in cases if case.row.ct is not None]
    if len(with_ct) not in (0, len(cases)):
        lacking = next(case.where for case in cases if case.row.ct is None)
        raise AnyPETError(
            f"{lacking} has no CT and {len(with_ct)} others have one: give all cases a CT, or none"
        )
    clicked: tuple[Role, ...] = ("clicks",) if click_channels == 1 else ("tumour", "background")
    channels = Channels((*(("ct",) if with_ct else ()), "pet", *clicked), OURS)  # type: ignore[arg-type]
    labels = _labels(cases) if organs else {"background": 0, "lesion": 1}
    names = _identifiers(cases)
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        for folder in ("imagesTr", "labelsTr", "clicksTr"):
            (part / folder).mkdir(parents=True)
        for n, (name, case) in enumerate(zip(names, cases, strict=True), start=1):
            study = case.load()
            clicks = _clicks(study, np.random.default_rng((seed, zlib.crc32(name.encode()))), budget, vary)
            _write_case(part, name, study, clicks, channels, labels)
            if progress is not None:
                progress(n, len(cases))
        described = _described(channels, labels, len(cases), {"seed": seed, "clicks_at_most": budget})
        write_whole(part / "dataset.json", json.dumps(described, indent=1) + "\n")
        patients = [case.row.patient for case in cases]
        write_whole(part / "splits_final.json", json.dumps(_folds(names, patients), indent=1) + "\n")
        part.rename(output)
    except OSError as error:
        raise AnyPETError(f"{output}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return output


def _labels(cases: Sequence[LesionCase]) -> dict[str, int]:
    """Name -> value: lesion, and the organs that every case names. One that some cases lack would be taught
    to be background there."""
    named = [{n for n in case.row.names.values() if not is_lesion(n)} for case in cases]
    common = sorted(set.intersection(*named))
    rest = sorted(set.union(*named) - set(common))
    if rest:
        log.warning("not every case names %s: left out of the labels", ", ".join(rest))
    return {"background": 0, "lesion": 1} | {name: n for n, name in enumerate(common, start=2)}


def _identifiers(cases: Sequence[LesionCase]) -> list[str]:
    """A name for each case that is fit for files, and its own."""
    names: list[str] = []
    for case in cases:
        plain = re.sub(r"[^A-Za-z0-9]+", "-", case.name).strip("-") or "case"
        twins = sum(name == plain or name.startswith(f"{plain}-again") for name in names)
        names.append(f"{plain}-again{twins}" if twins else plain)
    return names


def _clicks(study: LesionStudy, rng: np.random.Generator, budget: int, vary: bool) -> LesionClicks:
    label = study.pet.with_array(study.lesion, unit="label")
    clicks = simulate_clicks(label, study.pet, rng, budget=budget)
    if not vary:
        return clicks
    if rng.random() < SILENT_SHARE:
        return LesionClicks()
    tumour, background = (int(n) for n in rng.integers(0, budget + 1, 2))
    return LesionClicks(clicks.tumour[:tumour], clicks.background[:background])


def _write_case(
    folder: Path, name: str, study: LesionStudy, clicks: LesionClicks, channels: Channels,
    labels: dict[str, int],
) -> None:  # fmt: skip
    drawn = channels.draw(study.pet, study.ct, clicks)
    for n, (role, channel) in enumerate(zip(channels.roles, drawn, strict=True)):
        unit = {"ct": "HU", "pet": "SUVbw"}.get(role, "map")
        write(study.pet.with_array(channel, unit=unit), folder / "imagesTr" / f"{name}_{n:04d}.nii.gz")
    values: npt.NDArray[np.uint8] = np.zeros(study.pet.shape, dtype=np.uint8)
    for organ, value in labels.items():
        if organ in study.organs:
            values[study.organs[organ]] = value
    values[study.lesion] = labels["lesion"]
    write(study.pet.with_array(values, unit="label"), folder / "labelsTr" / f"{name}.nii.gz")
    write_clicks(clicks, folder / "clicksTr" / f"{name}.json")


def _described(
    channels: Channels, labels: dict[str, int], count: int, about: dict[str, Any]
) -> dict[str, Any]:
    return {
        "channel_names": {str(n): _NAMES.get(role, "noNorm") for n, role in enumerate(channels.roles)},
        "labels": labels,
        "numTraining": count,
        "file_ending": ".nii.gz",
        "anypet": {**channels.as_json(), **about, "version": __version__},
    }


def _folds(names: Sequence[str], patients: Sequence[str]) -> list[dict[str, list[str]]]:
    """nnU-Net's splits: patients in the order of the SHA-256 of their name, the n-th in fold n modulo 5."""
    order = sorted(set(patients), key=lambda patient: hashlib.sha256(patient.encode()).digest())
    fold = {patient: n % FOLDS for n, patient in enumerate(order)}
    return [
        {
            "train": [name for name, p in zip(names, patients, strict=True) if fold[p] != n],
            "val": [name for name, p in zip(names, patients, strict=True) if fold[p] == n],
        }
        for n in range(min(FOLDS, len(order)))
    ]
