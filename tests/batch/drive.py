"""A driver to be killed: `python drive.py OUT DIARY SECONDS WORKERS CASE...`, the toy task under real Ray."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from toy_task import ToyTask

from anypet.batch.cases import BatchCase
from anypet.batch.engine import BatchOptions, run_batch
from anypet.errors import AnyPETError

NO_RAY = 77


def main(out: str, diary: str, seconds: str, workers: str, *images: str) -> None:
    cases = [BatchCase(f"{n:04d}", f"P{n}", image) for n, image in enumerate(images, start=1)]
    task = ToyTask(diary, float(seconds))
    options = BatchOptions(workers=int(workers), memory_gb=0.5, retries=1)
    try:
        for outcome in run_batch(cases, task, out, options):
            print("done" if outcome.record else "failed", outcome.name, flush=True)  # noqa: T201
    except AnyPETError as error:
        if "Ray did not start" not in str(error):
            raise
        sys.exit(NO_RAY)


if __name__ == "__main__":
    main(*sys.argv[1:])
