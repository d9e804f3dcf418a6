"""What the requests of nnInteractive's protocol hold, checked; and how its answers are put together."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import Response

from anypet.errors import PromptError
from anypet.objects import Patch
from anypet.server.uploads import TooLargeError

Json = dict[str, Any]
META = "X-Meta"


def drawn_patch(array: npt.NDArray[Any], told: Json, shape: tuple[int, ...]) -> Patch:
    """A drawing as the box of the image that holds all of it.

    Args:
        array: what was drawn, not 0; in the box that "interaction_bbox" tells, or of the image's shape.
        told: the request's JSON.
        shape: of the image.

    Raises:
        PromptError: another shape than its box or the image, or nothing is drawn.
    """
    start: list[int] = [0, 0, 0]
    if told.get("interaction_bbox") is not None:
        ends = numbers(told, "interaction_bbox", (3, 2)).astype(int)
        if (ends[:, 0] < 0).any() or (ends[:, 1] > shape).any():
            raise PromptError(
                f"the drawing's box {ends.tolist()} reaches out of the image, whose shape is {shape}"
            )
        start, shape = ends[:, 0].tolist(), tuple((ends[:, 1] - ends[:, 0]).tolist())
    if array.shape != shape:
        raise PromptError(f"the drawing has shape {array.shape}; {shape} is expected")
    values = array != 0
    if not values.any():
        raise PromptError("nothing is drawn: no voxel is set")
    return Patch.tight(values, values, start)


def buffer_of(body: Json, most: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of a client's buffer.

    Raises:
        TooLargeError: larger than an image may be.
        PromptError: not three whole numbers above 0, or not a type of bools or whole numbers.
    """
    shape = body.get("shape")
    fits = isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)
    try:
        dtype = np.dtype(str(body.get("dtype")))
    except TypeError as error:
        raise PromptError(f"the buffer's dtype is {body.get('dtype')!r}: {error}") from error
    if not fits or dtype.kind not in "biu":
        raise PromptError(
            f"a buffer of shape {shape} and type {dtype}; three sizes, bool or whole numbers expected"
        )
    assert isinstance(shape, list)
    if shape[0] * shape[1] * shape[2] * dtype.itemsize > most:
        raise TooLargeError(f"a buffer of shape {shape} is larger than an image may be")
    return tuple(shape), dtype


def parse_meta(text: str | None) -> Json:
    """The JSON of the X-Meta header.

    Raises:
        PromptError: no JSON object.
    """
    try:
        meta = json.loads(text or "{}")
    except ValueError as error:
        raise PromptError(f"{META} is no JSON: {error}") from error
    if not isinstance(meta, dict):
        raise PromptError(f"{META} is no JSON object")
    return meta


def numbers(body: Json, key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Numbers of a request as a float array.

    Raises:
        PromptError: missing, another shape, or not finite.
    """
    try:
        array = np.asarray(body.get(key), dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.shape != shape or not np.isfinite(array).all():
        raise PromptError(
            f"{key} is {str(body.get(key))[:100]}; finite numbers of shape {shape} are expected"
        )
    return array


def included(body: Json) -> bool:
    """Whether a prompt says what belongs to the object."""
    if not isinstance(body.get("include_interaction"), bool):
        raise PromptError("include_interaction must be true or false")
    return bool(body["include_interaction"])


def wanted(body: Json, default: bool = True) -> bool:
    """Whether a prediction is wanted now."""
    return bool(body.get("run_prediction", default))


def reply(meta: Json, body: bytes) -> Response:
    """An answer with JSON in its header and an array in its body."""
    head = {META: json.dumps(meta, separators=(",", ":"))}
    return Response(body, media_type="application/octet-stream", headers=head)
