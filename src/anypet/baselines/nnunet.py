"""A trained nnU-Net as an automatic system: its own preprocessing, predictor and resampling."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np

from anypet.baselines.base import Automatic, Loaded
from anypet.clicks import BoolArray
from anypet.errors import AnyPETError
from anypet.lesions.nnunet.folder import NnunetFolder, read_folder
from anypet.volume import Volume


def load_nnunet(weights: Path, device: str, title: str = "nnU-Net") -> Loaded:
    """The network of a trained folder, read as tensors alone; all mirror axes are used, as nnU-Net does.

    Args:
        weights: folder with plans.json; what `anypet train-baseline` left also tells what it learned from.
        device: where it runs.
        title: name in tables: "nnU-Net (HQ)".

    Raises:
        AnyPETError: the folder is of another kind, or its network needs more than the PET.
    """
    folder = read_folder(weights, lesions=False)
    if "ct" in folder.channels.roles:
        raise AnyPETError(
            f"{weights}: the network reads a CT beside the PET; give one trained on the PET alone"
        )
    quality = folder.dataset.get("quality")
    name = f"{title} ({quality})" if quality else title
    return [Automatic(name, partial(segment, folder=folder, device=device))]


def segment(pet: Volume, folder: NnunetFolder, device: str) -> dict[str, BoolArray]:
    """Label -> (I, J, K) bool; several labels of lesions are one, named after the first."""
    from anypet.lesions.nnunet.run import find_lesions

    found = find_lesions(
        pet,
        None,
        None,
        {"": folder},
        tracer="fdg",
        organs=True,
        time_limit_s=math.inf,
        clean=False,
        device=device,
    )
    names = {value: name for name, value in folder.dataset["labels"].items()}
    masks: dict[str, BoolArray] = {}
    if folder.lesion:
        masks[names[folder.lesion[0]]] = np.asarray(found.mask)
    if found.organs is not None:
        masks |= {name: found.organs == n for n, name in enumerate(found.organ_names, start=1)}
    return masks
