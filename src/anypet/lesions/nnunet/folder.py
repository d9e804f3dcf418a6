"""A trained nnU-Net v2 folder: dataset.json, plans.json and fold_*/checkpoint_final.pth, read safely.

nnU-Net itself unpickles its checkpoints, which runs whatever they contain. Here they are read as tensors and
plain values alone, and nothing is looked up by the name of the trainer: the plans describe the network. So
networks of trainers that nnU-Net does not ship run too, QuantIF's and the two-headed ones that it builds on
among them: their second head, which only training uses, is left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from anypet.builders.files import read_json
from anypet.errors import AnyPETError, WeightsError
from anypet.lesions.nnunet.channels import Channels, channels_of
from anypet.models.weights import read_checkpoint
from anypet.text import is_lesion

log = logging.getLogger(__name__)

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
_ORGAN_HEAD = ".organ_seg_layers."
_LAST_LAYER = re.compile(r"decoder\.seg_layers\.\d+\.weight")


@dataclass(frozen=True, eq=False)
class NnunetFolder:
    """What a folder holds.

    Args:
        path: of the folder.
        dataset: dataset.json, its labels those that the network has.
        plans: plans.json.
        configuration: which of the plans was trained, such as "3d_fullres".
        folds: weights of each fold, key -> tensor; they are averaged.
        mirror_axes: axes along which training mirrored, in nnU-Net's order (z, y, x).
        channels: what goes in.
        lesion: values of the labels that are lesions.
        organs: value -> name of the other labels.
    """

    path: Path
    dataset: Mapping[str, Any]
    plans: Mapping[str, Any]
    configuration: str
    folds: tuple[dict[str, Tensor], ...]
    mirror_axes: tuple[int, ...]
    channels: Channels
    lesion: tuple[int, ...]
    organs: Mapping[int, str]


def read_folder(
    path: str | Path, channels: Sequence[str] | None = None, lesions: bool = True
) -> NnunetFolder:
    """Reads a trained folder, all of its folds.

    Args:
        path: the folder with plans.json, usually named TRAINER__PLANS__CONFIGURATION.
        channels: what its channels show, where their names do not tell; see `channels_of`.
        lesions: whether one of the labels has to be a lesion.

    Raises:
        AnyPETError: a file is missing or of another kind, no label is a lesion, or the folds do not belong
            together.
        WeightsError: a checkpoint is damaged or holds more than weights and plain values.
    """
    path = Path(path)
    dataset, plans = (_described(path, name) for name in ("dataset.json", "plans.json"))
    found = [_fold(file) for file in _checkpoints(path)]
    configuration, mirror_axes = found[0][1:]
    for file, (_, other, _) in zip(_checkpoints(path), found, strict=True):
        if other != configuration:
            raise AnyPETError(f"{file} is of configuration {other!r}, the first fold of {configuration!r}")
    weights = tuple(tensors for tensors, _, _ in found)
    labels = _labels(dataset, _classes(weights[0]), path)
    lesion = tuple(v for n, v in labels.items() if v and is_lesion(n))
    if not lesion and len(labels) == 2:
        lesion = (1,)
    if lesions and not lesion:
        raise AnyPETError(f"{path}: none of the labels {', '.join(labels)} is a lesion by its name")
    return NnunetFolder(
        path, {**dataset, "labels": labels}, plans, configuration, weights, mirror_axes,
        channels_of(dataset, str(path / "dataset.json"), channels), lesion,
        {v: n for n, v in labels.items() if v and v not in lesion},
    )  # fmt: skip


def _described(path: Path, name: str) -> dict[str, Any]:
    if not (path / name).is_file():
        below = sorted(str(p.parent) for p in path.glob("*/plans.json")) if path.is_dir() else []
        hint = f"; did you mean {below[0]}?" if below else ""
        raise AnyPETError(
            f"{path} is no trained nnU-Net folder: it has no {name} (expected dataset.json, plans.json and "
            f"fold_*/{CHECKPOINTS[0]}){hint}"
        )
    return read_json(path / name)


def _checkpoints(path: Path) -> list[Path]:
    """The checkpoint of each fold, the final ones if there are any; fold_all only where it is alone."""
    for name in CHECKPOINTS:
        files = sorted(path.glob(f"fold_*/{name}"))
        several = [file for file in files if file.parent.name != "fold_all"]
        if files:
            if name != CHECKPOINTS[0]:
                log.warning("%s has no %s; %s is used", path, CHECKPOINTS[0], name)
            return several or files
    raise AnyPETError(f"{path}: no fold_*/{CHECKPOINTS[0]} in it; unpack all of the trained folder")


def _fold(file: Path) -> tuple[dict[str, Tensor], str, tuple[int, ...]]:
    """Weights, configuration and mirror axes of a checkpoint."""
    content = read_checkpoint(file)
    try:
        weights = {
            key.removeprefix("module.").removeprefix("_orig_mod."): value
            for key, value in content["network_weights"].items()
            if _ORGAN_HEAD not in key
        }
        if not all(isinstance(value, Tensor) for value in weights.values()):
            raise TypeError("network_weights holds something else than tensors")
        axes = content.get("inference_allowed_mirroring_axes")
        return weights, str(content["init_args"]["configuration"]), tuple(int(a) for a in axes or ())
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{file} is no checkpoint of nnU-Net v2 ({error!r}); expected network_weights and init_args"
        ) from error


def _classes(weights: Mapping[str, Tensor]) -> int | None:
    """How many classes the network tells apart; None where its layers have other names."""
    return next((int(v.shape[0]) for k, v in weights.items() if _LAST_LAYER.search(k)), None)


def _labels(dataset: Mapping[str, Any], classes: int | None, path: Path) -> dict[str, int]:
    """Name -> value of the labels that the network has: trainers with a head of their own for organs list
    these among the labels, and give the network two classes all the same."""
    found = dataset.get("labels")
    if not isinstance(found, Mapping) or not all(isinstance(v, int) for v in found.values()):
        raise AnyPETError(
            f'{path / "dataset.json"}: expected "labels" like {{"background": 0, "lesion": 1}}, '
            f"found {found!r}; networks of overlapping regions are not supported"
        )
    labels = {str(name): int(value) for name, value in found.items() if name != "ignore"}
    kept = {name: value for name, value in labels.items() if classes is None or value < classes}
    if sorted(kept.values()) != list(range(classes or len(labels))):
        raise AnyPETError(
            f"{path}: dataset.json has the labels {labels}, the network {classes} classes; "
            "they do not belong together"
        )
    return kept
