"""The time budget on a clock of the tests' own: what is chosen, that the limit is kept, and what is said."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError
from anypet.lesions.depth import Depth, DepthReport, mirror_passes, paper_axes


class Clock:
    """Time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def drive(depth: Depth, clock: Clock, tiles: int, cost: Callable[[int], float]) -> DepthReport:
    """What sliding-window inference asks of a `Depth`, with tile n costing cost(n) seconds."""
    numbers = itertools.count()
    depth.begin(tiles)
    while depth.wants_pass():
        for _ in range(tiles):
            if not depth.wants_tile():
                break
            clock.now += cost(next(numbers))
            depth.tile_done()
        else:
            depth.pass_done()
    return depth.report()


@pytest.mark.parametrize(
    ("voxels", "axes"),
    [
        (1, 3), (17_999_999, 3), (18_000_000, 2), (38_999_999, 2), (39_000_000, 1), (400 * 400 * 326, 1),
        (89_999_999, 1), (90_000_000, 0), (10**9, 0),
    ],
)  # fmt: skip
def test_the_papers_thresholds(voxels: int, axes: int) -> None:
    assert paper_axes(voxels) == axes


def test_prefixes_of_the_passes_are_whole_sets_of_axes() -> None:
    axes = (2, 0, 1)
    passes = mirror_passes(axes)
    assert passes[0] == ()
    for n in range(4):
        subsets = [set(c) for r in range(n + 1) for c in itertools.combinations(axes[:n], r)]
        head = [set(p) for p in passes[: 2**n]]
        assert sorted(map(sorted, head)) == sorted(map(sorted, subsets))


@pytest.mark.parametrize("tiles", [4, 60, 700])
@pytest.mark.parametrize(("passes_in_limit", "axes"), [(1.5, 0), (3.0, 1), (6.0, 2), (9.0, 3)])
def test_limits_choose_0_to_3_axes_and_are_kept(tiles: int, passes_in_limit: float, axes: int) -> None:
    clock, rate = Clock(), 0.7
    limit = passes_in_limit * tiles * rate
    report = drive(Depth(limit, clock=clock), clock, tiles, lambda n: rate)
    assert (report.axes, report.passes, report.tiles) == (axes, 2**axes, tiles)
    assert report.used_s == pytest.approx(2**axes * tiles * rate)
    assert report.used_s <= limit
    assert not report.over_limit
    assert report.seconds_per_tile == pytest.approx(rate)


@pytest.mark.parametrize("tiles", [10, 100])
def test_a_slow_down_drops_passes_and_keeps_the_limit(tiles: int) -> None:
    """Eight passes fit at first; after 5.5 of them tiles take three times as long, and only one more fits."""
    clock, limit = Clock(), 9.0 * tiles
    depth = Depth(limit, clock=clock)
    report = drive(depth, clock, tiles, lambda n: 1.0 if n < 5.5 * tiles else 3.0)
    assert report.passes == 6
    assert report.axes == 2
    assert report.used_s <= limit
    assert "2 mirror axes of 3" in report.why
    assert "2 passes of the next" in report.why
    assert not depth.wants_pass()


def test_a_pass_that_cannot_end_is_broken_off_and_nothing_follows() -> None:
    clock, tiles = Clock(), 40
    depth = Depth(2.5 * tiles, clock=clock)
    report = drive(depth, clock, tiles, lambda n: 1.0 if n < 45 else 30.0)
    assert report.passes == 1
    # the first slow tiles are believed, the rest of the pass is not waited for
    assert report.used_s < tiles + 5 + 2 * 30.0


def test_a_speed_up_adds_an_axis_that_was_not_planned() -> None:
    clock, tiles, plans = Clock(), 50, []
    depth = Depth(3.0 * tiles, clock=clock)

    def cost(n: int) -> float:
        plans.append(depth.axes_planned)
        return 1.0 if n < 40 else 0.2

    report = drive(depth, clock, tiles, cost)
    assert plans[20] == 1
    assert report.passes == 8
    assert report.used_s <= 3.0 * tiles


