"""The acceptance run of `anypet batch`: many simulated scans, killed twice with -9, three of them corrupt.

    python benchmarks/batch.py [--scans 200] [--workers 2] [--memory-gb 3] [--ratio-scans 12] [-o FOLDER]

The same `--ratio-scans` scans are done by one worker on one core, by one worker on `--workers` cores, and by
`--workers` workers on as many cores. Throughputs are taken from the first records to the last one, so that
starting Ray and loading the networks is left out.
Then all `--scans` are done by real `anypet batch` processes: the driver is killed with -9 after a third and
after two thirds, and resumed. Every record is stamped (inode, time) at each kill and compared at the end; the
task's own diary of published scans is counted.

The scans are analytic bodies with lesions, cropped to `--size` voxels of 4 mm a side; the packaged lesion
network searches them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from anypet.io import write
from anypet.simulate import analytic_anatomy, simulate
from anypet.volume import Volume

CORRUPT = 3
DIFFERENT = 8  # bodies that are simulated; the others are crops of them at another height


def make_scans(folder: Path, count: int, size: int) -> list[Path]:
    """Simulated PETs of `size` voxels a side; the last `CORRUPT` are cut off."""
    bodies = [simulate(analytic_anatomy(seed), seed, "FDG").pet for seed in range(min(count, DIFFERENT))]
    paths = []
    for number in range(count):
        body = bodies[number % len(bodies)]
        middle = [n // 2 for n in body.shape]
        middle[2] += (number // len(bodies) * 7) % 40 - 20
        start = [max(0, m - size // 2) for m in middle]
        box = tuple(slice(s, s + size) for s in start)
        affine = body.affine.copy()
        affine[:3, 3] = body.to_mm(start)
        path = folder / f"scan{number:04d}.nii.gz"
        write(Volume(body.array[box], affine, "SUVbw"), path)
        if number >= count - CORRUPT:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        paths.append(path)
    return paths


def manifest(path: Path, scans: list[Path]) -> Path:
    """A list of cases for `anypet batch`."""
    path.write_text("image,patient,tracer\n" + "".join(f"{s},P{n},FDG\n" for n, s in enumerate(scans)))
    return path


def start(
    cases: Path, out: Path, workers: int, memory_gb: float, cores: int | None = None
) -> subprocess.Popen[bytes]:
    """The command itself, in a process of its own that may use so many cores."""
    words = [
        "batch", cases, "--task", "lesions", "-o", out, "--no-picture", "--workers", workers,
        "--memory-gb", memory_gb, "--json",
    ]  # fmt: skip
    command = [sys.executable, "-m", "anypet", *map(str, words)]
    mine = sorted(os.sched_getaffinity(0))[:cores]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, mine)
    )


def finished(out: Path) -> dict[str, tuple[int, int]]:
    """Case -> inode and time of its record."""
    found = {}
    for path in out.glob("cases/*/record.json"):
        found[path.parent.name] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def records(out: Path) -> list[dict[str, Any]]:
    """What was written of every finished scan."""
    return [json.loads(path.read_text()) for path in sorted(out.glob("cases/*/record.json"))]


def throughput(out: Path, workers: int) -> float:
    """Scans a second between the first record of all workers and the last record."""
    times = sorted(stamp for _, stamp in finished(out).values())
    counted = times[workers - 1 :]  # each worker's first scan still includes its warming up
    return 1e9 * (len(counted) - 1) / (counted[-1] - counted[0])


def speed(cases: Path, folder: Path, workers: int, cores: int, memory_gb: float, table: Table) -> float:
    """Throughput of so many workers on so many cores; tells it, and where a scan's time went."""
    out = folder / f"speed-{workers}-{cores}"
    start(cases, out, workers, memory_gb, cores).wait()
    found = throughput(out, workers)
    phases = [record["phases"] for record in records(out)]
    means = {name: sum(p[name] for p in phases) / len(phases) for name in phases[0]}
    told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in means.items())
    table.add_row(f"{workers} workers, {cores} cores", f"{60 * found:.2f} scans/min", f"s a scan: {told}")
    return found


def killed_runs(cases: Path, out: Path, count: int, workers: int, memory_gb: float) -> tuple[int, list[int]]:
    """Kills the driver at a third and two thirds, then lets it end -> records touched, exit codes."""
    touched, codes = 0, []
    seen: dict[str, tuple[int, int]] = {}
    for share in (1 / 3, 2 / 3, None):
        process = start(cases, out, workers, memory_gb)
        while share and process.poll() is None and len(finished(out)) < share * count:
            time.sleep(0.1)
        if share and process.poll() is not None:
            raise SystemExit(f"the driver ended with {process.returncode} before it could be killed")
        if share:
            os.kill(process.pid, signal.SIGKILL)
        codes.append(process.wait())
        now = finished(out)
        touched += sum(now.get(name) != stamp for name, stamp in seen.items())
        seen = now
    return touched, codes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--ratio-scans", type=int, default=12, help="0 leaves the ratio out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory-gb", type=float, default=3.0)
    parser.add_argument("--size", type=int, default=64, help="voxels of 4 mm along each side")
    parser.add_argument("-o", "--output", type=Path, help="kept; by default a temporary folder")
    options = parser.parse_args()
    folder = options.output or Path(tempfile.mkdtemp(prefix="anypet-batch-"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scans = make_scans(folder, options.scans, options.size)
    table = Table("what", "found", "wanted", title=f"{options.scans} scans, {options.workers} workers")
    if options.ratio_scans:
        some = manifest(folder / "some.csv", scans[: options.ratio_scans])
        one, alone, many = (
            speed(some, folder, workers, cores, options.memory_gb, table)
            for workers, cores in ((1, 1), (1, options.workers), (options.workers, options.workers))
        )
        table.add_row("ratio to one worker on one core", f"{many / one:.2f}", ">= 1.6 for 2")
        table.add_row(f"ratio to one worker on {options.workers} cores", f"{many / alone:.2f}", "")
    everything = manifest(folder / "all.csv", scans)
    out = folder / "out"
    touched, codes = killed_runs(everything, out, options.scans, options.workers, options.memory_gb)
    index = pq.read_table(out / "index.parquet").to_pylist()
    done = [row for row in index if row["status"] == "done"]
    failed = [row for row in index if row["status"] == "failed"]
    runs = {record["run"] for record in records(out)}
    peak = max(record["peak_mb"] for record in records(out)) / 1000
    table.add_row("exit codes", str(codes), "[-9, -9, 1]")
    table.add_row("done", str(len(done)), str(options.scans - CORRUPT))
    table.add_row("records touched after a kill", str(touched), "0")
    table.add_row("runs that finished scans", str(len(runs)), "3")
    table.add_row("failed", ", ".join(row["case"] for row in failed), f"the last {CORRUPT}")
    table.add_row("their errors", "; ".join({row["error"].split(": ", 1)[-1][:60] for row in failed}), "")
    table.add_row("peak memory of a worker", f"{peak:.2f} GB", f"< {options.memory_gb:g} GB")
    table.add_row("left in .work", str((out / ".work").exists()), "False")
    Console().print(table)
    if options.output is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
