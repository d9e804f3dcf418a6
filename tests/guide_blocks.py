"""The blocks of commands in the site's guides: found, and run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("start", "guides/reader", "guides/physicist", "guides/researcher", "guides/operator")
FENCE = re.compile(r"^```bash(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = "Not run by the tests: "

# What takes a reader minutes or hours is made short; the rest is run to the letter.
SHORTER = {
    "--minutes 30 -o runs/mine": "--steps 2 --set batch=1 --set clicks=2 -o runs/mine",
    "lesions study -o found": "lesions study --mirror 0 -o found",
}


@dataclass(frozen=True)
class Block:
    """Commands of one fence.

    Args:
        page: below docs/, without its suffix.
        number: of the block on its page, from 1.
        code: as it stands there.
        reason: why it is not run; "" for a block that is.
    """

    page: str
    number: int
    code: str
    reason: str

    @property
    def short(self) -> str:
        """The code with `SHORTER` in it."""
        code = self.code
        for long, short in SHORTER.items():
            code = code.replace(long, short)
        return code


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page, in order.

    Raises:
        ValueError: a block has a title that is no reason.
    """
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = []
    for number, found in enumerate(FENCE.finditer(text), start=1):
        title = re.fullmatch(r'\s*(?:title="(?P<title>[^"]+)")?\s*', found["info"])
        said = None if title is None else title["title"] or NOT_RUN
        if said is None or not said.startswith(NOT_RUN):
            raise ValueError(f"docs/{page}.md, block {number}: expected no title, or {NOT_RUN}...")
        blocks.append(Block(page, number, found["code"], said.removeprefix(NOT_RUN).strip()))
    return blocks


def run_as_reader(command: list[str], folder: Path, home: Path) -> str:
    """Runs a command in a folder, with this environment's programs first and none of the shared data.

    Returns:
        What it printed; raises AssertionError with it where the command fails.
    """
    environment = {name: value for name, value in os.environ.items() if name != "ANYPET_DATA"}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ANYPET_HOME": str(home),
        "COLUMNS": "110",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit code {done.returncode} of {command[-1]}\n{done.stdout[-4000:]}"
    return done.stdout
