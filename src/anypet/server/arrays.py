"""A file to which arrays are only ever added, and patches and tiles that read theirs from it when looked at.

So the history of a session costs disk, not memory: what was looked at lately is kept, up to a limit.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import blosc2
import numpy as np
import numpy.typing as npt

from anypet.errors import ReadError
from anypet.objects import Patch, Slices, Tile, Triple

Array = npt.NDArray[Any]
MAX_BYTES = 2**31 - 2**20  # Blosc2 takes less than 2 GiB at a time


class Ref(NamedTuple):
    """Where an array is: first byte and length in the file, and what the bytes unpack to."""

    offset: int
    length: int
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Ref:
        """From the list that JSON makes of it."""
        offset, length, dtype, shape = values
        return cls(int(offset), int(length), str(dtype), tuple(int(n) for n in shape))


class ArrayCache:
    """Arrays that were looked at lately, least recently used out first, at most `limit` bytes together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._items: OrderedDict[tuple[Path, int], Array] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path, offset: int) -> Array | None:
        with self._lock:
            found = self._items.get((path, offset))
            if found is not None:
                self._items.move_to_end((path, offset))
            return found

    def put(self, path: Path, offset: int, array: Array) -> None:
        with self._lock:
            if array.nbytes > self.limit or (path, offset) in self._items:
                return
            self._items[path, offset] = array
            self.nbytes += array.nbytes
            while self.nbytes > self.limit:
                self.nbytes -= self._items.popitem(last=False)[1].nbytes

    def forget(self, path: Path) -> None:
        """Lets go of all arrays of a file."""
        with self._lock:
            for key in [key for key in self._items if key[0] == path]:
                self.nbytes -= self._items.pop(key).nbytes


class ArrayFile:
    """Arrays one after another, each compressed (Blosc2, zstd); what is there is never changed.

    Args:
        path: made at the first `append`.
        cache: what was read or written lately; shared by many files.
    """

    def __init__(self, path: Path, cache: ArrayCache) -> None:
        self.path = path
        self.cache = cache

    def append(self, arrays: Sequence[Array]) -> list[Ref]:
        """Adds arrays and waits until the disk has them.

        Raises:
            OSError: the disk refuses.
        """
        refs, parts = [], []
        with self.path.open("ab") as file:
            end = file.seek(0, os.SEEK_END)
            for array in arrays:
                packed = _pack(array)
                refs.append(Ref(end, len(packed), array.dtype.name, array.shape))
                parts.append(packed)
                end += len(packed)
            file.write(b"".join(parts))
            file.flush()
            os.fsync(file.fileno())
        for ref, array in zip(refs, arrays, strict=True):
            if ref.length:  # one without bytes has the same place as the next
                self.cache.put(self.path, ref.offset, array)
        return refs

    def read(self, ref: Ref) -> Array:
        """One array; not to be written to.

        Raises:
            ReadError: the file is gone or damaged.
        """
        found = self.cache.get(self.path, ref.offset) if ref.length else None
        if found is None:
            found = self._read(ref)
            if ref.length:
                self.cache.put(self.path, ref.offset, found)
        return found

    def _read(self, ref: Ref) -> Array:
        array = np.empty(ref.shape, np.dtype(ref.dtype))
        if not ref.length:
            return array
        try:
            with self.path.open("rb") as file:
                file.seek(ref.offset)
                packed = file.read(ref.length)
            if len(packed) != ref.length or blosc2.get_cbuffer_sizes(packed)[0] != array.nbytes:
                raise ValueError(f"{len(packed)} bytes at {ref.offset} are not an array of {ref.shape}")
            blosc2.decompress2(packed, dst=array)
        except (OSError, ValueError, RuntimeError) as error:
            raise ReadError(f"{self.path}: the stored session is damaged: {error}") from error
        return array


def _pack(array: Array) -> bytes:
    """Compressed bytes; none for an array without elements."""
    if not array.size:
        return b""
    if array.nbytes > MAX_BYTES:
        raise ReadError(f"an array of {array.nbytes / 2**30:.1f} GiB cannot be stored; 2 GiB is the most")
    size = array.dtype.itemsize
    raw = np.ascontiguousarray(array).view(np.uint8).ravel()
    filters = [blosc2.Filter.SHUFFLE if size > 1 else blosc2.Filter.NOFILTER]
    return bytes(
        blosc2.compress2(raw, typesize=size, codec=blosc2.Codec.ZSTD, clevel=1, filters=filters, nthreads=1)
    )


class StoredPatch(Patch):
    """A patch whose voxels are in a file."""

    file: ArrayFile
    ref: Ref

    def __init__(self, start: tuple[int, int, int], file: ArrayFile, ref: Ref) -> None:
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "file", file)
        object.__setattr__(self, "ref", ref)

    @property
    def values(self) -> Array:  # type: ignore[override]
        return self.file.read(self.ref)

    @property
    def slices(self) -> Slices:
        i, j, k = (slice(a, a + n) for a, n in zip(self.start, self.ref.shape, strict=True))
        return i, j, k


class StoredTile(Tile):
    """A tile whose logits are in a file."""

    file: ArrayFile
    ref: Ref

    def __init__(self, cell: tuple[int, int, int], file: ArrayFile, ref: Ref, seed_mm: Triple | None) -> None:
        object.__setattr__(self, "cell", cell)
        object.__setattr__(self, "file", file)
        object.__setattr__(self, "ref", ref)
        object.__setattr__(self, "seed_mm", seed_mm)

    @property
    def logits(self) -> Array:  # type: ignore[override]
        return self.file.read(self.ref)
