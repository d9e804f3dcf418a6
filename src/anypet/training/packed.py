"""Arrays that stay compressed, as Blosc2 frames, and are read a box at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError

# Voxels a side. A block is what is decompressed at once, so it is far smaller than a window; chunks only keep
# the list of blocks short. Simulated studies: PET (float16, mostly noise) 77 %, parts 4 % of their size.
CHUNK, BLOCK = 64, 16


def pack(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """An array, (i, j, k), as the bytes of a Blosc2 frame: shape, type and chunks compressed without loss."""
    sides = [tuple(min(most, n) for n in array.shape) for most in (CHUNK, BLOCK)]
    how = blosc2.CParams(
        codec=blosc2.Codec.ZSTD, clevel=5, filters=[blosc2.Filter.SHUFFLE], filters_meta=[0], nthreads=1
    )
    packed = blosc2.asarray(np.ascontiguousarray(array), chunks=sides[0], blocks=sides[1], cparams=how)
    return np.frombuffer(bytearray(packed.to_cframe()), dtype=np.uint8)


class Packed:
    """A packed array that looks like one of numpy: shape, type, boxes; `np.asarray` gives all of it.

    Slicing decompresses the blocks that the box touches, on the calling thread. Only bytes are kept, and a
    Blosc2 handle is made for every box: handles are not for several threads and cannot be pickled, bytes can,
    and a handle is made in a tenth of a millisecond.

    Args:
        frame: what `pack` gave; maybe mapped from a file, then only the pages that are needed are read.
        source: that file, for messages.

    Raises:
        RuntimeError: the bytes are no frame.
    """

    def __init__(self, frame: npt.NDArray[np.uint8], source: Path):
        self.frame, self.source = frame, source
        opened = blosc2.ndarray_from_cframe(frame)
        self.shape: tuple[int, ...] = tuple(opened.shape)
        self.dtype = np.dtype(opened.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def __getitem__(self, box: tuple[slice, ...]) -> npt.NDArray[Any]:
        """The voxels of a box, an array of its own.

        Raises:
            AnyPETError: the box's chunks are damaged.
        """
        try:
            return np.asarray(blosc2.ndarray_from_cframe(self.frame)[box])
        except RuntimeError as error:
            raise AnyPETError(f"{self.source}: voxels are damaged ({error}); delete the file") from error

    def __eq__(self, other: object) -> bool:
        raise TypeError("compare a box of it, or np.asarray(it): as an object it equals no value")

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        whole = self[(slice(None),) * self.ndim]
        return whole if dtype is None else whole.astype(dtype, copy=False)
