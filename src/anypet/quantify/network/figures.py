"""Pictures of networks: the matrix, the circle, the body, and what differs; each a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgba
from matplotlib.patches import Ellipse, PathPatch, Polygon, Rectangle
from matplotlib.path import Path as Curve

from anypet.plots import GREY, INK, PALE, new_figure, png, style
from anypet.quantify.network import body_map
from anypet.quantify.network.analysis import Network
from anypet.quantify.network.covariance import from_pairs
from anypet.quantify.network.deviation import Deviation
from anypet.quantify.network.groups import Comparison
from anypet.render import COLOURS

FloatArray = npt.NDArray[np.float64]

_ALONE = "#b8bec5"  # organs without a community
_MOST_SUBJECTS = 40


def _title(network: Network) -> str:
    return f"{network.name or 'Cohort'}: {network.subjects} subjects, {len(network.organs)} organs"


def _order(network: Network) -> list[int]:
    """Organs by community, the strongest first in each."""
    strength = [network.nodes[organ].strength for organ in network.organs]
    return sorted(range(len(network.organs)), key=lambda n: (network.community[n], -strength[n]))


def _colours(network: Network) -> list[str]:
    """A colour for every organ: its community's, grey for organs that are alone."""
    sizes = np.bincount(network.community)
    return [COLOURS[(c - 1) % len(COLOURS)] if sizes[c] > 1 else _ALONE for c in network.community]


def matrix_figure(network: Network, level: float = 0.05) -> bytes:
    """The correlations, organs ordered by community, which are framed; dots mark family-wise significance."""
    order, colours = _order(network), _colours(network)
    names = [network.organs[n] for n in order]
    side = max(5.5, 0.26 * len(order) + 2.2)
    with style():
        figure = new_figure(side + 0.9, side)
        axis = figure.subplots()
        matrix = network.correlation[np.ix_(order, order)].copy()
        np.fill_diagonal(matrix, np.nan)
        image = _heat(axis, matrix, 1.0, names, names, [colours[n] for n in order])
        p = from_pairs(network.edges.family_wise, len(order), 1.0)[np.ix_(order, order)]
        rows, columns = np.nonzero(np.tril(p <= level, k=-1))
        axis.scatter(columns, rows, s=6, color=INK, lw=0)
        _frames(axis, [network.community[n] for n in order], [colours[n] for n in order])
        bar = figure.colorbar(image, ax=axis, shrink=0.6, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("correlation")
        axis.set_title(_title(network), fontsize=11)
        axis.set_xlabel(f"dots: family-wise p ≤ {level:g}", color=GREY, loc="right")
        return png(figure)


def _heat(
    axis: Any,
    matrix: FloatArray,
    limit: float,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: Sequence[str],
    cmap: str = "RdBu_r",
    low: float | None = None,
) -> Any:
    """A heat map with white rules and names along two sides."""
    image = axis.imshow(
        matrix,
        cmap=cmap,
        vmin=-limit if low is None else low,
        vmax=limit,
        interpolation="nearest",
        aspect="auto",
    )
    axis.set_xticks(range(len(columns)), columns, rotation=90)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="white", lw=0.6)
    axis.tick_params(which="both", length=0)
    axis.set_facecolor(PALE)
    for spine in axis.spines.values():
        spine.set_visible(False)
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        for label, colour in zip(labels, colours, strict=False):
            label.set_color(INK if colour == _ALONE else colour)
    return image


def _frames(axis: Any, communities: Sequence[int], colours: Sequence[str]) -> None:
    start = 0
    for n in range(1, len(communities) + 1):
        if n == len(communities) or communities[n] != communities[start]:
            if n - start > 1:
                corner = (start - 0.5, start - 0.5)
                axis.add_patch(
                    Rectangle(
                        corner, n - start, n - start, fill=False, lw=1.8, color=colours[start], zorder=3
                    )
                )
            start = n


