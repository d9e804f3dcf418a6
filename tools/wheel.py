"""Is a built wheel whole, and does it work where nothing else of the repository is?

    python tools/wheel.py dist/anypet-0.1.0-py3-none-any.whl

Compares the wheel with the package's folder, installs it in a new environment with constraints.txt, and runs
`anypet doctor` and `anypet demo` there, from an empty folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def missing(wheel: Path) -> list[str]:
    """Files of src/ that the wheel does not hold."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    source = ROOT / "src"
    there = [file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()]
    return sorted(name for name in there if name not in held and "__pycache__" not in name)


def try_out(wheel: Path, folder: Path) -> None:
    """Installs and runs; raises `subprocess.CalledProcessError` where a step fails."""
    home = folder / "environment"
    venv.create(home, with_pip=True)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["ANYPET_HOME"] = str(folder / "home")
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    for words in (
        [*pip, str(wheel.resolve())],
        [str(programs / "anypet"), "doctor"],
        [str(programs / "anypet"), "demo", "-o", "demo"],
    ):
        subprocess.run(words, cwd=folder, env=environment, check=True)
    if not (folder / "demo" / "objects.nii.gz").is_file():
        raise FileNotFoundError("the demo wrote no labels")


if __name__ == "__main__":
    given = Path(sys.argv[1])
    if lacks := missing(given):
        sys.exit(f"{given} lacks {len(lacks)} files: {', '.join(lacks[:10])}")
    with tempfile.TemporaryDirectory() as scratch:
        try_out(given, Path(scratch))
    print(f"{given}: whole, installs by itself, and runs")
