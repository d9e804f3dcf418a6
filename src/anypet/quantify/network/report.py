"""Writes an analysis down: tables (CSV), the numbers and how they were made (JSON), figures (PNG)."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from anypet.files import write_whole
from anypet.quantify.network.analysis import Analysis, Network, Settings
from anypet.quantify.network.covariance import fisher_z, interval, pairs

Rows = Iterable[Sequence[object]]


def write_report(
    folder: Path, analysis: Analysis, settings: Settings, about: Mapping[str, Any], figures: bool = True
) -> list[Path]:
    """Writes all files of a report.

    Args:
        folder: made if it is not there; files of an earlier report in it are replaced.
        analysis: what was found.
        settings: how.
        about: where the figures come from (table, versions), for network.json.
        figures: whether to draw.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {"network.json": _json(analysis, settings, about), **tables(analysis)}
    if figures:
        content |= pictures(analysis, settings)
    return [write_whole(folder / name, data) for name, data in content.items()]


def tables(analysis: Analysis) -> dict[str, bytes]:
    """File name -> CSV."""
    files: dict[str, bytes] = {}
    for network in analysis.networks:
        end = _suffix(network)
        rows = ([o, *map(_number, line)] for o, line in zip(network.organs, network.correlation, strict=True))
        files[f"correlation{end}.csv"] = _csv(["organ", *network.organs], rows)
        files[f"edges{end}.csv"] = _csv(_EDGES, _edges(network))
        files[f"organs{end}.csv"] = _csv(_ORGANS, _organs(network))
    if analysis.comparison:
        files["difference_edges.csv"] = _csv(_DIFFERENCE, _differences(analysis))
        files["difference_organs.csv"] = _csv(_STRENGTH, _strengths(analysis))
    if analysis.deviations:
        files["deviation.csv"] = _csv(_SUBJECTS, _subjects(analysis))
        files["deviation_organs.csv"] = _csv(_SUBJECT_ORGANS, _subject_organs(analysis))
    return files


def pictures(analysis: Analysis, settings: Settings) -> dict[str, bytes]:
    """File name -> PNG."""
    from anypet.quantify.network import figures

    files: dict[str, bytes] = {}
    for network in analysis.networks:
        end = _suffix(network)
        files[f"matrix{end}.png"] = figures.matrix_figure(network, settings.level)
        files[f"circle{end}.png"] = figures.circle_figure(network)
        files[f"body{end}.png"] = figures.body_figure(network)
    if analysis.comparison:
        first, second = analysis.networks
        files["difference.png"] = figures.difference_figure(
            analysis.comparison, (first, second), settings.level
        )
    if analysis.deviations:
        files["deviation.png"] = figures.deviation_figure(
            analysis.deviations, analysis.organs, settings.level
        )
    return files


def _suffix(network: Network) -> str:
    """What a group's files end in."""
    return f"_{re.sub(r'[^A-Za-z0-9.-]+', '-', network.name)}" if network.name else ""


_EDGES = ("organ_a", "organ_b", "r", "r_low", "r_high", "fisher_z", "p", "p_family_wise", "p_fdr", "weight")


def _edges(network: Network) -> Rows:
    """All pairs, the strongest first."""
    r = pairs(network.correlation)
    low, high = interval(r, network.error)
    values = (r, low, high, fisher_z(r), *_p(network.edges), pairs(network.weights))
    table = np.column_stack(values)
    names = _pair_names(network.organs)
    return [[*names[n], *map(_number, table[n])] for n in np.argsort(-np.abs(r), kind="stable")]


_ORGANS = ("organ", "community", "degree", "strength", "clustering", "betweenness")


def _organs(network: Network) -> Rows:
    """Organs by community, the strongest first."""
    ranked = sorted(network.nodes.items(), key=lambda item: (item[1].community, -item[1].strength))
    for organ, m in ranked:
        values = (m.strength, m.clustering, m.betweenness)
        yield [organ, m.community, m.degree, *map(_number, values)]


_DIFFERENCE = ("organ_a", "organ_b", "r_first", "r_second", "difference_z", "p", "p_family_wise", "p_fdr")


def _differences(analysis: Analysis) -> Rows:
    c = analysis.comparison
    assert c is not None
    one, other = (pairs(matrix) for matrix in c.correlations)
    table = np.column_stack((one, other, c.difference, *_p(c.edges)))
    names = _pair_names(analysis.organs)
    return [[*names[n], *map(_number, table[n])] for n in np.argsort(-np.abs(c.difference), kind="stable")]


_STRENGTH = ("organ", "strength_first", "strength_second", "difference", "p", "p_family_wise", "p_fdr")


