"""Raw folders of nnU-Net, version 1 (`modality`) and version 2 (`channel_names`)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anypet.builders.files import read_json, there
from anypet.errors import AnyPETError
from anypet.manifest import Row

log = logging.getLogger(__name__)

_PET = re.compile(r"(?<![a-z])(pet|pt|suv|suvbw)(?![a-z])", re.IGNORECASE)
_CT = re.compile(r"(?<![a-z])ct(?![a-z])", re.IGNORECASE)


def nnunet_rows(folder: Path) -> list[Row]:
    """The cases of imagesTr and of imagesTs, the latter without a label unless labelsTs holds it.

    nnU-Net knows neither patients nor units: each case counts as a patient of its own, and the unit is left
    open unless the channel's name says SUV.

    Raises:
        AnyPETError: dataset.json lacks channels or labels, or none or several of its channels are PET.
    """
    described = folder / "dataset.json"
    if not described.is_file():
        return []
    content = read_json(described)
    channels, ending = _channels(content, described), str(content.get("file_ending", ".nii.gz"))
    pet, ct = _pet_channel(channels, described), _ct_channel(channels)
    names = _names(content.get("labels"), described)
    rows = []
    for part in ("Tr", "Ts"):
        for image in sorted((folder / f"images{part}").glob(f"*_{pet:04d}{ending}")):
            case = image.name.removesuffix(f"_{pet:04d}{ending}")
            label = there(folder / f"labels{part}" / f"{case}{ending}")
            rows.append(
                Row(
                    image=image,
                    label=label,
                    ct=None if ct is None else there(image.with_name(f"{case}_{ct:04d}{ending}")),
                    patient=case,
                    unit="SUVbw" if "suv" in channels[pet].lower() else None,
                    names=names if label else {},
                )
            )
    return rows


def _channels(content: Mapping[str, Any], path: Path) -> dict[int, str]:
    channels = content.get("channel_names", content.get("modality"))
    try:
        return {int(number): str(name) for number, name in channels.items()}
    except (AttributeError, ValueError):
        raise AnyPETError(
            f'{path}: expected "channel_names" (or "modality" in version 1) like {{"0": "CT", "1": "PET"}}, '
            f"found {channels!r}"
        ) from None


def _pet_channel(channels: Mapping[int, str], path: Path) -> int:
    found = [number for number, name in channels.items() if _PET.search(name)]
    if len(found) != 1:
        raise AnyPETError(
            f"{path}: {len(found) or 'none'} of the channels {dict(channels)} are PET by name; call it "
            '"PET" (autoPET III, whose channels are both called CT, is the kind autopet3)'
        )
    return found[0]


def _ct_channel(channels: Mapping[int, str]) -> int | None:
    return next((n for n, name in channels.items() if _CT.search(name) and not _PET.search(name)), None)


def _names(labels: Any, path: Path) -> dict[int, str]:
    """Label value -> name; of overlapping regions (lists of values) the smallest names a value."""
    if not isinstance(labels, Mapping):
        raise AnyPETError(
            f'{path}: expected "labels" like {{"background": 0, "lesion": 1}}, found {labels!r}'
        )
    try:
        regions = [_region(key, value) for key, value in labels.items()]
    except (TypeError, ValueError):
        raise AnyPETError(f"{path}: the labels {dict(labels)!r} are not names with whole numbers") from None
    names: dict[int, str] = {}
    for name, values in sorted(regions, key=lambda region: len(region[1])):
        if name == "ignore":  # nnU-Net's word for voxels that nobody labelled
            log.warning(
                "%s: the label 'ignore' (%s) has no meaning here; remove it from the files", path, values
            )
            continue
        for value in values:
            if value > 0:
                names.setdefault(value, name)
    return names


def _region(key: str, value: Any) -> tuple[str, list[int]]:
    """Name and values of a label: version 1 writes {"1": "lesion"}, version 2 {"lesion": 1} or a list."""
    if isinstance(value, str) and not value.isdigit():
        return value, [int(key)]
    return str(key), [int(v) for v in (value if isinstance(value, list) else [value])]