def test_the_unmirrored_pass_ends_whatever_the_limit_and_says_so() -> None:
    clock = Clock()
    report = drive(Depth(5.0, clock=clock), clock, 30, lambda n: 1.0)
    assert (report.passes, report.axes) == (1, 0)
    assert report.used_s == 30
    assert report.over_limit
    assert "un-mirrored pass alone" in report.why


def test_time_before_and_after_the_sweep_counts() -> None:
    clock = Clock()
    started = clock.now
    clock.now += 35.0  # reading and resampling
    depth = Depth(100.0, reserve_s=20.0, started=started, clock=clock)
    report = drive(depth, clock, 10, lambda n: 2.0)
    assert report.passes == 2
    assert report.used_s == 75.0


def test_the_first_tile_pays_for_warming_up_alone() -> None:
    clock = Clock()
    report = drive(Depth(120.0, clock=clock), clock, 10, lambda n: 30.0 if n == 0 else 1.0)
    assert report.passes == 8
    assert report.seconds_per_tile == 1.0


def test_no_limit_runs_all_that_is_allowed() -> None:
    clock = Clock()
    for axes in range(4):
        report = drive(Depth(math.inf, axes, clock=clock), clock, 3, lambda n: 1e6)
        assert (report.axes, report.passes, report.most_axes) == (axes, 2**axes, axes)
        assert "all that is allowed" in report.why
        assert "no limit" in report.why


def test_a_policy_caps_the_axes_and_the_limit_still_holds() -> None:
    for limit, passes in ((1e6, 2), (15.0, 1)):
        clock = Clock()
        report = drive(Depth(limit, paper_axes(52_000_000), clock=clock), clock, 10, lambda n: 1.0)
        assert report.passes == passes


def test_what_is_planned_is_logged_and_so_is_every_change(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO, logger="anypet.lesions.depth"):
        drive(Depth(500.0, clock=clock), clock, 50, lambda n: 1.0 if n < 120 else 4.0)
    plans = [r.getMessage() for r in caplog.records]
    assert len(plans) == 2
    assert "3 mirror axes planned of 3 within 500 s" in plans[0]
    assert "3 mirror axes" not in plans[1]


def test_progress_counts_whole_passes_and_follows_the_plan() -> None:
    clock = Clock()
    depth = Depth(4.5 * 10, clock=clock)
    seen = []

    def cost(n: int) -> float:
        seen.append(depth.progress)
        return 1.0

    drive(depth, clock, 10, cost)
    assert seen[0] == (0, 80)
    assert seen[5:] == [(n, 40) for n in range(5, 40)]
    assert depth.progress == (40, 40)


COSTS = st.lists(st.floats(0.01, 10.0), min_size=1, max_size=30)


@given(st.integers(1, 40), st.floats(0.1, 2000.0), COSTS, st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_a_limit_is_exceeded_by_a_tile_at_most(
    tiles: int, limit: float, costs: list[float], most_axes: int
) -> None:
    clock, spent = Clock(), []

    def cost(n: int) -> float:
        spent.append(costs[n % len(costs)])
        return spent[-1]

    report = drive(Depth(limit, most_axes, clock=clock), clock, tiles, cost)
    assert 1 <= report.passes <= 2**most_axes
    assert report.used_s <= max(sum(spent[:tiles]), limit) + max(costs) + 1e-6
    assert report.why


@pytest.mark.parametrize(
    "wrong", [{"limit_s": 0}, {"limit_s": math.nan}, {"reserve_s": -1}, {"most_axes": 4}, {"most_axes": -1}]
)
def test_bad_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(AnyPETError, match=r"limit|axes"):
        Depth(**wrong)


def test_a_depth_serves_one_scan() -> None:
    depth = Depth(clock=Clock())
    depth.begin(3)
    with pytest.raises(AnyPETError, match="one scan"):
        depth.begin(3)
