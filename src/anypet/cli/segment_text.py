"""`anypet segment --text`: words on the command line, labels in a file, their measures on the screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.markup import escape

from anypet.errors import PromptError

if TYPE_CHECKING:
    from anypet.session import Session
    from anypet.volume import Volume


def segment_text(
    session: Session, ct: Volume | None, text: str, output: Path, png: Path | None, as_json: bool
) -> None:
    """Segments what a text names, writes it and tells its measures.

    The file holds each object as a label of its own, named, in the order of the text; a voxel that two
    objects claim goes to the later one.

    Raises:
        PromptError: a word is not known, or what it names is not in the scan.
    """
    from anypet.io import write
    from anypet.quantify.measures import measure

    masks = session.add_text(text, ct)
    if not masks:
        raise PromptError(f"nothing that {text!r} names was found in this scan")
    labels = session.scan.with_array(_labels(masks), unit="label", names=dict(enumerate(masks, start=1)))
    write(labels, output)
    table = measure(session.scan, labels)
    if png is not None:
        from anypet.render import mip_figure

        mip_figure(session.scan, masks, png, title=text)
    if as_json:
        told: dict[str, Any] = {"output": str(output), "text": text, "measures": table.as_dict()}
        typer.echo(json.dumps(told, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(table.rich())
    for path in (output, png):
        if path is not None:
            console.print(f"wrote {escape(str(path))}")


def _labels(masks: dict[str, npt.NDArray[np.bool_]]) -> npt.NDArray[np.uint16]:
    """(I, J, K), 1 for the first mask and so on."""
    labels = np.zeros(next(iter(masks.values())).shape, dtype=np.uint16)
    for number, mask in enumerate(masks.values(), start=1):
        labels[mask] = number
    return labels
