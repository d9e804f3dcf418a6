"""Writes the protocol's results down: a table, rows of each step and case, and curves over the steps."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anypet.autopet.protocol import OFFICIAL, Measured, Score, Step, case_scores, step_means, summarise_scores
from anypet.files import write_whole

if TYPE_CHECKING:
    from rich.table import Table

_NAMES = {"dsc": "Dice", "fpv": "FPV (mL)", "fnv": "FNV (mL)", "dmm": "DMM", "f1": "lesion F1"}
_BEST = {"dsc": "higher", "fpv": "lower", "fnv": "lower", "dmm": "higher", "f1": "higher"}


def write_report(
    folder: Path | str, rows: Sequence[Step], about: Mapping[str, Any], *, normalised: bool = False
) -> list[Path]:
    """Writes steps.csv, cases.csv, summary.json and steps.png; files of an earlier report are replaced.

    Args:
        folder: made if it is not there.
        rows: all steps of all cases.
        about: how they were made, for summary.json.
        normalised: areas as mean heights.

    Returns:
        The files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scores = case_scores(rows, normalised=normalised)
    return [
        write_whole(folder / "steps.csv", steps_csv(rows)),
        write_whole(folder / "cases.csv", cases_csv(scores)),
        write_whole(folder / "summary.json", summary_json(summarise_scores(scores), rows, about)),
        write_whole(folder / "steps.png", steps_plot(rows)),
    ]


def steps_csv(rows: Sequence[Step]) -> str:
    """A line for each step of each case; empty fields where a value is not defined."""
    lines = [
        {"case": r.case, "patient": r.patient, "step": r.step, **r.values, "seconds": r.seconds} for r in rows
    ]
    return _csv(lines)


def cases_csv(scores: Sequence[Measured]) -> str:
    """A line for each case with all its numbers; empty fields where a value is not defined."""
    return _csv([{"case": s.case, "patient": s.patient, **s.values} for s in scores])


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({key: _cell(value) for key, value in line.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value


def summary_json(scores: Sequence[Score], rows: Sequence[Step], about: Mapping[str, Any]) -> str:
    """All figures, with `about` first: numbers over all cases, and the mean of each value at each step."""
    content = {
        "about": dict(about),
        "scores": {s.name: {"official": s.name in OFFICIAL, **asdict(s)} for s in scores},
        "steps": {name: [asdict(i) for i in step_means(rows, name)] for name in _NAMES},
    }
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """NaN as None, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def rich_table(scores: Sequence[Score], rows: Sequence[Step]) -> Table:
    """The numbers over all cases; the challenge's six first."""
    from rich.box import SIMPLE
    from rich.table import Table

    last = max(row.step for row in rows)
    patients = len({row.patient for row in rows})
    title = f"{len({row.case for row in rows})} cases of {patients} patients, {last + 1} steps"
    table = Table(title=title, box=SIMPLE)
    table.add_column("")
    for column in ("mean over cases", "cases", "mean over patients [95 %]"):
        table.add_column(column, justify="right", no_wrap=True)
    for number, score in enumerate(scores):
        if number == len(OFFICIAL):
            table.add_section()
        mean = "-" if math.isnan(score.mean) else f"{score.mean:.3f}"
        table.add_row(_title(score.name, last), mean, str(score.cases), str(score.interval))
    return table


def _title(name: str, last: int) -> str:
    if name.startswith("auc_"):
        return f"area under {_NAMES[name.removeprefix('auc_')]}"
    return f"{_NAMES[name.removesuffix('_last')]} at step {last}"


def steps_plot(rows: Sequence[Step]) -> bytes:
    """Mean over patients with its 95 % band at every step, a panel for each value; a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(3.2 * len(_NAMES), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (name, title) in zip(figure.subplots(1, len(_NAMES)), _NAMES.items(), strict=True):
        means = step_means(rows, name)
        steps = range(len(means))
        axis.plot(steps, [m.mean for m in means], "o-", ms=3)
        axis.fill_between(steps, [m.low for m in means], [m.high for m in means], alpha=0.2, lw=0)
        axis.set(title=f"{title}, {_BEST[name]} is better", xlabel="clicks of either kind")
        axis.set_ylim(bottom=0, top=1 if _BEST[name] == "higher" else None)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    return image.getvalue()
