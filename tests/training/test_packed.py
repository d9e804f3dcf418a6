"""Compressed arrays that are read a box at a time."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError
from anypet.training.packed import CHUNK, Packed, pack
from anypet.volume import Volume
from anypet.windows import Window, cut

FILE = Path("study.safetensors")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float16)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 90)] * 3), st.sampled_from([np.float16, np.uint8]), st.data())
def test_every_box_comes_back_to_the_bit(shape: tuple[int, ...], dtype: type, data: st.DataObject) -> None:
    array = noise(*shape).view(np.uint8)[..., ::2].copy() if dtype is np.uint8 else noise(*shape)
    array.flat[0] = np.nan if dtype is np.float16 else 255
    packed = Packed(pack(array), FILE)
    assert (packed.shape, packed.ndim, packed.size, packed.dtype) == (shape, 3, array.size, dtype)
    ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    box = tuple(slice(a, b) for a, b in ends)  # maybe empty
    assert packed[box].shape == array[box].shape
    assert packed[box].tobytes() == array[box].tobytes()
    assert np.asarray(packed).tobytes() == array.tobytes()
    assert np.asarray(packed, dtype=np.float32).dtype == np.float32
    with pytest.raises(TypeError, match="compare a box"):
        packed == 1  # noqa: B015  not False, as of any other object


def test_a_window_is_cut_from_it_as_from_the_array():
    array = noise(80, 70, 90)
    affine = np.diag([3.0, 3.0, 4.0, 1.0])
    window = Window((100.0, 90.0, 200.0), 2.5, (32,) * 3)
    packed = Volume(Packed(pack(array), FILE), affine, "SUVbw")  # type: ignore[arg-type]
    assert (cut(packed, window) == cut(Volume(array, affine, "SUVbw"), window)).all()


def test_only_the_chunks_of_a_box_are_read():
    array = noise(CHUNK, CHUNK, 4 * CHUNK)  # chunks lie in the frame as along the last axis
    frame = pack(array)
    frame[int(len(frame) * 0.3) : int(len(frame) * 0.7)] = 0  # the middle two are gone
    packed = Packed(frame, FILE)
    for box in (np.s_[:, :, :CHUNK], np.s_[5:9, :, -CHUNK:]):
        assert packed[box].tobytes() == array[box].tobytes()
    with pytest.raises(AnyPETError, match=r"study\.safetensors: voxels are damaged"):
        packed[:, :, CHUNK:-CHUNK]


def test_threads_share_it_and_processes_can_be_sent_it():
    array = noise(70, 70, 70)
    packed = Packed(pack(array), FILE)
    boxes = [np.s_[n : n + 30, : 2 * n + 1, n:] for n in range(30)] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(packed.__getitem__, boxes))
    assert all((a == array[box]).all() for a, box in zip(found, boxes, strict=True))
    again = pickle.loads(pickle.dumps(packed))
    assert (np.asarray(again) == array).all()


def test_noise_gets_smaller_and_labels_tiny():
    labels = np.zeros((100, 100, 100), dtype=np.uint8)
    labels[30:60, 20:80, 10:50] = 7
    assert len(pack(labels)) < labels.nbytes / 100
    assert len(pack(np.abs(noise(64, 64, 64)))) < 0.9 * 2 * 64**3


@pytest.mark.parametrize("what", [b"", b"nothing" * 100])
def test_bytes_that_are_no_frame(what: bytes):
    with pytest.raises(RuntimeError):
        Packed(np.frombuffer(what, dtype=np.uint8), FILE)
