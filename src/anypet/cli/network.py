"""`anypet network`: which organs' uptake goes together over a cohort, and how groups and subjects differ."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from anypet._version import __version__
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.quantify.network.analysis import Analysis, Settings
    from anypet.quantify.network.cohort import Cohort

SIMULATED = "simulated"


def network(
    cohort: Annotated[
        str,
        typer.Argument(
            help="CSV: subject, group, covariates, mean SUV of an organ a column; or `simulated`."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables and figures.")],
    groups: Annotated[str, typer.Option(help="One group, or two to compare: patient,control.")] = "",
    covariates: Annotated[str, typer.Option(help="Columns to regress out: age,sex,weight.")] = "",
    organs: Annotated[str, typer.Option(help="Columns of uptake; by default all others.")] = "",
    reference: Annotated[
        str, typer.Option(help="Group that all other subjects are compared with one by one.")
    ] = "",
    kind: Annotated[str, typer.Option(help="plain, or partial (given all other organs).")] = "plain",
    shrinkage: Annotated[str, typer.Option(help="none or ledoit-wolf.")] = "none",
    transform: Annotated[str, typer.Option(help="Of the SUV: none, log or rank (Spearman).")] = "none",
    density: Annotated[float | None, typer.Option(help="Share of pairs that become edges [0.2].")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least correlation of an edge, in place of a density.")
    ] = None,
    sign: Annotated[str, typer.Option(help="Edges: positive correlations, or absolute ones.")] = "positive",
    permutations: Annotated[int, typer.Option(min=1, help="Of tests; whole graphs get 1000 at most.")] = 5000,
    level: Annotated[float, typer.Option(help="Of significance.")] = 0.05,
    missing: Annotated[str, typer.Option(help="Empty cells: error, or drop their subjects.")] = "error",
    seed: Annotated[int, typer.Option(min=0, help="Of permutations and of a simulated cohort.")] = 0,
    figures: Annotated[bool, typer.Option(help="Draw matrix, circle, body and differences.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Builds the metabolic covariance network of a cohort, tests it, and compares groups and subjects."""
    from anypet.quantify.network.analysis import Settings, analyse, deals
    from anypet.quantify.network.covariance import Estimator
    from anypet.quantify.network.graph import Threshold
    from anypet.quantify.network.report import write_report

    chosen = {
        "kind": _choice("--kind", kind, ("plain", "partial")),
        "shrinkage": _choice("--shrinkage", shrinkage, ("none", "ledoit-wolf")),
        "transform": _choice("--transform", transform, ("none", "log", "rank")),
    }
    if density is None and threshold is None:
        density = 0.2
    settings = Settings(
        estimator=Estimator(**chosen),
        threshold=Threshold(density, threshold, _choice("--sign", sign, ("positive", "absolute"))),
        permutations=permutations,
        seed=seed,
        level=level,
    )
    names = _names(groups)
    output.mkdir(parents=True, exist_ok=True)  # minutes of work must not end at a folder that cannot be made
    table, planted = _cohort(cohort, output, names, _names(covariates), _names(organs), missing, seed)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("permutations", total=deals(settings, len(names)))
        found = analyse(table, settings, names, reference, lambda done: bars.update(task, advance=done))
    about = {
        "anypet": __version__,
        "table": Path(cohort).name,
        "subjects": len(table),
        "python": platform.python_version(),
    }
    if planted:
        about["adjusted_rand_index"] = _recovered(found, planted)
    written = write_report(output, found, settings, about, figures)
    _print(found, settings, about, written, as_json)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _choice(option: str, value: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise AnyPETError(f"{option} takes {' or '.join(known)}, got {value!r}")
    return value


def _cohort(
    source: str,
    output: Path,
    groups: list[str],
    covariates: list[str],
    organs: list[str],
    missing: str,
    seed: int,
) -> tuple[Cohort, dict[str, str]]:
    """The cohort, and for a simulated one the module of every organ."""
    import numpy as np

    from anypet.quantify.network.cohort import read_cohort, write_table
    from anypet.quantify.network.simulate import simulate_cohort

    policy = _choice("--missing", missing, ("error", "drop"))
    path, planted = Path(source), {}
    if source == SIMULATED:
        sizes = dict.fromkeys(groups, 100) if len(groups) == 2 else {"control": 200}
        broken = {groups[0]: "abdomen"} if len(groups) == 2 else None
        made = simulate_cohort(np.random.default_rng(seed), sizes, broken=broken)
        path = write_table(made.table, output / "cohort.csv")
        planted = dict(made.modules)
    return read_cohort(path, covariates=covariates, organs=organs, missing=policy), planted


def _recovered(found: Analysis, planted: dict[str, str]) -> float:
    """How far the last network's communities are the planted modules."""
    from anypet.quantify.network.graph import adjusted_rand_index

    network = found.networks[-1]
    truth = [planted.get(organ, organ) for organ in network.organs]
    return adjusted_rand_index(network.community, truth)


def _print(
    found: Analysis, settings: Settings, about: dict[str, Any], written: list[Path], as_json: bool
) -> None:
    from anypet.quantify.network.report import summary

    told = summary(found, settings)
    if as_json:
        import json

        typer.echo(json.dumps({"about": about, **told}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for network in told["networks"]:
        console.print(_network_table(network, settings.level))
    if "comparison" in told:
        console.print(_comparison_table(told["comparison"], settings.level))
    if "deviation" in told:
        d = told["deviation"]
        words = f"{d['significant']} of {d['subjects']} subjects deviate from {d['reference']}"
        chance = settings.level * d["subjects"]
        console.print(f"{words} (p ≤ {settings.level:g}; {chance:.0f} expected by chance)")
    if "adjusted_rand_index" in about:
        console.print(f"planted modules recovered: adjusted Rand index {about['adjusted_rand_index']:.2f}")
    for path in written:
        console.print(f"wrote {path}", markup=False)


def _network_table(network: dict[str, Any], level: float) -> Any:
    from rich.table import Table

    graph, test, edges = network["graph"], network["modularity_test"], network["significant_edges"]
    title = f"{network['group'] or 'cohort'}: {network['subjects']} subjects"
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("edges", f"{graph['edges']} (density {graph['density']:.2f})")
    table.add_row(
        f"significant, p ≤ {level:g}",
        f"{edges['family_wise']} family-wise, {edges['fdr']} by FDR, of {edges['tested']} pairs",
    )
    for name in ("clustering", "path_length", "efficiency", "small_world"):
        value = graph[name]
        table.add_row(name.replace("_", " "), "–" if value is None else f"{value:.3f}")
    table.add_row(
        "modularity",
        f"{test['observed']:.3f}; shuffled cohorts {test['expected']:.3f}, p = {test['p']:.2g}",
    )
    number = 0
    for part in network["communities"]:
        if len(part) > 1:
            number += 1
            table.add_row(f"community {number}", ", ".join(part))
    return table


def _comparison_table(comparison: dict[str, Any], level: float) -> Any:
    from rich.table import Table

    first, second = comparison["first"], comparison["second"]
    table = Table(title=f"{first} against {second}", title_justify="left", box=None, pad_edge=False)
    for column in ("", first, second, "p", "family-wise"):
        table.add_column(column, justify="left" if not column else "right")
    for name, m in comparison["measures"].items():
        values = (f"{m['first']:.3f}", f"{m['second']:.3f}", f"{m['p']:.2g}", f"{m['p_family_wise']:.2g}")
        table.add_row(name, *values)
    edges, organs = comparison["significant_edges"], comparison["significant_organs"]
    words = f"{edges['family_wise']} edges and {len(organs)} organs differ (family-wise p ≤ {level:g})"
    largest = next(iter(comparison["components"]), None)
    if largest:
        words += f"; largest component {len(largest['edges'])} edges, p = {largest['p']:.2g}"
    table.caption, table.caption_justify = words, "left"
    return table
