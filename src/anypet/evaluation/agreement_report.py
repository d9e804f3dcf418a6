"""Writes an agreement study down: a row for each reading and pair, the summary, plots.

A folder gets `pairs.csv`, `readings.csv`, `summary.csv` (limits of agreement), `agreement.json`, and as plots
`overlap.png`, `bland_altman_FIRST_SECOND.png` and, with timers, `times.png`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anypet.evaluation.agreement import MEASURES, PairAgreement, PairSummary, Reading, Summary, pair_names
from anypet.evaluation.annotation_time import Saving, Timer
from anypet.evaluation.reliability import BlandAltman
from anypet.files import write_whole


def write_agreement(
    folder: Path,
    readings: Sequence[Reading],
    pairs: Sequence[PairAgreement],
    summary: Summary,
    about: Mapping[str, Any],
    *,
    timers: Sequence[Timer] = (),
    savings: Sequence[Saving] = (),
    reference: str = "",
) -> list[Path]:
    """Writes all files.

    Args:
        folder: made if it is not there; files of an earlier report in it are replaced.
        readings, pairs, summary: from `agreement`; may be empty where there are only timers.
        about: how the figures were made, for agreement.json.
        timers, savings, reference: of the study of annotation times, if there is one.

    Returns:
        The files written.
    """
    from anypet.evaluation import agreement_plots as plots

    folder.mkdir(parents=True, exist_ok=True)
    told = {"about": dict(about), **summary_dict(summary, savings)}
    content = {"agreement.json": (json.dumps(told, indent=2, allow_nan=False) + "\n").encode()}
    if pairs:
        content["pairs.csv"] = _csv(_PAIRS, map(_pair_row, pairs))
        content["readings.csv"] = _csv(_READINGS, (list(asdict(r).values()) for r in readings))
        content["summary.csv"] = _csv(_LIMITS, _limit_rows(summary))
        content["overlap.png"] = plots.overlap_plot(pairs, summary)
        for first, second in dict.fromkeys((p.first, p.second) for p in summary.pairs):
            content[f"bland_altman_{_file_name(first)}_{_file_name(second)}.png"] = plots.bland_altman_plot(
                readings, summary, first, second
            )
    if savings:
        content["times.csv"] = _csv(_TIMES, map(_saving_row, savings))
        content["times.png"] = plots.times_plot(timers, savings, reference)
    return [write_whole(folder / name, data) for name, data in content.items()]


def _file_name(reader: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", reader)


_PAIRS = (
    "case", "target", "first", "second", "dsc", "nsd", "hd95_mm", "lesions_first", "lesions_second",
    "lesions_matched", "lesion_agreement", "matched_lesions_dsc",
)  # fmt: skip


def _pair_row(p: PairAgreement) -> list[object]:
    m = p.lesions
    lesions = [m.first, m.second, m.matched, m.agreement, m.dsc]
    return [p.case, p.target, p.first, p.second, p.dsc, p.nsd, p.hd95, *lesions]


_READINGS = (
    "case", "target", "reader", "volume_ml", "suvmean", "tlg", "lesions", "staple_sensitivity",
    "staple_specificity", "dsc_consensus",
)  # fmt: skip
_LIMITS = (
    "target", "first", "second", "measure", "unit", "cases", "bias", "bias_low", "bias_high", "sd",
    "lower_limit", "lower_limit_low", "lower_limit_high", "upper_limit", "upper_limit_low",
    "upper_limit_high",
)  # fmt: skip


def _limit_rows(summary: Summary) -> Iterable[list[object]]:
    for p in summary.pairs:
        for name, both in p.limits.items():
            for unit, limits in zip(("absolute", "percent of mean"), both, strict=True):
                ends = [v for e in (limits.lower, limits.upper) for v in (e.value, e.low, e.high)]
                bias = [limits.bias.value, limits.bias.low, limits.bias.high, limits.sd]
                yield [p.target, p.first, p.second, name, unit, limits.cases, *bias, *ends]


_TIMES = (
    "reader", "method", "cases", "reference_seconds", "seconds", "share_saved", "share_saved_low",
    "share_saved_high", "seconds_saved", "seconds_saved_low", "seconds_saved_high",
)  # fmt: skip


def _saving_row(s: Saving) -> list[object]:
    return [s.reader, s.method, s.cases, s.reference_seconds, s.seconds, *s.share, *s.saved_seconds]


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def summary_dict(summary: Summary, savings: Sequence[Saving] = ()) -> dict[str, Any]:
    """The summary as JSON takes it: numbers that are not finite are None."""
    told: dict[str, Any] = {"pairs": [_pair_dict(p) for p in summary.pairs]}
    told["icc"] = [
        {
            "target": target,
            "measure": name,
            **asdict(found.estimate),
            "cases": found.cases,
            "readers": found.readers,
        }
        for (target, name), found in summary.icc.items()
    ]
    if savings:
        told["annotation_time"] = [asdict(s) for s in savings]
    clean: dict[str, Any] = _finite(told)
    return clean


def _pair_dict(p: PairSummary) -> dict[str, Any]:
    return {
        "target": p.target,
        "first": p.first,
        "second": p.second,
        "dsc": asdict(p.dsc),
        "nsd": asdict(p.nsd),
        "lesion_agreement": p.lesions,
        "limits_of_agreement": {
            name: {"absolute": asdict(absolute), "percent": asdict(percent)}
            for name, (absolute, percent) in p.limits.items()
        },
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def limits_text(limits: BlandAltman, digits: int = 1) -> str:
    """ "+1.2 [-3.4, +5.8]": bias and limits of agreement."""
    if math.isnan(limits.lower.value):
        return "–" if math.isnan(limits.bias.value) else f"{limits.bias.value:+.{digits}f}"
    ends = f"{limits.lower.value:+.{digits}f}, {limits.upper.value:+.{digits}f}"
    return f"{limits.bias.value:+.{digits}f} [{ends}]"


def rich_tables(summary: Summary, savings: Sequence[Saving]) -> list[Any]:
    """Tables for a terminal."""
    tables = [_overlap_table(summary), _limits_table(summary)] if summary.pairs else []
    reliable = [(key, found) for key, found in summary.icc.items() if not math.isnan(found.estimate.value)]
    if reliable:
        title = "ICC(2,1), absolute agreement of single readers, 95 % intervals"
        table = _table(title, ("target", "measure"), ("ICC", "cases", "readers"))
        for (target, name), found in reliable:
            e = found.estimate
            ends = f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"
            table.add_row(target, MEASURES[name], ends, str(found.cases), str(found.readers))
        tables.append(table)
    if savings:
        tables.append(_times_table(savings))
    return tables


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, box=SIMPLE, title_justify="left")
    for column in left:
        table.add_column(column)
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _overlap_table(summary: Summary) -> Any:
    title = "Overlap (means over cases, 95 % intervals) and share of lesions matched"
    table = _table(title, ("readers",), ("DSC", "NSD", "lesions"))
    for name, p in zip(pair_names(summary), summary.pairs, strict=True):
        table.add_row(name, str(p.dsc), str(p.nsd), "–" if math.isnan(p.lesions) else f"{p.lesions:.2f}")
    return table


def _limits_table(summary: Summary) -> Any:
    title = "First minus second reader: bias and limits of agreement, % of the mean"
    table = _table(title, ("readers", "measure"), ("cases", "bias", "95 % limits"))
    for name, p in zip(pair_names(summary), summary.pairs, strict=True):
        for measure, (_, percent) in p.limits.items():
            bias, _, limits = limits_text(percent).partition(" ")
            table.add_row(name, MEASURES[measure], str(percent.cases), bias, limits.strip("[]") or "–")
    return table


def _times_table(savings: Sequence[Saving]) -> Any:
    table = _table(
        "Annotation time saved (medians, 95 % intervals)",
        ("reader", "method"),
        ("cases", "before", "after", "saved", "saved s"),
    )
    for s in savings:
        share = "{:.1%} [{:.1%}, {:.1%}]".format(*s.share)
        times = f"{s.reference_seconds:.0f} s", f"{s.seconds:.0f} s"
        table.add_row(s.reader, s.method, str(s.cases), *times, share, f"{s.saved_seconds[0]:.0f}")
    return table
