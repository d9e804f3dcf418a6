"""How sure is the mask, where to click next, and how to put the work aside and take it up again.

python examples/session.py study work.anypet
"""

from __future__ import annotations

import sys
from pathlib import Path

import anypet


def main(study: Path, archive: Path) -> None:
    """Follows the session's own suggestion once, saves the session, and goes on from the file."""
    scan = anypet.read(study)
    session = anypet.Session(scan)
    session.add_box((108, 20, 112), (132, 40, 132))  # corners as voxel indices, around the lesion
    before = session.selected.volume_ml
    print(f"from the box: {before:.0f} mL, at most {session.uncertainty.max():.2f} nats uncertain")

    suggestion = session.suggest_point()  # the click that would tell most
    if suggestion is not None:
        kind = "positive" if suggestion.positive else "negative"
        print(f"if the mask is wrong at {suggestion.voxel}, a {kind} click there mends it")
        session.add_point(suggestion.voxel, suggestion.positive)

    session.save(archive)  # scan, prompts, masks and history in one file
    later = anypet.Session.load(archive)
    print(f"after the click: {later.selected.volume_ml:.0f} mL")
    later.undo()
    print(f"taken back: {later.selected.volume_ml:.0f} mL")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
