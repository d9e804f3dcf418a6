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
        group, kind, system, click: what the line is about.
        targets: how many targets went in.
        seconds: median time of that click; NaN where no click was needed any more.
        metrics: metric name -> mean over patients and its 95 % interval.
    """

    group: str
    kind: str
    system: str
    click: int
    targets: int
    seconds: float
    metrics: dict[str, Interval]


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


def summarise_rows(rows: Sequence[Row], settings: Settings) -> Summary:
    """The figures of an evaluation; differences are those of the first system to each other one."""
    grouped = _grouped(rows)
    at_click = {
        (*key, click): [row for row in members if row.click == click]
        for key, members in grouped.items()
        for click in settings.clicks
    }
    lines = [_line(*key, members) for key, members in at_click.items() if members]
    needed = [n for key, members in grouped.items() for n in _clicks_needed(*key, members, settings)]
    versus = []
    for (group, kind, system, click), members in at_click.items():
        first = rows[0].system
        if system != first and (group, kind, first, click) in at_click:
            try:
                difference = paired_difference(at_click[group, kind, first, click], members, _value("dsc"))
            except AnyPETError:  # no patient has both
                continue
            versus.append(Versus(group, kind, first, system, click, difference))
    return Summary(lines, needed, versus)


def _line(group: str, kind: str, system: str, click: int, rows: list[Row]) -> Line:
    measured = [name for name in METRICS if any(name in row.values for row in rows)]
    seconds = [row.seconds for row in rows if math.isfinite(row.seconds)]
    return Line(
        group=group,
        kind=kind,
        system=system,
        click=click,
        targets=len({(row.case, row.target) for row in rows}),
        seconds=float(np.median(seconds)) if seconds else math.nan,
        metrics={name: summarise(rows, _value(name)) for name in measured},
    )


def _clicks_needed(
    group: str, kind: str, system: str, rows: list[Row], settings: Settings
) -> list[ClicksNeeded]:
    """Of a system that was run click by click (the best fixed threshold is not: it has no count)."""
    runs: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        runs[row.case, row.target, row.seed].append(row)
    complete = [sorted(run, key=lambda row: row.click) for run in runs.values()]
    if any([row.click for row in run] != list(range(1, settings.clicks[-1] + 1)) for run in complete):
        return []
    found = []
    for level in NOC_LEVELS:
        counts = {id(run[-1]): number_of_clicks([r.values["dsc"] for r in run], level) for run in complete}
        interval = summarise([run[-1] for run in complete], lambda row: counts[id(row)])  # noqa: B023
        reached = float(np.mean([count <= settings.clicks[-1] for count in counts.values()]))
        found.append(ClicksNeeded(group, kind, system, level, interval, reached))
    return found
