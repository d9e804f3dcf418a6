"""The paper's Tables 1, 2, 5, 6 and 7 from the rows of a benchmark, and one table of every figure.

| table | what it holds | targets |
|---|---|---|
| 1 | DSC on one's own data | liver, kidneys, heart, spleen |
| 2 | the same, organs that SegAnyPET was not trained on | every other organ |
| 5 | the same on data of elsewhere (`--external`) | every organ |
| 6 | CT against PET: the mean over Table 1's organs | cases with a CT |
| 7 | tumours and lesions | |

In each, systems with clicks have a line for each number of clicks, 2D ones for N, 3N and 5N points, N being
the slices that show the object.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anypet.baselines.base import Kind
from anypet.baselines.jobs import Outcome
from anypet.baselines.names import canonical, is_tumour
from anypet.baselines.registry import baseline
from anypet.evaluation.protocol import Row, Settings, number_of_clicks
from anypet.evaluation.statistics import Interval, patient_means, summarise

LEVEL = 0.85
VISIBLE = ("liver", "left kidney", "right kidney", "heart", "spleen")


@dataclass(frozen=True)
class Line:
    """A system on one kind of target with so many prompts.

    Args:
        group: where the cases come from.
        kind: of target, in one spelling.
        system, prompt: as they stand in a table.
        targets: how many.
        metrics: "dsc", "nsd", "hd95" -> mean over patients with its interval.
        clicks: to a DSC of 0.85, one more than given where it is not reached; None without clicks.
        seconds_click, seconds_case: medians: of a click, and of all that a target took up to here.
        peak_mb: of the system's process.
        difference: of DSC, default model minus this one, same patients; None for the default itself.
        p: of Wilcoxon's signed-rank test on that, NaN with fewer than two patients.
    """

    group: str
    kind: str
    system: str
    prompt: str
    targets: int
    metrics: Mapping[str, Interval]
    clicks: Interval | None
    seconds_click: float
    seconds_case: float
    peak_mb: float
    difference: Interval | None
    p: float


@dataclass(frozen=True)
class Missing:
    """A system that could not be run, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Table:
    """A table as it is printed: header and cells, and what is not in it."""

    number: str
    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""


def lines_of(outcomes: Sequence[Outcome], settings: Settings, first: str) -> list[Line]:
    """All lines, systems in the order of the outcomes.

    Args:
        outcomes: of `run_jobs`.
        settings: that they were made with.
        first: name of the system that all others are compared with.
    """
    keyed: dict[tuple[str, str, str], list[Row]] = {}
    of: dict[str, Outcome] = {}
    for outcome in outcomes:
        for row in outcome.rows:
            keyed.setdefault((row.group, canonical(row.kind), row.system), []).append(row)
            of[row.system] = outcome
    order = list(of)
    places = list(dict.fromkeys(key[:2] for key in keyed))
    lines = []
    for group, kind in places:
        own = keyed.get((group, kind, first), [])
        for system in order:
            members = keyed.get((group, kind, system), [])
            for click in sorted({row.click for row in members} & {0, *settings.clicks}):
                lines.append(_line(members, click, settings, of[system], own if system != first else []))
    return lines


def _line(members: list[Row], click: int, settings: Settings, outcome: Outcome, own: list[Row]) -> Line:
    rows = [row for row in members if row.click == click]
    prompt, beside = prompt_of(rows[0], outcome.kind, settings)
    other = [row for row in own if row.click == (click or beside)]
    difference, p = paired(other, rows)
    spent = _spent(members, click)
    of_click = [row.seconds for row in rows if math.isfinite(row.seconds)]
    points = [row.values["points"] for row in rows if "points" in row.values]
    if points:
        of_click = [row.seconds / row.values["points"] for row in rows]
    return Line(
        rows[0].group,
        canonical(rows[0].kind),
        rows[0].system.rsplit(", ", 1)[0] if outcome.kind in ("slices", "classical") else rows[0].system,
        prompt,
        len({(row.case, row.target) for row in rows}),
        {name: summarise(rows, _value(name)) for name in ("dsc", "nsd", "hd95")},
        _needed(members, settings) if click else None,
        float(np.median(of_click)) if of_click and outcome.kind != "automatic" else math.nan,
        float(np.median(spent)) if spent else math.nan,
        outcome.peak_mb,
        difference,
        p,
    )


