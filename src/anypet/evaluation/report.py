"""Writes an evaluation down: tables, a row for each click, and how the masks get better with clicks.

A folder gets `rows.csv` (every click of every run), `summary.json` (all figures, with how they were made),
`summary.md` (tables) and `learning.png`. Each file is written under another name first, then renamed: a file
that is there is whole.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anypet.evaluation.metrics import METRICS
from anypet.evaluation.protocol import NOC_LEVELS, Row, Settings
from anypet.evaluation.statistics import Interval, summarise
from anypet.evaluation.summary import Line, Summary
from anypet.files import write_whole

if TYPE_CHECKING:
    from rich.table import Table

_FIELDS = (
    "system",
    "group",
    "patient",
    "case",
    "target",
    "kind",
    "seed",
    "click",
    "i",
    "j",
    "k",
    "positive",
    "seconds",
)
_SHOWN = ("dsc", "nsd", "hd95", "volume_error", "suvmean_error", "tlg_error")


def write_report(
    folder: Path | str, rows: Sequence[Row], summary: Summary, settings: Settings, about: Mapping[str, Any]
) -> list[Path]:
    """Writes all files of a report.

    Args:
        folder: made if it is not there; files of an earlier report in it are replaced.
        rows: of `evaluate_cases`.
        summary: of `summarise_rows`.
        settings: of the protocol.
        about: how the figures were made (model, weights, versions, data), for summary.json.

    Returns:
        The files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Callable[[], bytes]] = {
        "rows.csv": lambda: rows_csv(rows).encode(),
        "summary.json": lambda: summary_json(summary, about).encode(),
        "summary.md": lambda: markdown(summary, settings, about).encode(),
        "learning.png": lambda: learning_plot(rows),
    }
    return [write_whole(folder / name, make()) for name, make in content.items()]


