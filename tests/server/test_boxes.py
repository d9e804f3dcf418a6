"""Masks on the wire: what a client needs to follow a mask, and no more."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from anypet.objects import Patch
from anypet.server.boxes import changed_box, decode, encode_levels, encode_mask, put

SHAPE = (5, 4, 6)
masks = hnp.arrays(bool, SHAPE)


def tight(mask: np.ndarray) -> Patch:
    return Patch.tight(mask, mask)


@settings(deadline=None)
@given(masks, masks)
def test_the_changed_box_turns_one_mask_into_the_other(before: np.ndarray, after: np.ndarray) -> None:
    box = changed_box(tight(before), tight(after))
    assert (box is None) == np.array_equal(before, after)
    if box is not None:
        mask = before.copy()
        put(box, mask)
        assert np.array_equal(mask, after)
        differ = np.argwhere(before != after)
        assert box.start == tuple(differ.min(0))
        assert box.values.shape == tuple(np.ptp(differ, axis=0) + 1)


@settings(deadline=None)
@given(masks)
def test_a_box_survives_the_wire(mask: np.ndarray) -> None:
    found = decode(encode_mask(tight(mask)))
    assert found.values.dtype == bool
    assert np.array_equal(found.on_grid(SHAPE), mask)


def test_the_bits_are_where_the_format_says() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 1:3, 2:4] = np.random.default_rng(0).random((3, 2, 2)) < 0.5
    mask[1, 1, 2] = mask[3, 2, 3] = True
    box = encode_mask(tight(mask))
    raw = zlib.decompress(base64.b64decode(box["data"]))
    (i0, j0, k0), (a, b, c) = box["start"], box["shape"]
    for n in range(a * b * c):  # i is fastest, and bit 0 of a byte is the first of its eight voxels
        i, j, k = n % a, n // a % b, n // (a * b)
        assert bool(raw[n // 8] >> (n % 8) & 1) == mask[i0 + i, j0 + j, k0 + k]


def test_levels_are_rounded_to_255ths() -> None:
    values = np.linspace(0, 0.7, 24, dtype=np.float32).reshape(2, 3, 4)
    found = decode(encode_levels(Patch((1, 2, 3), values), 0.7))
    assert found.start == (1, 2, 3)
    assert np.abs(found.values - values).max() <= 0.7 / 255 / 2 + 1e-6


@pytest.mark.parametrize(
    "change",
    [
        {"data": base64.b64encode(zlib.compress(bytes(10**7))).decode()},  # a bomb
        {"data": base64.b64encode(zlib.compress(b"\0")).decode()},
        {"data": base64.b64encode(b"no deflate").decode()},
        {"data": "!"},
        {"shape": [2, 2]},
        {"shape": [10**9, 10**9, 10**9]},
        {"start": "abc"},
        {"data": None},
    ],
)
def test_what_is_no_box_is_refused(change: dict[str, Any]) -> None:
    box = encode_mask(Patch((0, 0, 0), np.ones((3, 3, 3), bool)))
    with pytest.raises((KeyError, TypeError, ValueError)):
        decode({**box, **change})
