"""`anypet doctor`: what this installation has, what it lacks, and how to mend it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from anypet.doctor import Finding

_COLOURS = {"ok": "green", "note": "yellow", "fault": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port that `anypet serve` is to listen on.")
    ] = 8000,
) -> None:
    """Looks at versions, devices, weights, folders and ports; says what is missing and how to mend it.

    Ends with exit code 1 if something that is needed is broken; what is optional is only noted.
    """
    from dataclasses import asdict

    from anypet._version import __version__
    from anypet.doctor import examine, healthy

    findings = examine(port)
    well = healthy(findings)
    if as_json:
        told = {"version": __version__, "healthy": well, "findings": [asdict(f) for f in findings]}
        typer.echo(json.dumps(told, indent=2))
    else:
        _print(findings, well)
    if not well:
        raise typer.Exit(1)


def _print(findings: list[Finding], well: bool) -> None:
    console = Console(highlight=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for finding in findings:
        text = escape(finding.found)
        if finding.fix:
            text += f"\n[dim]->[/] {escape(finding.fix)}"
        colour = _COLOURS[finding.state]
        table.add_row(f"[{colour}]{finding.state}[/]", escape(finding.subject), text)
    console.print(table)
    faults, notes = (sum(f.state == state for f in findings) for state in ("fault", "note"))
    if well:
        console.print(f"[green]Nothing that is needed is missing[/]; notes: {notes}.")
    else:
        console.print(f"[bold red]To mend: {faults}[/]; notes: {notes}.")
