"""`anypet models`: which models there are, and where their weights come from."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from anypet.models import registry

models = typer.Typer(help="List the models, fetch or add their weights.", no_args_is_help=True)

_FILE = typer.Argument(help=".pth, .pt or .safetensors", exists=True, dir_okay=False)
_EXPORT_TO = typer.Option(None, "-o", "--output", help="Folder to export to; the user's own if left out.")
_WEIGHTS = typer.Option(None, exists=True, dir_okay=False, help="A weights file instead of the model's own.")
_JSON = typer.Option(False, "--json", help="Print JSON.")


@models.command("list")
def list_models(as_json: bool = _JSON) -> None:
    """List the models, and which of them are ready."""
    entries = registry.available()
    if as_json:
        typer.echo(json.dumps([registry.as_json(e) for e in entries], indent=2))
        return
    table = Table("name", "weights", "what it is", "licence of the weights")
    for e in entries:
        state = "ready" if e.ready else "fetch" if e.published else "add"
        table.add_row(e.name, state, e.summary, e.licence)
    Console().print(table)


@models.command()
def show(name: str, as_json: bool = _JSON) -> None:
    """Show all that is known of one model."""
    entry = registry.entry(name)
    fields = registry.as_json(entry)
    if as_json:
        typer.echo(json.dumps(fields, indent=2))
        return
    place = entry.published
    fields["published"] = f"{place.repo}/{place.file}" if place else None
    for key, value in fields.items():
        typer.echo(f"{key:10}{'-' if value is None else value}")


@models.command()
def fetch(
    name: str = typer.Argument(help="A model of `anypet models list`, or a new name with --repo and --file."),
    repo: str | None = typer.Option(
        None, help="owner/name on the Hugging Face Hub, instead of the known one."
    ),
    file: str | None = typer.Option(None, help="Path in that repository, instead of the known one."),
    revision: str | None = typer.Option(None, help="Branch, tag or commit."),
    family: str | None = typer.Option(None, help=f"For a new name: {', '.join(registry.FAMILIES)}."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Accept the licence without being asked."),
) -> None:
    """Download published weights into the user's folder (ANYPET_HOME)."""
    from anypet.models import fetch as fetching

    place, entry = fetching.plan(name, repo=repo, file=file, family=family)
    typer.echo(f"{place.file} from {place.repo}")
    typer.echo(f"licence of the weights: {entry.licence}")
    if not yes:
        typer.confirm("Accept and download?", abort=True)
    got = fetching.fetch(name, repo=repo, file=file, revision=revision, family=family, progress=True)
    typer.echo(f"{got.name}: {got.file}\nsha256 {got.sha256}")


@models.command()
def add(
    name: str = typer.Argument(help="A known model, or a new name for your own weights."),
    file: Path = _FILE,
    family: str | None = typer.Option(
        None, help=f"{', '.join(registry.FAMILIES)}; told from the file if left out."
    ),
    licence: str = typer.Option("not stated", help="A note on the weights' licence."),
) -> None:
    """Copy weights of your own into the user's folder (ANYPET_HOME) under a name."""
    entry = registry.add(name, file, family=family, licence=licence)
    typer.echo(f"{entry.name}: {entry.file}\nsha256 {entry.sha256}")


@models.command()
def export(
    name: str = typer.Argument(help="A promptable or a lesion model of `anypet models list`."),
    output: Path | None = _EXPORT_TO,
    weights: Path | None = _WEIGHTS,
) -> None:
    """Export a model for CPUs (OpenVINO); in the user's folder it is found and used from then on.

    ANYPET_RUNTIME=torch keeps torch all the same.
    """
    from anypet.models.exported.write import export as write

    done = write(name, output, weights=weights)
    typer.echo(f"{name}: {done.folder}")
    typer.echo(f"largest difference of a probability from torch's: {done.difference:.1g}")
