"""Plots of an agreement study: overlap, Bland and Altman's limits, annotation times; each a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from anypet.evaluation.agreement import MEASURES, PairAgreement, Reading, Summary, pair_names, paired
from anypet.evaluation.annotation_time import EVERYBODY, Saving, Timer
from anypet.evaluation.reliability import BlandAltman, differences
from anypet.evaluation.statistics import Interval
from anypet.plots import GREY, INK, PALE, new_figure, png, style
from anypet.render import COLOURS


def overlap_plot(pairs: Sequence[PairAgreement], summary: Summary) -> bytes:
    """Dice and surface Dice of every case (dots) with the mean and its interval, a line for each pair."""
    rows, names = summary.pairs, pair_names(summary)
    with style():
        figure = new_figure(9.5, 1.4 + 0.5 * len(rows))
        axes = figure.subplots(1, 2, sharey=True)
        for axis, metric, title in zip(axes, ("dsc", "nsd"), ("Dice", "Surface Dice"), strict=True):
            for n, p in enumerate(rows):
                chosen = [
                    getattr(c, metric)
                    for c in pairs
                    if (c.target, c.first, c.second) == (p.target, p.first, p.second)
                ]
                _dots(axis, np.array(chosen), n, COLOURS[n % len(COLOURS)])
                _mean(axis, getattr(p, metric), n)
            axis.set_title(title)
            axis.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.4, -0.6))
            axis.grid(axis="x", color=PALE)
            axis.set_axisbelow(True)
            axis.tick_params(axis="y", length=0)
        axes[0].set_yticks(range(len(rows)), names)
        figure.supxlabel("dots: cases; bars: mean and 95 % interval", color=GREY, fontsize=9)
        return png(figure)


def _dots(axis: Any, values: Any, row: float, colour: str) -> None:
    """Values on a line, neighbours moved apart; the same picture every time."""
    jitter = 0.18 * np.sin(2.4 * np.arange(len(values)))
    axis.scatter(values, row + jitter, s=22, color=colour, alpha=0.55, lw=0, zorder=2)


def _mean(axis: Any, interval: Interval, row: float) -> None:
    axis.plot([interval.low, interval.high], [row, row], color=INK, lw=2, zorder=3, solid_capstyle="round")
    axis.scatter([interval.mean], [row], s=46, color=INK, ec="white", lw=1.2, zorder=4)


def bland_altman_plot(readings: Sequence[Reading], summary: Summary, first: str, second: str) -> bytes:
    """Difference against mean with bias and limits (bands: their intervals).

    A line of panels for volume and TLG of every target: in their unit on the left, in per cent on the right.
    """
    lines = [
        (p, name)
        for p in summary.pairs
        for name in ("volume_ml", "tlg")
        if (p.first, p.second) == (first, second) and name in p.limits
    ]
    several = len({p.target for p, _ in lines}) > 1
    with style():
        figure = new_figure(9.0, 3.1 * len(lines) + 0.4)
        axes = figure.subplots(len(lines), 2, squeeze=False)
        for line, (p, name) in zip(axes, lines, strict=True):
            values = paired(readings, p.target, name, first, second)
            for axis, relative in zip(line, (False, True), strict=True):
                axis.scatter(
                    *differences(*values, relative=relative),
                    s=28,
                    color=COLOURS[1],
                    alpha=0.7,
                    lw=0,
                    zorder=3,
                )
                _limits(axis, p.limits[name][relative])
                label = MEASURES[name]
                axis.set_xlabel(f"mean {label}")
                axis.set_ylabel("difference, % of the mean" if relative else f"difference, {label}")
                axis.margins(x=0.08, y=0.12)
            if several:
                line[0].set_title(p.target)
        figure.suptitle(f"{first} minus {second}", x=0.01, ha="left", fontsize=11, fontweight="bold")
        return png(figure)


def _limits(axis: Any, limits: BlandAltman) -> None:
    axis.axhline(0, color=GREY, lw=0.8, zorder=1)
    lines = ((limits.bias, "-", INK), (limits.lower, "--", COLOURS[0]), (limits.upper, "--", COLOURS[0]))
    for estimate, dash, colour in lines:
        if np.isnan(estimate.value):
            continue
        axis.axhline(estimate.value, color=colour, lw=1.2, ls=dash, zorder=2)
        if np.isfinite(estimate.low):
            axis.axhspan(estimate.low, estimate.high, color=colour, alpha=0.08, lw=0, zorder=0)
        axis.annotate(
            f"{estimate.value:+.3g}",
            (1, estimate.value),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=8,
        )


def times_plot(timers: Sequence[Timer], savings: Sequence[Saving], reference: str) -> bytes:
    """Left, minutes of every case by both methods; right, the share saved with medians and intervals."""
    methods = list(dict.fromkeys(s.method for s in savings))
    readers = list(dict.fromkeys(t.reader for t in timers))
    seconds = {(t.reader, t.case, t.method): t.seconds for t in timers}
    with style():
        figure = new_figure(9.0, 3.9 * len(methods) + 0.3)
        axes = figure.subplots(len(methods), 2, squeeze=False, width_ratios=(1, 1.3))
        for (left, right), method in zip(axes, methods, strict=True):
            rows = [s for s in savings if s.method == method]
            for n, reader in enumerate(readers):
                colour = COLOURS[n % len(COLOURS)]
                cases = [
                    c for r, c, m in seconds if (r, m) == (reader, method) and (r, c, reference) in seconds
                ]
                times = np.array([[seconds[reader, c, m] for m in (reference, method)] for c in cases])
                if not times.size:
                    continue
                shift = 0.05 * (n - (len(readers) - 1) / 2)
                left.plot([shift, 1 + shift], times.T / 60, "o-", color=colour, ms=3.5, lw=0.8, alpha=0.55)
                row = next(k for k, s in enumerate(rows) if s.reader == reader)
                _dots(right, 100 * (1 - times[:, 1] / times[:, 0]), row, colour)
            _time_axes(left, right, rows, reference, method)
        return png(figure)


def _time_axes(left: Any, right: Any, rows: Sequence[Saving], reference: str, method: str) -> None:
    left.set_xticks([0, 1], [reference, method])
    left.set(xlim=(-0.3, 1.3), yscale="log", ylabel="minutes per case")
    left.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_minor_locator(NullLocator())
    left.grid(axis="y", color=PALE)
    for n, s in enumerate(rows):
        middle, low, high = (100 * value for value in s.share)
        _mean(right, Interval(middle, low, high, s.cases), n)
    right.set_yticks(range(len(rows)), [f"{s.reader} ({s.cases})" for s in rows])
    right.set(ylim=(len(rows) - 0.4, -0.6), xlabel="time saved, %")
    right.axvline(0, color=GREY, lw=0.8)
    right.grid(axis="x", color=PALE)
    right.set_axisbelow(True)
    right.tick_params(axis="y", length=0)
    total = next((s for s in rows if s.reader == EVERYBODY), rows[0])
    right.set_title("median saved {:.0%} [{:.0%}, {:.0%}]".format(*total.share))
