"""Arrays on the wire of nnInteractive's protocol, version 1.

"NNIA", then a byte each: version, codec (1 zstd, 2 LZ4), number of dimensions, length of the dtype's name;
the name in ASCII; a little-endian int64 a dimension; a uint32 with the number of chunks; of every chunk a
uint64 with its length unpacked, one with its length packed, and a Blosc2 buffer. Chunks are at most 1 GiB,
in C order.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt

from anypet.errors import ReadError
from anypet.server.uploads import TooLargeError

MAGIC = b"NNIA"
VERSION = 1
CHUNK = 2**30
_CODECS = {blosc2.Codec.ZSTD: 1, blosc2.Codec.LZ4: 2}
_KINDS = "biuf"
_MOST_DIMENSIONS = 4


def pack(array: npt.NDArray[Any]) -> bytes:
    """An array of numbers or bools as bytes; zstd, without shuffling, as suits masks."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    name = array.dtype.name.encode("ascii")
    parts = [
        struct.pack("<4sBBBB", MAGIC, VERSION, _CODECS[blosc2.Codec.ZSTD], array.ndim, len(name)),
        name,
        struct.pack(f"<{array.ndim}q", *array.shape),
    ]
    raw = array.view(np.uint8).ravel() if array.size else np.zeros(0, np.uint8)
    starts = range(0, raw.size, CHUNK)
    parts.append(struct.pack("<I", len(starts)))
    for start in starts:
        chunk = raw[start : start + CHUNK]
        # a type size other than the array's own makes Blosc2 write zeros that it cannot read again
        packed = blosc2.compress2(
            chunk,
            typesize=array.itemsize,
            codec=blosc2.Codec.ZSTD,
            clevel=3,
            filters=[blosc2.Filter.NOFILTER],
        )
        parts += [struct.pack("<QQ", chunk.size, len(packed)), packed]
    return b"".join(parts)


def unpack(data: bytes, most: int) -> npt.NDArray[Any]:
    """An array from its bytes.

    Args:
        data: what `pack` or a client of the protocol made.
        most: bytes that the array may have.

    Raises:
        TooLargeError: the array would be larger.
        ReadError: not such bytes, or damaged ones.
    """
    try:
        return _unpack(data, most)
    except (struct.error, ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"the packed array is damaged: {error}") from error


def _unpack(data: bytes, most: int) -> npt.NDArray[Any]:
    magic, version, codec, ndim, length = struct.unpack_from("<4sBBBB", data, 0)
    if magic != MAGIC or version != VERSION or codec not in _CODECS.values():
        raise ReadError(f"expected a packed array {MAGIC!r} version {VERSION}, got {data[:6]!r}")
    at = 8 + length
    dtype = np.dtype(data[8:at].decode("ascii"))
    shape = struct.unpack_from(f"<{ndim}q", data, at)
    if dtype.kind not in _KINDS or ndim > _MOST_DIMENSIONS or min(shape, default=0) < 0:
        raise ReadError(
            f"an array of {dtype} and shape {shape}: numbers in at most 4 dimensions are expected"
        )
    size = math.prod(shape) * dtype.itemsize
    if size > most:
        raise TooLargeError(f"the array has {size / 2**30:.1f} GiB; {most / 2**30:.1f} GiB is the most")
    at += 8 * ndim
    (chunks,) = struct.unpack_from("<I", data, at)
    at += 4
    raw = np.empty(size, np.uint8)
    done = 0
    for _ in range(chunks):
        unpacked, packed = struct.unpack_from("<QQ", data, at)
        chunk = data[at + 16 : at + 16 + packed]
        at += 16 + packed
        # Blosc2 writes past a buffer that is too small, so its own header is looked at first
        if len(chunk) != packed or unpacked > size - done or blosc2.get_cbuffer_sizes(chunk)[0] != unpacked:
            raise ReadError("the packed array is damaged: a chunk is not as long as it says")
        if unpacked:
            blosc2.decompress2(chunk, dst=raw[done : done + unpacked])
        done += unpacked
    if done != size:
        raise ReadError(f"the packed array is damaged: {done} of {size} bytes are there")
    return raw.view(dtype).reshape(shape)