def rows_csv(rows: Sequence[Row]) -> str:
    """A line for each click of each run; empty fields where nothing was measured or no click was needed."""
    metrics = list(dict.fromkeys([*METRICS, *(name for row in rows for name in row.values)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIELDS, *metrics])
    for row in rows:
        voxel = row.voxel or ("", "", "")
        positive = "" if row.positive is None else int(row.positive)
        about = (row.system, row.group, row.patient, row.case, row.target, row.kind, row.seed, row.click)
        values = [_number(row.values.get(name, math.nan)) for name in metrics]
        writer.writerow([*about, *voxel, positive, _number(row.seconds), *values])
    return text.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def summary_json(summary: Summary, about: Mapping[str, Any]) -> str:
    """All figures, with `about` first."""
    return json.dumps({"about": dict(about), **summary.as_dict()}, indent=2, allow_nan=False) + "\n"


def _interval(interval: Interval | None, digits: int) -> str:
    if interval is None or not interval.patients:
        return "–"
    mean, low, high = (f"{v:.{digits}f}" for v in (interval.mean, interval.low, interval.high))
    mark = "*" if interval.undefined else ""
    return f"{mean} [{low}, {high}]{mark}"


def _cells(line: Line, short: bool = False) -> list[str]:
    """A line's cells under `_header`; `short` gives intervals to the first metric only."""
    cells = [f"{line.system} ({line.note})" if line.note else line.system, str(line.click or "any")]
    for name in _SHOWN:
        interval, digits = line.metrics.get(name), 1 if name == "hd95" else 3
        cell = _interval(interval, digits)
        cells.append(cell.split(" ")[0] if short and name != _SHOWN[0] else cell)
    return [*cells, "–" if math.isnan(line.seconds) else f"{line.seconds:.2f}"]


def _header(settings: Settings) -> list[str]:
    return [
        "system",
        "clicks",
        "DSC",
        f"NSD {settings.tolerance_mm:g} mm",
        "HD95 mm",
        "volume error",
        "SUVmean error",
        "TLG error",
        "s/click",
    ]


def _sections(summary: Summary) -> dict[str, list[Line]]:
    sections: dict[str, list[Line]] = {}
    for line in summary.lines:
        sections.setdefault(f"{line.kind} ({line.group})", []).append(line)
    return sections


def _size(lines: Sequence[Line]) -> str:
    patients = max((line.metrics["dsc"].patients for line in lines), default=0)
    return f"{max(line.targets for line in lines)} targets of {patients} patients"


def rich_tables(summary: Summary, settings: Settings) -> list[Table]:
    """A table for each kind of target, shortened to fit a terminal."""
    from rich.box import SIMPLE
    from rich.table import Table

    tables = []
    for title, lines in _sections(summary).items():
        table = Table(title=f"{title}: {_size(lines)}", box=SIMPLE)
        table.add_column("system")
        for name in ("clicks", "DSC", f"NSD {settings.tolerance_mm:g}", "HD95", "volume", "s/click"):
            table.add_column(name, justify="right", no_wrap=True)
        previous = ""
        for line in lines:
            system, *cells = _cells(line, short=True)
            if previous and line.system != previous:
                table.add_section()
            del cells[5:7]  # the errors of uptake are in the other tables
            table.add_row("" if line.system == previous else system, *cells)
            previous = line.system
        tables.append(table)
    return tables


def markdown(summary: Summary, settings: Settings, about: Mapping[str, Any]) -> str:
    """The tables of a report, as text."""
    parts = ["# Evaluation\n"]
    parts += [f"- {key}: {value}" for key, value in about.items() if isinstance(value, str | int | float)]
    parts.append(
        "\nMeans over patients with 95 % bootstrap intervals (patients resampled). Errors are relative, with "
        "their sign. Thresholds are joined to the hottest point near each click (*clicked*) or in the true "
        "object (*told*), and per cent are of the SUV there. The *best SUV* is one for all these patients "
        "and was chosen on them; the *oracle* chooses a threshold for each object, with the truth in hand. "
        "\\*: rows without a finite value were left out.\n"
    )
    for title, lines in _sections(summary).items():
        parts.append(f"## {title}: {_size(lines)}\n")
        parts += _table(_header(settings), [_cells(line) for line in lines])
    last = settings.clicks[-1]
    parts.append(f"## Mean number of clicks needed (at most {last}; a run that fails counts as {last + 1})\n")
    header = ["target", "system", *(f"to DSC {level:.2f} (reached)" for level in NOC_LEVELS)]
    needed: dict[tuple[str, str], list[str]] = {}
    for n in summary.clicks_needed:
        cell = f"{_interval(n.clicks, 2)} ({n.reached:.0%})"
        needed.setdefault((f"{n.kind} ({n.group})", n.system), []).append(cell)
    parts += _table(header, [[*key, *cells] for key, cells in needed.items()])
    if summary.versus:
        parts.append(f"## Difference in DSC: {summary.versus[0].first} minus the other, same patients\n")
        header = ["target", "other", "clicks", "difference", "patients better"]
        parts += _table(
            header,
            [
                [
                    f"{v.kind} ({v.group})",
                    v.second,
                    str(v.click),
                    _interval(v.difference.interval, 3),
                    f"{v.difference.better:.0%}",
                ]
                for v in summary.versus
            ],
        )
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


def learning_plot(rows: Sequence[Row]) -> bytes:
    """Mean DSC over clicks with its 95 % band, a panel for each kind of target; a PNG.

    Systems that are told the truth, which clicks do not change, are dashed lines.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    kinds = list(dict.fromkeys((row.group, row.kind) for row in rows))
    systems = list(dict.fromkeys(row.system for row in rows))
    # strong colours first: the model and the first baselines, then their pale partners
    colours = colormaps["tab20"]([*range(0, 20, 2), *range(1, 20, 2)])
    columns = min(len(kinds), 4)
    lines = math.ceil(len(kinds) / columns)
    figure = Figure(figsize=(max(7.0, 4.0 * columns), 4.2 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, (group, kind) in zip(axes, kinds, strict=False):
        for number, system in enumerate(systems):
            chosen = [r for r in rows if (r.group, r.kind, r.system) == (group, kind, system)]
            _curve(axis, chosen, system, colours[number % len(colours)])
        axis.set(title=f"{kind} ({group})", xlabel="clicks", ylabel="mean DSC", ylim=(0, 1))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    for axis in axes[len(kinds) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    return image.getvalue()


def _curve(axis: Any, rows: Sequence[Row], system: str, colour: Any) -> None:
    if not rows:
        return
    clicks = sorted({row.click for row in rows})
    means = [
        summarise([r for r in rows if r.click == c], lambda r: r.values.get("dsc", math.nan)) for c in clicks
    ]
    if rows[0].told:
        axis.axhline(means[0].mean, ls="--", lw=1, color=colour, label=system)
        return
    axis.plot(clicks, [m.mean for m in means], "o-", color=colour, label=system, ms=3)
    axis.fill_between(clicks, [m.low for m in means], [m.high for m in means], color=colour, alpha=0.15, lw=0)
