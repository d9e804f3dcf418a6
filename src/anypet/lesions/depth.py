"""How many mirrored passes a scan gets: as many as end within its time limit, by the clock, on its own tiles.

A network run on mirrored tiles as well, and averaged, is better and as many times slower: 1, 2, 4 or 8
passes for 0 to 3 axes. The paper fixes the axes by the number of voxels, from times taken on one machine
(`paper_axes`). `Depth` looks at the clock instead. A pass is one sweep over all tiles of the scan,
un-mirrored first, and passes stand in such an order that the first 1, 2, 4 and 8 are those of 0, 1, 2 and 3
axes. So there is a whole result from the first pass on, an axis is added when the passes that it needs fit
in what is left, and where the machine slows down the rest is dropped: a pass that is not finished is thrown
away, so that every voxel is the mean of the same passes.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anypet.errors import AnyPETError

log = logging.getLogger(__name__)

PAPER_VOXELS = (18_000_000, 39_000_000, 90_000_000)
LIMIT_S = 15 * 60.0
# The share of the limit that is left free: tiles are not equally quick to the last per cent.
MARGIN = 0.02
# A plan wants this many tiles measured; the first of more than two is left out, it pays for warming up.
PROBE = 5


def paper_axes(voxels: int) -> int:
    """The paper's mirror axes: 3 below 18 million voxels of the scan as read, 2 below 39, 1 below 90."""
    return sum(voxels < threshold for threshold in PAPER_VOXELS)


