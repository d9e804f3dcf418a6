"""Masks on the wire: the box of voxels that changed, as compressed text inside of JSON. No torch, no server.

A box is {"start": [i, j, k], "shape": [a, b, c], "encoding": ..., "data": base64}. The data is deflated
(zlib, RFC 1950). Its voxels are in the order of NIfTI, i fastest. Encoding "bits" has eight voxels a byte,
the first in the lowest bit; "u8" has a byte a voxel.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.objects import Patch

Json = dict[str, Any]


def changed_box(before: Patch, after: Patch) -> Patch | None:
    """The smallest box that holds every voxel in which two bool masks differ, with the values of the second.

    None where they are the same.
    """
    both = [p for p in (before, after) if p.values.size]
    if not both:
        return None
    low = np.min([p.start for p in both], axis=0)
    high = np.max([np.add(p.start, p.values.shape) for p in both], axis=0)
    old, new = (_within(p, low, high) for p in (before, after))
    differ = old != new
    return Patch.tight(new, differ, low) if differ.any() else None


def _within(patch: Patch, low: npt.NDArray[Any], high: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """The patch in a box that holds it."""
    full = np.zeros(tuple(high - low), bool)
    if patch.values.size:
        full[
            tuple(slice(s.start - int(o), s.stop - int(o)) for s, o in zip(patch.slices, low, strict=True))
        ] = patch.values
    return full


def encode_mask(patch: Patch) -> Json:
    """A bool box as JSON, encoding "bits"."""
    bits = np.packbits(patch.values.ravel(order="F"), bitorder="little")
    return _box(patch, "bits", bits.tobytes())


def encode_levels(patch: Patch, highest: float) -> Json:
    """A box of numbers from 0 to `highest` as JSON, encoding "u8": 255 is `highest`, said in "highest"."""
    values = patch.values.astype(np.float32)  # half precision is too coarse to be multiplied
    levels = np.clip(np.round(values * (255 / highest)), 0, 255).astype(np.uint8)
    return {**_box(patch, "u8", levels.ravel(order="F").tobytes()), "highest": highest}


def _box(patch: Patch, encoding: str, raw: bytes) -> Json:
    data = base64.b64encode(zlib.compress(raw, 1)).decode()
    return {"start": list(patch.start), "shape": list(patch.values.shape), "encoding": encoding, "data": data}


def decode(box: Mapping[str, Any]) -> Patch:
    """The box of `encode_mask` (bool) or `encode_levels` (float32).

    Raises:
        KeyError, TypeError, ValueError: the JSON is not that of a box; the message says why.
    """
    i, j, k = (int(n) for n in box["start"])
    a, b, c = (int(n) for n in box["shape"])
    count = a * b * c
    levels = box["encoding"] == "u8"
    raw = _inflated(base64.b64decode(box["data"]), count if levels else (count + 7) // 8)
    if levels:
        values = np.frombuffer(raw, np.uint8).astype(np.float32) * (float(box["highest"]) / 255)
        return Patch((i, j, k), values.reshape((a, b, c), order="F"))
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=count, bitorder="little")
    return Patch((i, j, k), bits.astype(bool).reshape((a, b, c), order="F"))


def _inflated(data: bytes, size: int) -> bytes:
    """Never more than `size` bytes, whatever the data would unpack to."""
    try:
        raw = zlib.decompressobj().decompress(data, size + 1)
    except (zlib.error, OverflowError) as error:
        raise ValueError(f"the box's data is damaged: {error}") from error
    if len(raw) != size:
        raise ValueError(f"the box's data is not {size} bytes long when it is unpacked")
    return raw


def put(box: Patch, mask: npt.NDArray[np.bool_]) -> None:
    """Writes a changed box into a mask on the whole grid."""
    if box.values.size:
        mask[box.slices] = box.values
