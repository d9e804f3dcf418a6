"""`anypet benchmark`: AnyPET and every system that the papers compare with, in the papers' tables."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from anypet._version import __version__
from anypet.cli.evaluate import _click_counts, chosen_cases
from anypet.errors import AnyPETError

SPLITS = ("train", "validation", "test", "all")

if TYPE_CHECKING:
    from anypet.baselines.jobs import Outcome
    from anypet.evaluation.cases import Case


def benchmark(
    data: Annotated[
        list[str],
        typer.Option(
            help="sts, simulated, or a list of cases (.csv or .json), perhaps with its own split "
            "(simulated:test); repeatable."
        ),
    ] = ["sts"],  # noqa: B006 - typer copies it
    external: Annotated[
        list[str], typer.Option(help="A list of cases of elsewhere, for Table 5; repeatable.")
    ] = [],  # noqa: B006
    models: Annotated[
        str, typer.Option(help="Systems by name, such as default,classical,sam; `--list` shows all.")
    ] = "all",
    weights: Annotated[
        list[str] | None, typer.Option(help="name=FILE or FOLDER; a name may be given twice.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder; what is done in it is kept.")
    ] = Path("benchmark"),
    clicks: Annotated[str, typer.Option(help="Click counts to measure at.")] = "1,3,5,10",
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs of each target, each from another first click.")
    ] = 1,
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "validation",
    cases: Annotated[int | None, typer.Option(min=1, help="At most so many of each data set.")] = None,
    targets: Annotated[str, typer.Option(help="Kinds of target, such as liver,lesion; all by default.")] = "",
    tracer: Annotated[str | None, typer.Option(help="Of simulated cases: FDG, PSMA or random.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of simulated cases.")] = 0,
    nsd_mm: Annotated[float, typer.Option(help="Tolerance of the surface Dice in mm.")] = 3.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="Of each system (0 = torch's choice).")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of sts/ and anatomy/ (else ANYPET_DATA).")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Say what there is and how to get it; run nothing.")
    ] = False,
) -> None:
    """Runs AnyPET, classical methods and published systems on the same cases, and writes the tables."""
    from anypet.baselines.cases import kept, pictured
    from anypet.baselines.jobs import Job
    from anypet.baselines.page import write_benchmark
    from anypet.baselines.registry import BASELINES
    from anypet.baselines.run import run_jobs
    from anypet.evaluation.protocol import Settings, chosen_targets

    console = Console()
    if listed:
        _list(console)
        return
    names = (
        list(BASELINES) if models == "all" else [name.strip() for name in models.split(",") if name.strip()]
    )
    files = _weights(weights or [], names)
    settings = Settings(
        clicks=_click_counts(clicks),
        seeds=seeds,
        tolerance_mm=nsd_mm,
        targets=frozenset(name.strip() for name in targets.split(",") if name.strip()),
    )
    output.mkdir(parents=True, exist_ok=True)
    sets = [
        {text: _cases(text, split, data_dir, cases, seed, tracer) for text in texts}
        for texts in (data, external)
    ]
    chosen, groups = _grouped(*sets)
    notes = Console(stderr=True)
    with notes.status("reading the cases"):
        held = tuple(kept(case, output / "cases") for case in chosen)
    pictures = pictured(held, lambda scan: chosen_targets(scan, settings))
    jobs = [
        Job(name, file, held, settings, pictures, output / "parts", device, threads)
        for name in names
        for file in files.get(name, [None])
    ]
    began = time.perf_counter()

    def done(outcome: Outcome, found: bool) -> None:
        how = f"not run: {outcome.refused}" if outcome.refused else "kept" if found else "done"
        notes.print(f"{outcome.name}: {how}", highlight=False, soft_wrap=True, markup=False)

    outcomes = run_jobs(jobs, on_job=done)
    first = next((o.rows[0].system for o in outcomes if o.kind == "own" and o.rows), "")
    about = {
        "anypet": __version__,
        "data": ", ".join([*data, *external]),
        "split": split,
        "cases": len(held),
        "clicks": ", ".join(map(str, settings.clicks)),
        "seeds": seeds,
        "device": device,
        "processors": os.cpu_count() or 0,
        "threads": threads or "torch's choice",
        "python": platform.python_version(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": round((time.perf_counter() - began) / 60, 2),
    }
    for path in write_benchmark(output, outcomes, held, settings, first, groups, about):
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _cases(
    text: str, split: str, data_dir: Path | None, most: int | None, seed: int, tracer: str | None
) -> list[Case]:
    data, part = _data_and_split(text, split)
    return chosen_cases(data, data_dir, part, None, most, seed, tracer)


def _data_and_split(text: str, default: str) -> tuple[str, str | None]:
    """ "simulated:test" -> its data and split; the default where it has none of its own, None for all."""
    data, _, part = text.rpartition(":")
    if not data or part not in SPLITS:
        data, part = text, default
    return data, None if part == "all" else part


def _weights(texts: list[str], names: list[str]) -> dict[str, list[Path]]:
    """name -> files, from name=path; names that are not among the systems to run are an error."""
    from anypet.baselines.registry import baseline

    for name in names:
        baseline(name)
    files: dict[str, list[Path]] = {}
    for text in texts:
        name, found, path = text.partition("=")
        if not found or name not in names:
            raise AnyPETError(
                f"--weights takes name=path with a name of --models ({', '.join(names)}), got {text!r}"
            )
        files.setdefault(name, []).append(Path(path))
    return files


def _grouped(data: dict[str, list[Case]], external: dict[str, list[Case]]) -> tuple[list[Case], list[str]]:
    """All cases and the groups of `external`; each data set is a group of its own, each name unique."""
    from dataclasses import replace

    sets = [(text, "", found) for text, found in data.items()]
    sets += [(text, "external ", found) for text, found in external.items()]
    stems = [prefix + Path(text).stem for text, prefix, _ in sets]
    groups = [
        stem if stems.count(stem) == 1 else prefix + text
        for stem, (text, prefix, _) in zip(stems, sets, strict=True)
    ]
    cases = [
        replace(case, group=group) for group, (*_, found) in zip(groups, sets, strict=True) for case in found
    ]
    names = [case.name for case in cases]
    unique = [
        case if names.count(case.name) == 1 else replace(case, name=f"{case.group}/{case.name}")
        for case in cases
    ]
    return unique, groups[len(data) :]


def _list(console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from anypet.baselines.registry import BASELINES

    table = Table(box=None, padding=(0, 2, 1, 0))
    for head in ("name", "what it is", "licence", "how to get it"):
        table.add_column(head)
    for each in BASELINES.values():
        how = each.refusal or "; ".join(filter(None, (each.extra, each.weights))) or "ready"
        # "anypet[baselines]" is text, not markup
        table.add_row(*(escape(text) for text in (each.name, each.summary, each.licence, how)))
    console.print(table)
