"""One look for all charts: paper white, few lines, and colours that most readers can tell apart."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, GREY, PALE = "#22262b", "#7b838c", "#eceff1"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def style() -> AbstractContextManager[None]:
    """The look, within a `with`."""
    return rc_context(_STYLE)


def new_figure(width: float, height: float) -> Figure:
    """An empty white page, inches; no window is opened and no global state of matplotlib is touched."""
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The page as a PNG."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=160, facecolor="white")
    return image.getvalue()
