"""Every command of the guides and every example is run, in order, as a stranger would: `pytest -m guides`.

One after another in one process (no -n): a block needs what those before it on its page have written.

Blocks that cannot be run are skipped with the reason that stands above them on the page (`-rs` lists them).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from guide_blocks import PAGES, ROOT, Block, blocks_of, run_as_reader

pytestmark = pytest.mark.guides

TRUTH = ("{}", "{}_lesions.nii.gz", "{}_organs.nii.gz")
FIRST, LAST = ([form.format(name) for form in TRUTH] for name in ("study", "after"))

# name -> its words on the command line, in the order of the gallery, and words that it prints
EXAMPLES = {
    "simulated_study": (["study"], "lesions, organs:"),
    "segment": (["study", "masks"], "liver:"),
    "session": (["study", "work.anypet"], "taken back:"),
    "lesions": (["study", "found"], "lesions without a click"),
    "quantify": ([*FIRST, "lesions.csv"], "of SUVmax"),
    "dicom_out": (["study", FIRST[1], "dicom"], "rtstruct.dcm: the same voxels"),
    "response": ([*FIRST, *LAST], "PERCIST 1.0:"),
    "server_client": (["study"], "SUVmax"),
    "own_data": (["cases"], "one click with the new weights:"),
}


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder for each page, with the examples in it, as in a clone."""
    base = tmp_path_factory.mktemp("guides")

    def folder(page: str) -> Path:
        place = base / page.replace("/", "-")
        if not place.is_dir():
            shutil.copytree(ROOT / "examples", place / "examples")
        return place

    return folder


@pytest.mark.parametrize(
    "block", [pytest.param(b, id=f"{page}-{b.number}") for page in PAGES for b in blocks_of(page)]
)
def test_a_block_of_a_guide(block: Block, folder_of: Callable[[str], Path]) -> None:
    if block.reason:
        pytest.skip(block.reason)
    place = folder_of(block.page)
    run_as_reader(["bash", "-euo", "pipefail", "-c", block.short], place, place / "home")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example(name: str, folder_of: Callable[[str], Path]) -> None:
    words, said = EXAMPLES[name]
    place = folder_of("examples")
    if name == "response" and not (place / "after").exists():
        make = [sys.executable, "examples/simulated_study.py", "after", "--seed", "8"]
        run_as_reader(make, place, place / "home")
    printed = run_as_reader([sys.executable, f"examples/{name}.py", *words], place, place / "home")
    assert said in printed
