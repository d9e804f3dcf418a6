"""A task that is quick and keeps a diary: the answer to a scan is its text in capitals."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anypet.batch.cases import BatchCase
from anypet.batch.tasks import Done
from anypet.errors import ReadError


@dataclass(frozen=True)
class ToyTask:
    """Args: where the diary is, how long a scan takes, and how loading goes wrong, if it is to."""

    diary: str
    seconds: float = 0.0
    broken: str = ""
    model: str = "toy sha256:0"

    def settings(self) -> dict[str, Any]:
        return {"task": "toy", **asdict(self), "seconds": None}

    def load(self, device: str) -> str:
        if self.broken:
            raise ReadError(self.broken)
        self.note("load")
        return device

    def read(self, case: BatchCase) -> str:
        self.note(f"read {case.name}")
        text = Path(case.image).read_text()
        if text.startswith("corrupt"):
            raise ReadError(f"{case.image}: the file is damaged")
        return text

    def compute(self, networks: str, scan: str, case: BatchCase) -> str:
        time.sleep(self.seconds)
        if scan == "bug":
            raise KeyError("no such thing")
        if scan == "greedy":
            hoard = bytearray(400_000_000)
            hoard[::4096] = b"x" * len(hoard[::4096])
            time.sleep(5)
        if scan == "deadly":
            os._exit(7)
        return scan.upper()

    def write(self, found: str, scan: str, case: BatchCase, folder: Path) -> Done:
        (folder / "answer.txt").write_text(found)
        self.note(f"wrote {case.name}")
        return Done({"mtv_ml": float(len(found)), "tlg": 2.0, "suv_max": None, "objects": 1}, "FDG")

    def note(self, line: str) -> None:
        with open(self.diary, "a") as file:
            file.write(line + "\n")


def toy_cases(folder: Path, texts: list[str]) -> list[BatchCase]:
    """One scan for each text."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for number, text in enumerate(texts, start=1):
        (folder / f"{number}.txt").write_text(text)
        cases.append(BatchCase(f"{number:04d}-P{number}", f"P{number}", str(folder / f"{number}.txt")))
    return cases