def prompt_of(row: Row, kind: Kind, settings: Settings) -> tuple[str, int]:
    """What stands under "prompt", and after how many clicks the default model is set beside it.

    3N points in 2D are set beside 3 points in 3D, as in the paper; what has no clicks, beside the first.
    """
    if row.click:
        return f"{row.click} point{'s' if row.click > 1 else ''}", row.click
    prompt = row.system.rsplit(", ", 1)[-1] if kind in ("slices", "classical") else "auto"
    each = prompt.removesuffix(" points").removesuffix("N")
    beside = int(each) if each.isdigit() else settings.clicks[0]
    return prompt, beside if beside in settings.clicks else settings.clicks[0]


def paired(first: Iterable[Row], second: Iterable[Row]) -> tuple[Interval | None, float]:
    """First minus second in DSC on the patients that both have, and Wilcoxon's p; None without any."""
    from scipy.stats import wilcoxon

    from anypet.evaluation.statistics import bootstrap

    a, b = patient_means(first, _value("dsc"))[0], patient_means(second, _value("dsc"))[0]
    differences = {name: a[name] - b[name] for name in sorted(a.keys() & b.keys())}
    if not differences:
        return None, math.nan
    values = np.array([*differences.values()])
    p = float(wilcoxon(values).pvalue) if len(values) > 1 and values.any() else math.nan
    return bootstrap(differences), p


def _value(name: str) -> Callable[[Row], float]:
    return lambda row: row.values.get(name, math.nan)


def _spent(members: list[Row], click: int) -> list[float]:
    """Seconds that each run took up to a click; without clicks, those of its one row."""
    total: dict[tuple[str, str, int], float] = {}
    for row in members:
        if row.click <= click and math.isfinite(row.seconds):
            key = (row.case, row.target, row.seed)
            total[key] = total.get(key, 0.0) + row.seconds
    return list(total.values())


def _needed(members: list[Row], settings: Settings) -> Interval:
    runs: dict[tuple[str, str, int], list[Row]] = {}
    for row in sorted(members, key=lambda row: row.click):
        runs.setdefault((row.case, row.target, row.seed), []).append(row)
    counts = {id(run[-1]): number_of_clicks([r.values["dsc"] for r in run], LEVEL) for run in runs.values()}
    return summarise([run[-1] for run in runs.values()], lambda row: counts[id(row)])


def missing_of(outcomes: Sequence[Outcome]) -> list[Missing]:
    """The systems that were not run, in order."""
    return [Missing(outcome.name, outcome.refused) for outcome in outcomes if outcome.refused]


def paper_tables(lines: Sequence[Line], missing: Sequence[Missing], external: Sequence[str]) -> list[Table]:
    """The paper's tables for the data at hand; one without any line says what it needs.

    Args:
        lines: of `lines_of`.
        missing: listed under each table that has lines.
        external: groups that count as data of elsewhere.
    """
    inside = [line for line in lines if line.group not in external]
    outside = [line for line in lines if line.group in external]
    organs = [line for line in inside if not is_tumour(line.kind)]
    tables = []
    for number, title, chosen, need in (
        ("1", "organs that SegAnyPET was trained on", [v for v in organs if v.kind in VISIBLE], "cases with "
         f"targets named {', '.join(VISIBLE)}"),
        ("2", "other organs", [v for v in organs if v.kind not in VISIBLE], "cases with other organs"),
        ("5", "organs, data of elsewhere", [v for v in outside if not is_tumour(v.kind)],
         "a list given by --external"),
        ("7", "tumours and lesions", [v for v in lines if is_tumour(v.kind)], "cases with tumours"),
    ):  # fmt: skip
        tables.append(_by_kind(number, title, chosen, missing, need))
    tables.insert(3, _ct_table([v for v in organs if v.kind in VISIBLE], missing))
    return tables


