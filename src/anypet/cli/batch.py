"""`anypet batch`: one task over many scans, on several workers, resumable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.batch.cases import BatchCase
    from anypet.batch.engine import BatchOptions
    from anypet.batch.tasks import Task

_SHOWN = 20


def batch(
    manifest: Annotated[
        Path, typer.Argument(metavar="LIST", help="List of cases, .csv or .json, see `anypet data`.")
    ],
    task: Annotated[str, typer.Option(help="lesions, text, or prompts (the list's column `prompts`).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder: a folder a scan, index.parquet.")],
    text: Annotated[str | None, typer.Option(help='For text: "liver and spleen", "all lesions".')] = None,
    tracer: Annotated[
        str | None,
        typer.Option(help="For lesions: auto (as the list says, else told from the scan), fdg, psma."),
    ] = None,
    organs: Annotated[bool | None, typer.Option(help="For lesions: find organs too (the default).")] = None,
    mirror: Annotated[
        int | None, typer.Option(min=0, max=3, help="For lesions: mirrored axes; 0 by default.")
    ] = None,
    min_ml: Annotated[
        float | None,
        typer.Option(min=0, help="For lesions: smaller ones go if their SUVmax is below 4; 0.3."),
    ] = None,
    picture: Annotated[bool | None, typer.Option(help="For lesions: draw picture.png (the default).")] = None,
    model: Annotated[
        str | None, typer.Option(help="For text and prompts: model, see `anypet models`.")
    ] = None,
    weights: Annotated[
        list[Path] | None, typer.Option(help="Weights in place of the model's own; of lesions several.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only cases of this split.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each loads the networks once.")] = 1,
    gpus_per_worker: Annotated[
        float, typer.Option(min=0, help="Below 1 several workers share a GPU; 0: on the processor.")
    ] = 0.0,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (auto, or HOST:PORT); without, this machine alone.")
    ] = None,
    memory_gb: Annotated[
        float | None, typer.Option(help="Bound of each worker; a scan that needs more fails by itself.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Further attempts at a scan that failed.")] = 1,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try scans again that were given up earlier.")
    ] = False,
    ahead: Annotated[int, typer.Option(min=0, help="Scans a worker reads while it computes one.")] = 1,
    resume: Annotated[bool, typer.Option(help="Go on with a batch begun in this folder.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a scan, as they finish.")] = False,
) -> None:
    """Does one task on every scan of a list; kill it whenever you like and give the same command again.

    Each finished scan is a folder OUT/cases/NAME with its files and record.json; what failed is in
    OUT/failed/NAME.json with its traceback; OUT/index.parquet lists all. The exit code is 1 if a scan failed.
    """
    from anypet.batch.cases import read_cases
    from anypet.batch.engine import BatchOptions

    given = {
        "text": text, "tracer": tracer, "organs": organs, "mirror": mirror, "min_ml": min_ml,
        "picture": picture, "promptable": model, "weights": weights or None,
    }  # fmt: skip
    made = _task(task, {name: value for name, value in given.items() if value is not None})
    options = BatchOptions(
        workers=workers, gpus_per_worker=gpus_per_worker, address=address, memory_gb=memory_gb,
        retries=retries, ahead=ahead, retry_failed=retry_failed, resume=resume,
    )  # fmt: skip
    cases = read_cases(manifest, split)
    try:
        _run(cases, made, output.expanduser(), options, as_json)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; the same command goes on from here")
        raise typer.Exit(130) from None


def _task(kind: str, given: dict[str, Any]) -> Task:
    """The task that the options ask for.

    Raises:
        AnyPETError: an unknown task, or options that another has.
    """
    from anypet.batch.tasks import task_of

    fitting = {
        "lesions": {"tracer", "organs", "mirror", "min_ml", "picture", "weights"},
        "text": {"text", "promptable", "weights"},
        "prompts": {"promptable", "weights"},
    }
    surplus = sorted(set(given) - fitting.get(kind, set(given)))
    if surplus:
        option = {"promptable": "model"}.get(surplus[0], surplus[0]).replace("_", "-")
        raise AnyPETError(f"--{option} is not for --task {kind}")
    if kind == "text" and "text" not in given:
        raise AnyPETError('--task text needs --text, such as --text "liver and spleen"')
    if "weights" in given:
        files = tuple(str(path.expanduser().absolute()) for path in given["weights"])
        if kind != "lesions" and len(files) > 1:
            raise AnyPETError(
                f"--weights: several are averaged for --task lesions only; {kind} takes one file"
            )
        given["weights"] = files if kind == "lesions" else files[0]
    return task_of(kind, **given)


def _run(cases: list[BatchCase], task: Task, output: Path, options: BatchOptions, as_json: bool) -> None:
    """The batch with its progress, then what failed."""
    from anypet.batch.engine import run_batch

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    failed: dict[str, str] = {}
    done = 0
    # scans may take minutes each: time left is told from the last hour
    with Progress(
        *columns, TextColumn("left"), TimeRemainingColumn(), console=console, disable=as_json,
        speed_estimate_period=3600,
    ) as bars:  # fmt: skip
        bar = bars.add_task("scans", total=len(cases))
        for outcome in run_batch(cases, task, output, options):
            if outcome.record is None:
                failed[outcome.name] = outcome.error
            done += 1
            bars.update(bar, completed=len(cases) - outcome.left)
            bars.update(bar, description=f"scans, {len(failed)} failed" if failed else "scans")
            if as_json:
                told = {"case": outcome.name, "error": outcome.error, "record": outcome.record}
                typer.echo(json.dumps(told))
    _summary(output, cases, done, failed, as_json)


def _summary(output: Path, cases: list[BatchCase], done: int, failed: dict[str, str], as_json: bool) -> None:
    """How the whole batch stands, earlier runs included; exit code 1 if a scan failed."""
    import pyarrow.parquet as pq

    index = pq.read_table(output / "index.parquet", columns=["case", "status", "error"]).to_pylist()
    lost = {row["case"]: row["error"] for row in index if row["status"] == "failed"}
    if not as_json:
        console = Console(highlight=False, soft_wrap=True)
        if lost:
            table = Table("case", "why it failed", title=f"{len(lost)} failed", title_justify="left")
            for name, error in list(lost.items())[:_SHOWN]:
                table.add_row(escape(name), escape(error))
            console.print(table)
            if len(lost) > _SHOWN:
                console.print(f"and {len(lost) - _SHOWN} more in the index")
            console.print(f"tracebacks: {escape(str(output / 'failed'))}; --retry-failed tries them again")
        finished = sum(row["status"] == "done" for row in index)
        console.print(f"{finished} of {len(cases)} scans are done, {done - len(failed)} of them now")
        console.print(f"wrote {escape(str(output / 'index.parquet'))}")
    if lost:
        raise typer.Exit(1)
