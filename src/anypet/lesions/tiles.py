"""Sliding-window inference: a network sees a scan tile by tile, in bounded memory.

Tiles overlap and are blended with Gaussian weights (Isensee et al., nnU-Net,
doi:10.1038/s41592-020-01008-z). The weights are products of three one-dimensional Gaussians and tiles lie
on a grid, so what a voxel must be divided by is a product of three numbers and needs no volume of its own.
Tiles go along the scan in rows; a plane that no later row reaches is finished, written in the precision
asked for, and its place in the float32 buffer is used again. The buffer is one tile deep, whatever the
scan's length.

*Probabilities or logits?* Tiles and mirrored passes are so many opinions about one voxel. The mean of their
probabilities is the probability under a mixture of them. A mean of logits is a product: one overconfident
tile that sees a voxel at its rim outvotes the rest, and every class is held to the end. So probabilities
are averaged, of the wanted classes only. nnU-Net averages logits; `average="logit"` does as it does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from anypet.errors import AnyPETError
from anypet.lesions.depth import Depth, mirror_passes

Box = tuple[slice, slice, slice]
Triple = tuple[int, int, int]
Array = npt.NDArray[Any]
Cut = Callable[[Box], Array]
Network = Callable[[torch.Tensor], torch.Tensor]
Progress = Callable[[int, int], None]

# nnU-Net's: the Gaussian's standard deviation as a share of the window.
SIGMA = 1 / 8
# Planes of a finished scan that are converted at a time.
BLOCK = 16


@dataclass(frozen=True)
class Tiling:
    """Where the tiles of a scan lie.

    Args:
        shape: voxels of the scan along its three axes.
        window: voxels of a tile.
        starts: first voxels of tiles along each axis, rising; negative where the scan is smaller than a tile.
    """

    shape: Triple
    window: Triple
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    def __len__(self) -> int:
        return math.prod(len(s) for s in self.starts)

    def inside(self, axis: int, start: int) -> slice:
        """The part of the scan that a tile from `start` covers along an axis."""
        return slice(max(start, 0), min(start + self.window[axis], self.shape[axis]))


def tile_scan(shape: Sequence[int], window: Sequence[int], step: float = 0.5) -> Tiling:
    """As few tiles as cover the scan at no more than a step, evenly spaced, the outermost at its borders.

    Args:
        shape: (I, J, K) of the scan.
        window: voxels of a tile along the same axes.
        step: from one tile to the next at most, as a share of the window, above 0 and up to 1.

    Raises:
        AnyPETError: a size is not positive, or the step is not in (0, 1].
    """
    if len(shape) != 3 or len(window) != 3 or min(*shape, *window) < 1:
        raise AnyPETError(
            f"scan and window need three positive sizes, got {tuple(shape)} and {tuple(window)}"
        )
    if not 0 < step <= 1:
        raise AnyPETError(f"the tile step is a share of the window above 0 and up to 1, got {step}")
    starts: list[tuple[int, ...]] = []
    for size, tile in zip(shape, window, strict=True):
        room = size - tile
        if room <= 0:
            starts.append((-(-room // 2),))
            continue
        count = math.ceil(room / max(1, int(tile * step))) + 1
        starts.append(tuple(round(n * room / (count - 1)) for n in range(count)))
    i, j, k = starts
    return Tiling(tuple(shape), tuple(window), (i, j, k))  # type: ignore[arg-type]


def from_arrays(*channels: Array) -> Cut:
    """Cuts tiles from arrays of one shape (I, J, K); memory maps are read where a tile lies."""
    shapes = {c.shape for c in channels}
    if len(shapes) != 1:
        raise AnyPETError(f"the channels need one shape, got {[c.shape for c in channels]}")
    return lambda box: np.stack([np.asarray(c[box], dtype=np.float32) for c in channels])


def softmax_of(*classes: int) -> Network:
    """Logits (1, K, d, h, w) -> probabilities (1, len(classes), d, h, w) of some of the classes."""
    return lambda logits: torch.softmax(logits, dim=1)[:, list(classes)]


@torch.inference_mode()
def sliding_window(
    cut: Cut,
    shape: Sequence[int],
    network: Network,
    *,
    window: Sequence[int],
    step: float = 0.5,
    activate: Network = softmax_of(1),  # noqa: B008
    average: Literal["probability", "logit"] = "probability",
    depth: Depth | None = None,
    mirror_axes: Sequence[int] = (0, 1, 2),
    swapped: Sequence[int] | None = None,
    fill: float | Sequence[float] = 0.0,
    dtype: npt.DTypeLike = np.float32,
    progress: Progress | None = None,
) -> Array:
    """Runs a network over a scan.

    Held at once, beside a tile: a float32 buffer of one window's depth along the scan's longest side, the
    result, and while mirrored passes are run one more array of the result's size. With "logit" these have
    all K channels.

    Args:
        cut: gives the channels (C, d, h, w) of a box that lies within the scan; see `from_arrays`.
        shape: (I, J, K) of the scan.
        network: (1, C, d, h, w) float32 on the CPU -> logits (1, K, d, h, w) on any device. It may itself be
            the mean of several networks.
        window, step: see `tile_scan`.
        activate: logits -> maps wanted; the first class of two by default.
        average: what is averaged over tiles and passes; see the module.
        depth: how many mirrored passes are run; None is the un-mirrored one. Its report says what was done.
        mirror_axes: 0, 1, 2 in the order in which they are taken up.
        swapped: for each of the network's channels the one that means it in a tile mirrored along the first
            axis, where left and right are classes of their own; None where no class has a side.
        fill: what lies beyond a scan smaller than the window; one value, or one a channel.
        dtype: of the result.
        progress: called after each tile with the tiles done and the tiles planned now.

    Returns:
        (maps, I, J, K).

    Raises:
        AnyPETError: sizes do not fit, or the network gives a value that is not finite.
    """
    tiling = tile_scan(shape, window, step)
    if sorted(set(mirror_axes)) != sorted(mirror_axes) or not set(mirror_axes) <= {0, 1, 2}:
        raise AnyPETError(f"the mirror axes are some of 0, 1, 2, each once, got {tuple(mirror_axes)}")
    depth = Depth(math.inf, 0) if depth is None else depth
    depth.begin(len(tiling))
    activated = activate if average == "probability" else None
    sweep = _Sweep(tiling, cut, network, activated, fill, dtype, None if swapped is None else list(swapped))
    passes = mirror_passes(mirror_axes)
    mean: Array | None = None
    while depth.passes < len(passes) and depth.wants_pass():
        values = sweep.run(passes[depth.passes], depth, progress)
        if values is None:
            break
        if mean is None:
            mean = values
        else:
            _take_in(mean, values, depth.passes + 1)
        depth.pass_done()
    assert mean is not None  # the first pass is never broken off
    return mean if average == "probability" else _activated(mean, activate, dtype)


class _Sweep:
    """One network over one scan; each run is a pass with its own flips."""

    def __init__(
        self,
        tiling: Tiling,
        cut: Cut,
        network: Network,
        activate: Network | None,
        fill: float | Sequence[float],
        dtype: npt.DTypeLike,
        swapped: list[int] | None,
    ) -> None:
        self.tiling = tiling
        self.swapped = swapped
        self.cut = cut
        self.network = network
        self.activate = activate
        self.fill = np.atleast_1d(np.asarray(fill, dtype=np.float32))[:, None, None, None]
        self.dtype = dtype
        self.weights = [_gaussian(n) for n in tiling.window]
        d, h, w = self.weights
        self.tile_weights = torch.from_numpy(d[:, None, None] * h[:, None] * w)
        self.norms = [self._norm(axis) for axis in range(3)]
        # rows of tiles go along the axis that is longest in tiles
        first = max(range(3), key=lambda a: tiling.shape[a] / tiling.window[a])
        self.order = (first, *(a for a in range(3) if a != first))

    def run(self, flips: tuple[int, ...], depth: Depth, progress: Progress | None) -> Array | None:
        """The blended maps (M, I, J, K) of a pass, or None if `depth` broke it off."""
        a, b, c = self.order
        inside = self.tiling.inside
        buffer = result = planes = None
        rows = self.tiling.starts[a]
        for row, start in enumerate(rows):
            base = inside(a, start).start
            for across in itertools.product(self.tiling.starts[b], self.tiling.starts[c]):
                if not depth.wants_tile():
                    return None
                corner = dict(zip(self.order, (start, *across), strict=True))
                values = self._tile((corner[0], corner[1], corner[2]), flips)
                if buffer is None or result is None:
                    deep = min(self.tiling.window[a], self.tiling.shape[a])
                    sides = (self.tiling.shape[b], self.tiling.shape[c])
                    buffer = np.zeros((len(values), deep, *sides), np.float32)
                    result = np.empty((len(values), *self.tiling.shape), self.dtype)
                    planes = result.transpose(0, *(1 + x for x in self.order))
                values = values.transpose(0, *(1 + x for x in self.order))
                buffer[:, : values.shape[1], inside(b, across[0]), inside(c, across[1])] += values
                depth.tile_done()
                if progress is not None:
                    progress(*depth.progress)
            last = row + 1 == len(rows)
            end = self.tiling.shape[a] if last else inside(a, rows[row + 1]).start
            self._finish(buffer, planes, base, end)
        return result

    def _finish(self, buffer: Array | None, planes: Array | None, base: int, end: int) -> None:
        """Divides the planes from `base` to `end`, writes them, and moves the rest of the buffer up."""
        assert buffer is not None
        assert planes is not None
        a, b, c = (self.norms[x] for x in self.order)
        count = end - base
        finished = buffer[:, :count]
        finished /= a[base:end, None, None]
        finished /= b[:, None] * c
        planes[:, base:end] = finished
        for plane in range(buffer.shape[1]):  # one at a time: a whole overlapping move would need a copy
            below = plane + count
            buffer[:, plane] = buffer[:, below] if below < buffer.shape[1] else 0

    def _tile(self, corner: Triple, flips: tuple[int, ...]) -> Array:
        """Weighted maps (M, d, h, w) of the part of a tile that lies within the scan."""
        i, j, k = (self.tiling.inside(axis, start) for axis, start in enumerate(corner))
        cut = self.cut((i, j, k))
        inner = tuple(slice(s.start - c, s.stop - c) for s, c in zip((i, j, k), corner, strict=True))
        if cut.ndim != 4 or cut.shape[1:] != tuple(s.stop - s.start for s in inner):
            raise AnyPETError(
                f"a tile has shape {cut.shape}, expected (channels, d, h, w) of box {(i, j, k)}"
            )
        if cut.shape[1:] == self.tiling.window:
            image = np.ascontiguousarray(cut, dtype=np.float32)
        else:
            image = np.empty((len(cut), *self.tiling.window), np.float32)
            image[:] = self.fill
            image[:, *inner] = cut
        dims = [2 + axis for axis in flips]
        batch = torch.from_numpy(image)[None]
        logits = self.network(batch.flip(dims) if dims else batch).float()
        if logits.shape[0] != 1 or tuple(logits.shape[2:]) != self.tiling.window:
            raise AnyPETError(
                f"the network gave shape {tuple(logits.shape)} for a tile of {self.tiling.window}; "
                "its logits need the tile's own size"
            )
        logits = logits.flip(dims) if dims else logits
        if 0 in flips and self.swapped is not None:
            logits = logits[:, self.swapped]
        maps = (logits if self.activate is None else self.activate(logits))[0][:, *inner]
        if not bool(torch.isfinite(maps).all()):
            raise AnyPETError(
                f"the network gave values that are not finite at voxels {(i, j, k)}; use float32"
            )
        self.tile_weights = self.tile_weights.to(maps.device)
        maps = maps * self.tile_weights[inner]
        return maps.cpu().numpy()

    def _norm(self, axis: int) -> Array:
        """The sum of the tiles' weights at each voxel along an axis."""
        norm = np.zeros(self.tiling.shape[axis], np.float64)
        for start in self.tiling.starts[axis]:
            part = self.tiling.inside(axis, start)
            norm[part] += self.weights[axis][part.start - start : part.stop - start]
        return norm.astype(np.float32)


def _gaussian(size: int) -> npt.NDArray[np.float32]:
    """Weights along an axis of a tile, 1 in its middle."""
    return np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (SIGMA * size)) ** 2).astype(np.float32)


def _take_in(mean: Array, values: Array, count: int) -> None:
    """Makes the mean of count - 1 passes that of count, plane by plane in float32."""
    for plane in range(mean.shape[1]):
        so_far = mean[:, plane].astype(np.float32)
        so_far += (values[:, plane].astype(np.float32) - so_far) / count
        mean[:, plane] = so_far


def _activated(logits: Array, activate: Network, dtype: npt.DTypeLike) -> Array:
    """Blended logits (K, I, J, K) -> maps (M, I, J, K), a block of planes at a time."""
    result: Array | None = None
    for start in range(0, logits.shape[1], BLOCK):
        block = torch.from_numpy(logits[:, start : start + BLOCK].astype(np.float32))[None]
        maps = activate(block)[0].numpy()
        if result is None:
            result = np.empty((len(maps), *logits.shape[1:]), dtype)
        result[:, start : start + BLOCK] = maps
    assert result is not None
    return result