def _by_kind(number: str, title: str, lines: Sequence[Line], missing: Sequence[Missing], need: str) -> Table:
    """DSC by target, a row for each system and prompt, with the mean over targets that all of them have."""
    if not lines:
        return Table(number, title, [], [], f"not written: it needs {need}")
    kinds = sorted(
        dict.fromkeys(line.kind for line in lines),
        key=lambda k: (VISIBLE.index(k) if k in VISIBLE else 99, k),
    )
    cells: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        cells.setdefault((line.system, line.prompt), {})[line.kind] = line
    rows = []
    for (system, prompt), found in cells.items():
        means = [found[kind].metrics["dsc"].mean for kind in kinds if kind in found]
        mean = f"{float(np.mean(means)):.3f}" if len(means) == len(kinds) else "–"
        rows.append([system, prompt, *(_dsc(found.get(kind)) for kind in kinds), mean])
    rows += [[each.name, "not run", *["–"] * (len(kinds) + 1)] for each in missing]
    return Table(number, title, ["system", "prompt", *kinds, "mean"], rows)


def _dsc(line: Line | None) -> str:
    return "–" if line is None else interval_text(line.metrics["dsc"], 3)


def _ct_table(lines: Sequence[Line], missing: Sequence[Missing]) -> Table:
    """Table 6: the mean over organs, of systems that read the CT and of those that read the PET."""
    title = "segmentation of the CT against that of the PET"
    ct = [line for line in lines if line.system.endswith(" (CT)")]
    absent = [each for each in missing if baseline(each.name).image == "CT"]
    if not ct:
        reasons = "".join(f"; {each.name}: {each.reason}" for each in absent)
        return Table("6", title, [], [], f"not written: no system read a CT of these organs{reasons}")
    kinds = {line.kind for line in ct}
    table = _by_kind("6", title, [line for line in lines if line.kind in kinds], (), "")
    rows = [[row[0], "CT" if row[0].endswith(" (CT)") else "PET", row[1], row[-1]] for row in table.rows]
    rows += [[each.name, "CT", "not run", "–"] for each in absent]
    return Table("6", title, ["system", "image", "prompt", f"mean DSC of {len(kinds)} organs"], rows)


def full_table(lines: Sequence[Line], settings: Settings, first: str) -> Table:
    """Every figure of every line."""
    header = [
        "data", "target", "system", "prompt", "targets", "patients", "DSC",
        f"NSD {settings.tolerance_mm:g} mm", "HD95 mm", f"clicks to {LEVEL}", "s/click", "s/case", "peak MB",
        f"{first or 'default'} minus it", "p",
    ]  # fmt: skip
    rows = []
    for line in lines:
        dsc = line.metrics["dsc"]
        rows.append(
            [
                line.group, line.kind, line.system, line.prompt, str(line.targets), str(dsc.patients),
                interval_text(dsc, 3), interval_text(line.metrics["nsd"], 3),
                interval_text(line.metrics["hd95"], 1),
                "–" if line.clicks is None else interval_text(line.clicks, 2),
                _number(line.seconds_click, 2), _number(line.seconds_case, 2), _number(line.peak_mb, 0),
                "–" if line.difference is None else interval_text(line.difference, 3), _p(line.p),
            ]
        )  # fmt: skip
    return Table("", "every figure", header, rows)


def interval_text(interval: Interval, digits: int) -> str:
    """ "mean [low, high]", with a star where rows without a finite value were left out."""
    if not interval.patients:
        return "–"
    mean, low, high = (f"{v:.{digits}f}" for v in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]{'*' if interval.undefined else ''}"


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def markdown_table(table: Table) -> str:
    """A table with its title, as Markdown."""
    title = f"## Table {table.number}: {table.title}" if table.number else f"## {table.title.capitalize()}"
    if not table.header:
        return f"{title}\n\n{table.note}\n"
    lines: list[Any] = [table.header, ["---"] * len(table.header), *table.rows]
    text = "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)
    return f"{title}\n\n{text}\n" + (f"\n{table.note}\n" if table.note else "")


def csv_table(table: Table) -> str:
    """A table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.header, *table.rows])
    return text.getvalue()
