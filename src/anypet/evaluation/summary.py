"""From rows to the figures that are reported: one line for each system, kind of target and click count."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anypet.errors import AnyPETError
from anypet.evaluation.metrics import METRICS
from anypet.evaluation.protocol import NOC_LEVELS, Row, Settings, number_of_clicks
from anypet.evaluation.statistics import Difference, Interval, paired_difference, summarise


@dataclass(frozen=True)
class Line:
    """A system on one kind of target after so many clicks.

    Args:
        group, kind, system, click: what the line is about; click 0 for a system that is told.
        targets: how many targets went in.
        seconds: median time of that click; NaN where no click was needed any more.
        metrics: metric name -> mean over patients and its 95 % interval.
        note: the SUV of the best fixed threshold.
    """

    group: str
    kind: str
    system: str
    click: int
    targets: int
    seconds: float
    metrics: dict[str, Interval]
    note: str = ""


@dataclass(frozen=True)
class ClicksNeeded:
    """Mean number of clicks to a Dice level; a run that never gets there counts as one more than given."""

    group: str
    kind: str
    system: str
    level: float
    clicks: Interval
    reached: float


@dataclass(frozen=True)
class Versus:
    """Paired difference in Dice, first system minus second, on the same patients after as many clicks."""

    group: str
    kind: str
    first: str
    second: str
    click: int
    difference: Difference


@dataclass(frozen=True)
class Summary:
    """All figures of an evaluation."""

    lines: list[Line]
    clicks_needed: list[ClicksNeeded]
    versus: list[Versus]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: nested lists and dicts, NaN and infinities as None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


Group = tuple[str, str, str]


def _grouped(rows: Iterable[Row]) -> dict[Group, list[Row]]:
    """(group, kind, system) -> its rows, kinds and systems in order of appearance."""
    grouped: dict[Group, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.group, row.kind, row.system].append(row)
    kinds = list(dict.fromkeys(key[:2] for key in grouped))
    return {key: grouped[key] for kind in kinds for key in grouped if key[:2] == kind}


def _value(metric: str) -> Any:
    return lambda row: row.values.get(metric, math.nan)


def summarise_rows(rows: Sequence[Row], settings: Settings, first: str | None = None) -> Summary:
    """The figures of an evaluation.

    Args:
        rows: of `evaluate_cases`.
        settings: that they were made with.
        first: the system whose differences to all others are wanted.
    """
    grouped = _grouped(rows)
    lines, needed = [], []
    for key, members in grouped.items():
        told = members[0].told
        for click in (0,) if told else settings.clicks:
            lines.append(_line(*key, click, [row for row in members if row.click == click]))
        needed += [] if told else _clicks_needed(*key, members, settings)
    return Summary(lines, needed, _versus(grouped, settings, first) if first else [])


def _line(group: str, kind: str, system: str, click: int, rows: list[Row]) -> Line:
    measured = [name for name in METRICS if any(name in row.values for row in rows)]
    seconds = [row.seconds for row in rows if math.isfinite(row.seconds)]
    levels = {row.values["threshold_suv"] for row in rows if "threshold_suv" in row.values}
    return Line(
        group=group,
        kind=kind,
        system=system,
        click=click,
        targets=len({(row.case, row.target) for row in rows}),
        seconds=float(np.median(seconds)) if seconds else math.nan,
        metrics={name: summarise(rows, _value(name)) for name in measured},
        note=f"{levels.pop():g}" if len(levels) == 1 else "",
    )


def _versus(grouped: dict[Group, list[Row]], settings: Settings, first: str) -> list[Versus]:
    """The first system after so many clicks against each other one after as many, or told."""
    found = []
    for (group, kind, system), members in grouped.items():
        own = grouped.get((group, kind, first), [])
        for click in settings.clicks if own and system != first else ():
            mine = [row for row in own if row.click == click]
            theirs = [row for row in members if row.told or row.click == click]
            try:
                difference = paired_difference(mine, theirs, _value("dsc"))
            except AnyPETError:  # no patient has both
                continue
            found.append(Versus(group, kind, first, system, click, difference))
    return found


def _clicks_needed(
    group: str, kind: str, system: str, rows: list[Row], settings: Settings
) -> list[ClicksNeeded]:
    runs: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        runs[row.case, row.target, row.seed].append(row)
    complete = [sorted(run, key=lambda row: row.click) for run in runs.values()]
    found = []
    for level in NOC_LEVELS:
        counts = {id(run[-1]): number_of_clicks([r.values["dsc"] for r in run], level) for run in complete}
        interval = summarise([run[-1] for run in complete], lambda row: counts[id(row)])  # noqa: B023
        reached = float(np.mean([count <= settings.clicks[-1] for count in counts.values()]))
        found.append(ClicksNeeded(group, kind, system, level, interval, reached))
    return found