def mirror_passes(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """The flips of each pass, un-mirrored first; the first 2^n are all those of the first n axes."""
    passes: list[tuple[int, ...]] = [()]
    for axis in axes:
        passes += [(*flips, axis) for flips in passes]
    return passes


@dataclass(frozen=True)
class DepthReport:
    """What was chosen, and why.

    Args:
        axes: mirror axes of which all passes were finished.
        passes: whole passes averaged; more than 2^axes where the next axis could not be finished.
        most_axes: what was allowed.
        tiles: tiles a pass.
        seconds_per_tile: of the latest tiles; 0 before any.
        limit_s, used_s: seconds allowed, and gone since the limit's start.
        why: one sentence.
    """

    axes: int
    passes: int
    most_axes: int
    tiles: int
    seconds_per_tile: float
    limit_s: float
    used_s: float
    why: str

    @property
    def over_limit(self) -> bool:
        """Whether the time was not kept: the un-mirrored pass alone took longer, or the last tile did."""
        return self.used_s > self.limit_s


class Depth:
    """Decides, tile by tile, whether another pass fits. One is used for one scan.

    Only the un-mirrored pass is run whatever the clock says. A tile cannot be cut short, so a limit is kept
    to within the time by which one tile exceeds those before it, for which `MARGIN` is left free.

    Args:
        limit_s: seconds from `started` to the end; `math.inf` runs all passes.
        most_axes: mirror axes at most, 0 to 3.
        reserve_s: seconds to be left for what follows (clean-up, writing).
        started: the clock's time at which the limit began; None is now.
        clock: seconds, never falling.

    Raises:
        AnyPETError: the limit is not positive, the reserve is negative or the axes are not 0 to 3.
    """

    def __init__(
        self,
        limit_s: float = LIMIT_S,
        most_axes: int = 3,
        *,
        reserve_s: float = 0.0,
        started: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not limit_s > 0 or not reserve_s >= 0:
            raise AnyPETError(f"a time limit must be positive, got {limit_s} s with {reserve_s} s in reserve")
        if most_axes not in range(4):
            raise AnyPETError(f"mirroring takes 0 to 3 axes, got {most_axes}")
        self.limit_s = limit_s
        self.most_axes = most_axes
        self.tiles = 0
        self.passes = 0
        self._clock = clock
        self._started = clock() if started is None else started
        self._last = self._started
        self._deadline = self._started + limit_s * (1 - MARGIN) - reserve_s
        self._tiles_done = 0
        self._seconds: list[float] = []
        self._stopped = False
        self._planned = most_axes

    def begin(self, tiles: int) -> None:
        """The sweep starts: a pass has this many tiles."""
        if self.tiles:
            raise AnyPETError("a Depth serves one scan; make another for the next")
        self.tiles = tiles
        self._last = self._clock()

    def wants_pass(self) -> bool:
        """Whether to start another pass: with the first pass of an axis all that the axis needs must fit."""
        if self.passes == 0:
            return True
        if self._stopped or self.passes >= 2**self.most_axes:
            return False
        whole_axis = self.passes == 2**self.axes
        self._stopped = not self._fits(self.passes * self.tiles if whole_axis else self.tiles)
        return not self._stopped

    def wants_tile(self) -> bool:
        """Whether to go on within a pass; False means that it cannot be finished and is to be thrown away."""
        if self.passes > 0 and not self._fits(self.tiles - self._tiles_done):
            self._stopped = True
        return not self._stopped

    def tile_done(self) -> None:
        """A tile of the running pass is finished."""
        now = self._clock()
        self._seconds.append(now - self._last)
        self._last = now
        self._tiles_done += 1
        if len(self._seconds) >= min(PROBE, self.tiles):
            self._plan()

    def pass_done(self) -> None:
        """The running pass is finished."""
        self.passes += 1
        self._tiles_done = 0

    @property
    def axes(self) -> int:
        """Mirror axes of which all passes are finished."""
        return max(self.passes, 1).bit_length() - 1

    @property
    def axes_planned(self) -> int:
        """Mirror axes that fit by the latest estimate."""
        return max(self._planned, self.axes)

    @property
    def progress(self) -> tuple[int, int]:
        """Tiles done, and tiles to be done in all by the latest estimate."""
        done = self.passes * self.tiles + self._tiles_done
        return done, max(done, 2**self.axes_planned * self.tiles)

    @property
    def seconds_per_tile(self) -> float:
        """Mean of the latest tiles, a quarter of a pass of them but at least `PROBE`; 0 before any."""
        known = self._seconds[1:] if len(self._seconds) > 2 else self._seconds
        latest = known[-max(PROBE, self.tiles // 4) :]
        return sum(latest) / len(latest) if latest else 0.0

    def report(self) -> DepthReport:
        """What was chosen up to now, and why."""
        used = self._clock() - self._started
        return DepthReport(
            axes=self.axes,
            passes=self.passes,
            most_axes=self.most_axes,
            tiles=self.tiles,
            seconds_per_tile=self.seconds_per_tile,
            limit_s=self.limit_s,
            used_s=used,
            why=self._why(used),
        )

    def _fits(self, tiles: int) -> bool:
        return self._clock() + tiles * self.seconds_per_tile <= self._deadline

    def _plan(self) -> None:
        """Estimates the axes anew, and says so when they change or are known for the first time."""
        done = self.progress[0]
        fitting = [a for a in range(self.most_axes + 1) if self._fits(2**a * self.tiles - done)]
        planned = max(fitting, default=0)
        first = len(self._seconds) == min(PROBE, self.tiles)
        if first or planned != self._planned:
            log.info(
                "%d tiles of %.3g s: %s mirror axes planned of %d within %.0f s",
                self.tiles,
                self.seconds_per_tile,
                planned,
                self.most_axes,
                self.limit_s,
            )
        self._planned = planned

    def _why(self, used: float) -> str:
        took = f"{used:.0f} s used of {self.limit_s:.0f} s" if math.isfinite(self.limit_s) else "no limit"
        chosen = f"{_counted(self.axes, 'mirror axis', 'mirror axes')} of {self.most_axes}, {took}"
        if self.passes == 2**self.most_axes:
            return f"{chosen}: all that is allowed"
        if used > self.limit_s and self.passes <= 1:
            return f"{chosen}: the un-mirrored pass alone took longer than the limit"
        rate = f"{self.tiles} tiles of {self.seconds_per_tile:.3g} s"
        if self.passes == 2**self.axes:
            return f"{chosen}: the next axis needs {self.passes} more passes of {rate}"
        more = _counted(self.passes - 2**self.axes, "pass", "passes")
        return f"{chosen}, and {more} of the next before the time ran out: {rate}"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number or 'no'} {one if number == 1 else many}"