def circle_figure(network: Network) -> bytes:
    """The graph on a circle, organs by community; thicker lines are stronger, dashed ones negative."""
    order, colours = _order(network), _colours(network)
    angles = _angles([network.community[n] for n in order])
    place = np.zeros((len(order), 2))
    place[order] = np.column_stack([np.sin(angles), np.cos(angles)])
    with style():
        figure = new_figure(8.0, 8.0)
        axis = figure.subplots()
        _edges(axis, network, place, colours, centre=(0.0, 0.0))
        largest = max((network.nodes[o].strength for o in network.organs), default=0.0) or 1.0
        for n, angle in zip(order, angles, strict=True):
            strength = network.nodes[network.organs[n]].strength
            axis.scatter(
                place[n, 0],
                place[n, 1],
                s=40 + 180 * strength / largest,
                color=colours[n],
                ec="white",
                lw=1.2,
                zorder=4,
            )
            degrees = 90 - np.degrees(angle)
            left = np.sin(angle) < 0
            axis.text(
                1.09 * place[n, 0],
                1.09 * place[n, 1],
                network.organs[n],
                rotation=degrees + 180 if left else degrees,
                rotation_mode="anchor",
                ha="right" if left else "left",
                va="center",
                fontsize=10,
            )
        axis.set(xlim=(-1.65, 1.65), ylim=(-1.65, 1.65), aspect="equal")
        axis.axis("off")
        figure.suptitle(_title(network), x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.supxlabel(_graph_words(network), color=GREY, fontsize=9)
        return png(figure)


def _graph_words(network: Network) -> str:
    w, m = network.whole, network.modularity
    return (
        f"{w.edges} edges (density {w.density:.2f}), modularity {w.modularity:.2f} "
        f"(shuffled {m.expected:.2f}, p = {m.p:.2g}), size of a dot: strength"
    )


def _angles(communities: Sequence[int]) -> FloatArray:
    """Angles clockwise from the top, with a gap wherever the community changes."""
    gap = 0.6
    steps = [1.0 + gap * (a != b) for a, b in zip(communities, [*communities[1:], None], strict=True)]
    return 2 * np.pi * (np.concatenate([[0.0], np.cumsum(steps)[:-1]]) + 0.5) / sum(steps)


def _edges(
    axis: Any,
    network: Network,
    place: FloatArray,
    colours: Sequence[str],
    centre: tuple[float, float] | None,
    width: float = 3.2,
) -> None:
    """Edges as curves that bend towards the centre (or a little aside without one); strong ones on top."""
    weights = np.triu(network.weights, k=1)
    strongest = weights.max() or 1.0
    for i, j in sorted(np.argwhere(weights > 0).tolist(), key=lambda e: weights[e[0], e[1]]):
        same = network.community[i] == network.community[j]
        middle = (place[i] + place[j]) / 2
        if centre is None:
            bend = 0.12 * (place[j] - place[i])[::-1] * [1, -1]
            middle = middle + bend
        else:
            near = 1 - float(np.hypot(*(place[j] - place[i]))) / 2  # neighbours are joined along the rim
            middle = np.asarray(centre) + (0.3 + 0.5 * near) * (middle - centre)
        share = weights[i, j] / strongest
        axis.add_patch(
            PathPatch(
                Curve([place[i], middle, place[j]], [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3]),
                fill=False,
                ec=to_rgba(colours[i] if same else GREY, 0.35 + 0.5 * share),
                lw=0.5 + width * share**2,
                ls="-" if network.correlation[i, j] > 0 else (0, (3, 2)),
                capstyle="round",
                zorder=2 if same else 1,
            )
        )


def body_figure(network: Network) -> bytes:
    """The graph on a body seen from the front, the patient's right on the left of the page."""
    place, colours = body_map.places(network.organs), _colours(network)
    floor = min(body_map.FLOOR, float(place[:, 1].min()) - 2)
    with style():
        figure = new_figure(7.6, 0.1 * (body_map.TOP - floor) + 0.4)
        axis = figure.subplots()
        axis.add_patch(Polygon(body_map.outline(), fc=PALE, ec="#c9ced3", lw=1.2, zorder=0))
        for x, y, width, height, angle in body_map.SHAPES:
            axis.add_patch(Ellipse((x, y), width, height, angle=angle, fc="#dfe3e7", ec="none", zorder=0))
        _edges(axis, network, place, colours, centre=None, width=2.6)
        largest = max((network.nodes[o].strength for o in network.organs), default=0.0) or 1.0
        for n, organ in enumerate(network.organs):
            size = 25 + 130 * network.nodes[organ].strength / largest
            axis.scatter(place[n, 0], place[n, 1], s=size, color=colours[n], ec="white", lw=1.0, zorder=4)
        _callouts(axis, network.organs, place, colours)
        axis.set(xlim=(-42, 42), ylim=(floor - 1, body_map.TOP + 1), aspect="equal")
        axis.axis("off")
        axis.text(-24.5, body_map.TOP - 1, "R", fontsize=11, color=GREY, ha="center")
        axis.text(24.5, body_map.TOP - 1, "L", fontsize=11, color=GREY, ha="center")
        figure.suptitle(_title(network), x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.supxlabel(_graph_words(network), color=GREY, fontsize=9)
        return png(figure)


def _callouts(axis: Any, organs: Sequence[str], place: FloatArray, colours: Sequence[str]) -> None:
    """Names in two columns beside the body, joined to their dots by thin lines that do not cross much."""
    by_side = place[:, 0] + 1e-3 * np.arange(len(place))
    middle = np.median(by_side)
    for sign, members in ((-1, by_side < middle), (1, by_side >= middle)):
        rows = sorted(np.flatnonzero(members).tolist(), key=lambda n: -place[n, 1])
        heights = _apart([float(place[n, 1]) for n in rows], 3.0)
        for n, height in zip(rows, heights, strict=True):
            axis.plot(
                [place[n, 0], sign * 23.5, sign * 25.5],
                [place[n, 1], height, height],
                color=colours[n],
                lw=0.6,
                alpha=0.7,
                zorder=3,
            )
            axis.text(
                sign * 26, height, organs[n], ha="left" if sign > 0 else "right", va="center", fontsize=9.5
            )


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Falling heights moved so that neighbours are a gap apart, the whole kept where it was."""
    moved = list(heights)
    for n in range(1, len(moved)):
        moved[n] = min(moved[n], moved[n - 1] - gap)
    shift = (sum(heights) - sum(moved)) / max(len(moved), 1)
    return [height + shift for height in moved]


def difference_figure(
    comparison: Comparison, networks: tuple[Network, Network], level: float = 0.05
) -> bytes:
    """First minus second group in Fisher's z, in the second group's order; squares: significant edges."""
    first, second = networks
    order, colours = _order(second), _colours(second)
    names = [first.organs[n] for n in order]
    matrix = from_pairs(comparison.difference, len(order))[np.ix_(order, order)]
    p = from_pairs(comparison.edges.family_wise, len(order), 1.0)[np.ix_(order, order)]
    np.fill_diagonal(matrix, np.nan)
    side = max(5.5, 0.26 * len(order) + 2.2)
    with style():
        figure = new_figure(side + 0.9, side)
        axis = figure.subplots()
        limit = max(0.5, float(np.nanmax(np.abs(matrix))))
        image = _heat(axis, matrix, limit, names, names, [colours[n] for n in order], "PuOr_r")
        for row, column in np.argwhere(p <= level):
            axis.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=1.3, color=INK, zorder=4)
            )
        _frames(axis, [second.community[n] for n in order], [colours[n] for n in order])
        bar = figure.colorbar(image, ax=axis, shrink=0.6, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("difference of Fisher's z")
        title = f"{first.name} ({first.subjects}) minus {second.name} ({second.subjects})"
        axis.set_title(title, fontsize=11)
        axis.set_xlabel(f"black squares: family-wise p ≤ {level:g}", color=GREY, loc="right")
        return png(figure)


def deviation_figure(deviations: Sequence[Deviation], organs: Sequence[str], level: float = 0.05) -> bytes:
    """Deviation of subjects' organs from the reference, the most deviant subjects first."""
    shown = sorted(deviations, key=lambda d: -d.total)[:_MOST_SUBJECTS]
    scores = np.array([[d.total, *d.organs] for d in shown])
    p = np.array([[d.total_p, *d.organ_p] for d in shown])
    columns = ["whole body", *organs]
    with style():
        figure = new_figure(max(6.0, 0.28 * len(columns) + 3.4), max(3.6, 0.2 * len(shown) + 2.4))
        axis = figure.subplots()
        names = [d.subject for d in shown]
        limit = max(3.0, float(np.quantile(scores, 0.99)))
        image = _heat(axis, scores, limit, names, columns, [INK] * len(columns), "BuPu", low=0.0)
        for row, column in np.argwhere(p <= level):
            axis.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=1.6, color=COLOURS[2], zorder=4)
            )
        axis.axvline(0.5, color="white", lw=6)
        bar = figure.colorbar(image, ax=axis, shrink=0.8, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("deviation (RMS z of an organ's edges)")
        many = f"The {len(shown)} most deviant of " if len(shown) < len(deviations) else ""
        axis.set_title(f"{many}{len(deviations)} subjects against the reference", fontsize=11)
        axis.set_xlabel(f"frames: p ≤ {level:g}, by rank in the reference", color=GREY, loc="right")
        return png(figure)
