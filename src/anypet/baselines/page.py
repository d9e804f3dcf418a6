"""A benchmark on paper: CSV and Markdown tables, and one HTML page with the pictures in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anypet.baselines.jobs import Outcome, read_mask
from anypet.baselines.pictures import side_by_side
from anypet.baselines.tables import (
    Missing,
    Table,
    csv_table,
    full_table,
    lines_of,
    markdown_table,
    missing_of,
    paper_tables,
)
from anypet.evaluation.cases import Case
from anypet.evaluation.protocol import Settings
from anypet.evaluation.report import rows_csv
from anypet.files import write_whole

NOTE = (
    "Means over patients with 95 % bootstrap intervals (patients resampled); a star marks that rows without "
    "a finite value were left out. The same first clicks for all systems. Told: the method sees the true "
    "object. N points: one point in each of the N slices that show the object, 3N and 5N three and five, so "
    "the truth says where the slices are. Auto: no prompt. s/case is the time that one target took up to "
    "that click, for automatic systems that of the scan. p: Wilcoxon's signed-rank test over patients, not "
    "corrected for the number of comparisons."
)


def write_benchmark(
    folder: Path,
    outcomes: Sequence[Outcome],
    cases: Sequence[Case],
    settings: Settings,
    first: str,
    external: Sequence[str],
    about: Mapping[str, Any],
) -> list[Path]:
    """Writes everything; files of an earlier benchmark in the folder are replaced.

    Args:
        folder: made if it is not there; masks are read from its `parts`.
        outcomes: of `run_jobs`.
        cases: those of the jobs.
        settings: of the click protocol.
        first: the system that the others are compared with.
        external: groups that are data of elsewhere.
        about: how it was made; written at the top and into benchmark.json.

    Returns:
        The files written.
    """
    lines = lines_of(outcomes, settings, first)
    missing = missing_of(outcomes)
    tables = [full_table(lines, settings, first), *paper_tables(lines, missing, external)]
    pictures = drawn(folder / "parts", outcomes, cases)
    weights = {each.name: each.weights for each in outcomes if each.weights}
    failures = {each.name: each.failures for each in outcomes if each.failures and not each.refused}
    text = {
        "rows.csv": rows_csv([row for each in outcomes for row in each.rows]),
        "benchmark.md": _markdown(tables, missing, failures, about),
        "benchmark.json": json.dumps(
            {
                "about": dict(about),
                "weights": weights,
                "not run": {m.name: m.reason for m in missing},
                "failed cases": failures,
            },
            indent=2,
        )
        + "\n",
        "benchmark.html": html_page(tables, missing, failures, pictures, about),
    }
    text |= {f"table{t.number}.csv" if t.number else "table.csv": csv_table(t) for t in tables if t.header}
    folder.mkdir(parents=True, exist_ok=True)
    return [write_whole(folder / name, content) for name, content in text.items()]


def drawn(parts: Path, outcomes: Sequence[Outcome], cases: Sequence[Case]) -> dict[str, bytes]:
    """Caption -> PNG for each object whose masks were kept."""
    kept: dict[tuple[str, str], dict[str, str]] = {}
    for outcome in outcomes:
        for system, name, target, file in outcome.masks:
            kept.setdefault((name, target), {})[system] = file
    pictures = {}
    for case in cases:
        wanted = {target: files for (name, target), files in kept.items() if name == case.name}
        if not wanted:
            continue
        scan = case.load()
        for target, files in wanted.items():
            masks = {system: read_mask(parts / file, scan.pet.shape) for system, file in files.items()}
            pictures[f"{case.name}: {target}"] = side_by_side(scan.pet, scan.targets[target], masks)
    return pictures


def _markdown(
    tables: Sequence[Table], missing: Sequence[Missing], failures: Mapping[str, Any], about: Mapping[str, Any]
) -> str:
    parts = ["# Benchmark\n", *(f"- {key}: {value}" for key, value in about.items()), f"\n{NOTE}\n"]
    parts += [markdown_table(table) for table in tables]
    parts.append("## Not run\n")
    parts += [f"- {each.name}: {each.reason}" for each in missing] or ["Every system was run."]
    parts += [
        f"- {name}, case {case}: {why}" for name, cases in failures.items() for case, why in cases.items()
    ]
    return "\n".join(parts) + "\n"


def html_page(
    tables: Sequence[Table],
    missing: Sequence[Missing],
    failures: Mapping[str, Mapping[str, str]],
    pictures: Mapping[str, bytes],
    about: Mapping[str, Any],
) -> str:
    """One page that needs no other file; every text is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("benchmark.html.j2").read_text("utf-8"))
    images = {name: base64.b64encode(image).decode() for name, image in pictures.items()}
    return template.render(
        tables=tables,
        missing=missing,
        failures=failures,
        images=images,
        about=about,
        note=NOTE,
    )
