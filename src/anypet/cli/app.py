"""Gathers the commands; each lives in its own module and registers a function with the same name."""

from __future__ import annotations

import importlib
import logging
import sys

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from anypet._version import __version__
from anypet.errors import AnyPETError

# command name -> module with a function of that name (`convert` -> anypet.cli.convert:convert)
COMMANDS = (
    "segment",
    "measure",
    "response",
    "report",
    "info",
    "convert",
    "export",
    "simulate",
    "train",
    "evaluate",
    "benchmark",
    "train-baseline",
    "calibrate",
    "models",
    "demo",
    "data",
    "serve",
    "pull",
    "push",
    "lesions",
    "batch",
    "autopet",
    "network",
    "compare",
    "doctor",
)

app = typer.Typer(
    name="anypet",
    help="Promptable 3D segmentation of PET: click on an organ or a lesion, get a mask in SUV units.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what the library does."),
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    handler = RichHandler(console=Console(stderr=True), show_path=False, show_time=False)
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler], force=True)


for _name in COMMANDS:
    _plain = _name.replace("-", "_")
    _module = importlib.import_module(f"anypet.cli.{_plain}")
    _command = getattr(_module, _plain)
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name)(_command)


def main() -> None:
    """Runs the command line; an `AnyPETError` or a failing disk is one line on stderr and exit code 2."""
    try:
        app()
    except (AnyPETError, OSError) as error:
        # escaped: "[type=missing]" or a path with brackets in a message is text, not markup
        text = f"[bold red]error:[/] {escape(str(error))}"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True, markup=True)
        sys.exit(2)
