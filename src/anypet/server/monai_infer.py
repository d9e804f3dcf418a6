"""MONAI Label's inference on our sessions: clients send all clicks each time, sessions take the new ones."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from anypet.checks import box_prompt, mask_prompt, point_prompt
from anypet.errors import PromptError
from anypet.grids import to_sitk
from anypet.io import read_labels
from anypet.objects import Patch, SegmentedObject, label_map
from anypet.prompts import Box, Point
from anypet.server.live import Live
from anypet.volume import Volume

Json = dict[str, Any]
CLICKS = "anypet"
LESIONS = "anypet_lesions"
LABELS = {"lesion": 1, "organ": 2}
BACKGROUND = "background"
_SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha")


@dataclass(frozen=True)
class Asked:
    """What is wanted of one label.

    Args:
        label: name of the object.
        points: all its clicks, RAS mm.
        box: around it, or None.
    """

    label: str
    points: tuple[Point, ...]
    box: Box | None = None


def asked_of(params: Mapping[str, Any], scan: Volume) -> list[Asked]:
    """The clicks in a request's `params`, in each of the spellings of MONAI Label's clients.

    "deepgrow" has lists "foreground" and "background" and a name "label"; "deepedit" has a list for each
    label; "vista3d" has "points" with "point_labels". Points are voxels (i, j, k).

    Raises:
        PromptError: no click at all, or one that is none.
    """
    label = str(params.get("label") or params.get("label_prompt") or "lesion")
    roi = params.get("roi")
    box = None if not roi else _box(roi, scan)
    if "points" in params:
        given = _list(params["points"])
        signs = _list(params.get("point_labels")) or [1] * len(given)
        points = [point_prompt(scan, p, bool(s), "voxel") for p, s in zip(given, signs, strict=False)]
        found = [Asked(label, tuple(points), box)]
    elif "foreground" in params:
        found = [Asked(label, _points(params["foreground"], params.get(BACKGROUND), scan), box)]
    else:
        lists = {
            key: value for key, value in params.items()
            if key != BACKGROUND and isinstance(value, list) and value and isinstance(value[0], list)
        }  # fmt: skip
        found = [Asked(key, _points(value, params.get(BACKGROUND), scan)) for key, value in lists.items()]
        found = found or ([Asked(label, (), box)] if box else [])
    if not any(one.points or one.box for one in found):
        raise PromptError("the request holds no click: give params with 'foreground', a list of voxels")
    return found


def _points(positive: Any, negative: Any, scan: Volume) -> tuple[Point, ...]:
    pairs = [(p, True) for p in _list(positive)] + [(p, False) for p in _list(negative)]
    return tuple(point_prompt(scan, point, sign, "voxel") for point, sign in pairs)


def _list(given: Any) -> list[Any]:
    if given is not None and not isinstance(given, list):
        raise PromptError(f"a list of voxels is expected, got {str(given)[:60]}")
    return given or []


def _box(roi: Any, scan: Volume) -> Box:
    if not isinstance(roi, list) or len(roi) != 6:
        raise PromptError(
            f"roi is {str(roi)[:100]}; six numbers (i from, to, j from, to, k from, to) are expected"
        )
    return box_prompt(scan, roi[::2], roi[1::2], "voxel")


def follow(live: Live, asked: Asked, mask: Patch | None) -> SegmentedObject:
    """Brings an object to the prompts that a client has now: new ones are given; if one is gone, all are."""
    session = live.session
    known_object = asked.label in session.objects
    item = session.select(asked.label) if known_object else session.new_object(asked.label)
    known = Counter(map(_rounded, item.prompts.points))
    wanted = Counter(map(_rounded, asked.points))
    box_changed = item.prompts.boxes != (() if asked.box is None else (asked.box,))
    if known - wanted or (box_changed and item.prompts.boxes) or mask is not None:
        session.reset()
        known = Counter()
    new = []
    for point in asked.points:
        if known[_rounded(point)]:
            known[_rounded(point)] -= 1
        else:
            new.append(point)
    if new or mask is not None or (box_changed and asked.box is not None):
        session.prompt(new, asked.box if box_changed else None, mask)
    return session.selected


def _rounded(point: Point) -> tuple[float, float, float, bool]:
    r, a, s = (round(float(x), 3) for x in point.mm)
    return r, a, s, point.positive


def mask_from(path: Path, label: str, params: Mapping[str, Any], scan: Volume) -> Patch | None:
    """The mask in a label file that came with a request; None if the label is not in it."""
    values = label_array(path, scan)
    told = [one for one in _list(params.get("label_info")) if isinstance(one, dict)]
    ids = {str(one.get("name")): one.get("id") for one in told}
    mask = values == ids[label] if label in ids else values > 0
    return mask_prompt(scan, mask) if mask.any() else None


def label_array(path: Path, scan: Volume) -> npt.NDArray[Any]:
    """Labels on the scan's grid; OHIF sends bare voxels (".bin", i fastest, a byte or two each)."""
    if path.suffix != ".bin":
        return read_labels(path, scan).array
    raw, count = path.read_bytes(), scan.array.size
    kinds = {count: np.uint8, 2 * count: np.uint16}
    if len(raw) not in kinds:
        raise PromptError(f"the label has {len(raw)} bytes; the image has {count} voxels")
    return np.frombuffer(raw, kinds[len(raw)]).reshape(scan.shape, order="F")


def result_file(
    live: Live, items: list[SegmentedObject], params: Mapping[str, Any], folder: Path, *, one: bool = False
) -> Path:
    """The answer's label map in the format that the client asks for.

    Args:
        live: the session.
        items: the objects, whose values are 1, 2, ... in this order.
        one: all of them have the value 1.
        params: of the request: "result_extension", "result_dtype", "result_compress".
        folder: where to write.
    """
    suffix = str(params.get("result_extension") or ".nrrd")
    if suffix not in _SUFFIXES:
        raise PromptError(f"result_extension is {suffix[:20]!r}; one of {', '.join(_SUFFIXES)} is expected")
    kind = str(params.get("result_dtype") or "uint8")
    if kind not in ("uint8", "uint16"):
        raise PromptError(f"result_dtype is {kind[:20]!r}; uint8 or uint16 is expected")
    labels = label_map(live.scan.pet, items)
    image = to_sitk(labels.with_array((labels.array > 0 if one else labels.array).astype(kind)))
    path = folder / f"label{suffix}"
    sitk.WriteImage(image, str(path), useCompression=bool(params.get("result_compress", False)))
    return path


def told_of(items: list[SegmentedObject]) -> Json:
    """The answer's JSON: names, measures, and the voxel in the middle of each object."""
    centroids = {}
    for value, item in enumerate(items, start=1):
        patch = item.current.mask
        if item.voxels:
            middle = np.argwhere(patch.values).mean(0) + patch.start
            centroids[item.name] = [value, *(round(float(x), 2) for x in middle)]
    measures = {
        item.name: {k: (round(float(v), 4) if np.isfinite(v) else None) for k, v in item.measures.items()}
        for item in items
    }
    names = {item.name: value for value, item in enumerate(items, start=1)}
    return {"label_names": names, "centroids": centroids, "measures": measures}


def multipart(params: Json, path: Path) -> tuple[bytes, str]:
    """Body and media type of an answer with JSON and a file (RFC 7578), as MONAI Label's clients want it."""
    mark = secrets.token_hex(16)
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f"{json.dumps(params)}\r\n--{mark}\r\n"
        f'Content-Disposition: form-data; name="image"; filename="{path.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    return body, f"multipart/form-data; boundary={mark}"