def _strengths(analysis: Analysis) -> Rows:
    c, (first, second) = analysis.comparison, analysis.networks
    assert c is not None
    table = np.column_stack((first.weights.sum(0), second.weights.sum(0), c.strength, *_p(c.nodes)))
    order = np.argsort(-np.abs(c.strength), kind="stable")
    return [[analysis.organs[n], *map(_number, table[n])] for n in order]


_SUBJECTS = ("subject", "group", "deviation", "p", "organ", "organ_deviation", "organ_p_family_wise")


def _subjects(analysis: Analysis) -> Rows:
    """Subjects, the most deviant first, each with its most deviant organ."""
    for d in sorted(analysis.deviations, key=lambda d: -d.total):
        worst = int(np.argmax(d.organs))
        ends = (_number(d.organs[worst]), _number(d.organ_p[worst]))
        yield [d.subject, d.group, _number(d.total), _number(d.total_p), analysis.organs[worst], *ends]


_SUBJECT_ORGANS = ("subject", "group", "organ", "uptake_z", "deviation", "p_family_wise")


def _subject_organs(analysis: Analysis) -> Rows:
    for d in analysis.deviations:
        for n, organ in enumerate(analysis.organs):
            yield [d.subject, d.group, organ, *map(_number, (d.uptake[n], d.organs[n], d.organ_p[n]))]


def _pair_names(organs: Sequence[str]) -> list[tuple[str, str]]:
    return list(itertools.combinations(organs, 2))  # in the order of `covariance.pairs`


def _p(values: Any) -> tuple[Any, Any, Any]:
    return values.p, values.family_wise, values.fdr


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _csv(header: Sequence[str], rows: Rows) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def summary(analysis: Analysis, settings: Settings) -> dict[str, Any]:
    """The numbers that a reader asks for first; NaN is None."""
    told: dict[str, Any] = {
        "settings": {
            **asdict(settings.estimator),
            **asdict(settings.threshold),
            "permutations": settings.permutations,
            "graph_permutations": settings.graph_permutations,
            "seed": settings.seed,
            "level": settings.level,
        },
        "organs": list(analysis.organs),
        "covariates": list(analysis.covariates),
        "networks": [_network(network, settings.level) for network in analysis.networks],
    }
    if analysis.comparison and analysis.measures:
        told["comparison"] = _comparison(analysis, settings.level)
    if analysis.deviations:
        told["deviation"] = {
            "reference": analysis.reference,
            "subjects": len(analysis.deviations),
            "significant": sum(d.total_p <= settings.level for d in analysis.deviations),
        }
    clean: dict[str, Any] = _finite(told)
    return clean


def _network(network: Network, level: float) -> dict[str, Any]:
    parts: dict[int, list[str]] = {}
    for organ, number in zip(network.organs, network.community, strict=True):
        parts.setdefault(number, []).append(organ)
    return {
        "group": network.name,
        "subjects": network.subjects,
        "significant_edges": {
            "family_wise": int((network.edges.family_wise <= level).sum()),
            "fdr": int((network.edges.fdr <= level).sum()),
            "tested": len(network.edges.p),
        },
        "graph": asdict(network.whole),
        "modularity_test": asdict(network.modularity),
        "communities": [parts[number] for number in sorted(parts)],
    }


def _comparison(analysis: Analysis, level: float) -> dict[str, Any]:
    c, m = analysis.comparison, analysis.measures
    assert c is not None
    assert m is not None
    names = analysis.organs
    return {
        "first": analysis.networks[0].name,
        "second": analysis.networks[1].name,
        "significant_edges": {
            "family_wise": int((c.edges.family_wise <= level).sum()),
            "fdr": int((c.edges.fdr <= level).sum()),
            "tested": len(c.edges.p),
        },
        "significant_organs": [o for o, p in zip(names, c.nodes.family_wise, strict=True) if p <= level],
        "component_threshold": c.component_threshold,
        "components": [
            {"edges": [[names[i], names[j]] for i, j in part.edges], "p": part.p} for part in c.components
        ],
        "measures": {
            name: {
                "first": m.values[0, n],
                "second": m.values[1, n],
                "p": m.p.p[n],
                "p_family_wise": m.p.family_wise[n],
            }
            for n, name in enumerate(m.names)
        },
    }


def _finite(value: Any) -> Any:
    """Numbers of numpy as Python's, and None for those that JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _json(analysis: Analysis, settings: Settings, about: Mapping[str, Any]) -> bytes:
    content = {"about": dict(about), **summary(analysis, settings)}
    return (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
