"""Runs every system of a benchmark on every case, each system in a process of its own.

So a system's peak memory is its own, one that is killed or crashes takes no other with it, and what is done
stays done: the rows of each system are kept in a file, and taken from there when the benchmark is run again
with the same cases, settings and weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from anypet._version import __version__
from anypet.baselines.base import Automatic, Kind, Loaded, fingerprint
from anypet.baselines.registry import baseline
from anypet.clicks import BoolArray, Voxel
from anypet.components import connected_components
from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case, Scan, kind_of
from anypet.evaluation.metrics import measure
from anypet.evaluation.protocol import Interactive, Row, Settings, System, chosen_targets, run_target
from anypet.files import write_whole
from anypet.volume import Volume

log = logging.getLogger(__name__)
Mask = tuple[str, str, str, str]
LESIONS = ("lesion", "small lesion", "hidden lesion")  # kinds that one mask of all lesions stands for


@dataclass(frozen=True)
class Job:
    """One system with its weights, on all cases.

    Args:
        name: of the registry.
        weights: file or folder, None where none are needed.
        cases: loaders that survive pickling.
        settings: of the click protocol.
        pictures: case name -> targets whose masks are kept to be drawn.
        folder: where masks go.
        device, threads: of torch; 0 threads leave them as they are.
    """

    name: str
    weights: Path | None
    cases: tuple[Case, ...]
    settings: Settings
    pictures: Mapping[str, Sequence[str]]
    folder: Path
    device: str = "cpu"
    threads: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a job gave.

    Args:
        name: of the registry.
        kind: how it is prompted.
        rows: of all its systems; `seconds` of a system without clicks is for the whole target.
        masks: (system, case, target) -> file of its mask, as `packed_mask` writes it.
        failures: case -> why it was left out.
        refused: why nothing could be run; "" else.
        peak_mb: most memory that its process held, MB; NaN where the system does not tell.
        weights: name and SHA-256 of the weights.
    """

    name: str
    kind: Kind
    rows: list[Row] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    peak_mb: float = float("nan")
    weights: str = ""


def run_jobs(
    jobs: Sequence[Job], *, apart: bool = True, on_job: Callable[[Outcome, bool], None] | None = None
) -> list[Outcome]:
    """Runs one job after the other.

    Args:
        jobs: in the order of the tables.
        apart: each in a process of its own; False runs them here, and gives no peak memory.
        on_job: told of each outcome, and whether it was taken from an earlier run.
    """
    outcomes = []
    for number, job in enumerate(jobs):
        file = job.folder / f"{number:02d}-{job.name}.json"
        outcome = _earlier(file, _signature(job))
        found = outcome is not None
        if outcome is None:
            outcome = _run_apart(job) if apart else run_job(job)
            if not outcome.refused:
                _write(file, outcome, _signature(job))
        if on_job is not None:
            on_job(outcome, found)
        outcomes.append(outcome)
    return outcomes


def _run_apart(job: Job) -> Outcome:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return replace(pool.submit(run_job, job).result(), peak_mb=pool.submit(_peak_mb).result())
        except BrokenProcessPool:
            why = "its process was ended from outside, most likely for want of memory"
            return Outcome(job.name, baseline(job.name).kind, refused=why)


def _peak_mb() -> float:
    """Most memory that this process, or the GPU for it, has held; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peak += torch.cuda.max_memory_allocated() / 2**20
    return float(peak)


def run_job(job: Job) -> Outcome:
    """One system on all cases, here; a case that fails is left out, with the reason."""
    if job.threads:
        import torch

        torch.set_num_threads(job.threads)
    described = baseline(job.name)
    try:
        loaded = described.load(job.weights, job.device)
    except AnyPETError as error:
        return Outcome(job.name, described.kind, refused=str(error))
    outcome = Outcome(job.name, described.kind, weights=_named(_weights_file(job)))
    for case in job.cases:
        try:
            scan = case.load()
            rows, masks = _case(job, case, scan, loaded)
            outcome.rows.extend(rows)
            outcome.masks.extend(masks)
        except Exception as error:  # other people's code may raise anything; the other cases go on
            log.warning("%s failed on %s", job.name, case.name, exc_info=True)
            outcome.failures[case.name] = f"{type(error).__name__}: {error}"
    if outcome.failures and not outcome.rows:
        first = next(iter(outcome.failures.values()))
        return replace(outcome, refused=f"failed on all {len(outcome.failures)} cases; first: {first}")
    return outcome


def _case(job: Job, case: Case, scan: Scan, loaded: Loaded) -> tuple[list[Row], list[Mask]]:
    """All rows of a case, and the masks kept of it."""
    targets = chosen_targets(scan, job.settings)
    rows, masks = [], []
    for system in loaded:
        for target, found, mask in _runs(case, scan, targets, system, job.settings):
            rows += found
            if mask is not None and target in job.pictures.get(case.name, ()):
                masks.append(_keep(job, system.name, case.name, target, mask))
    return rows, masks


def _weights_file(job: Job) -> Path | None:
    """The file or folder of a job's weights: the one given, or the one that the registry holds."""
    model = baseline(job.name).options.get("model") or ("default" if job.name == "default" else None)
    if job.weights is None and model is not None:
        from anypet.models.registry import entry

        return entry(model).file
    return job.weights


def _named(weights: Path | None) -> str:
    held = weights is not None and weights.exists()
    return f"{weights.name} sha256:{fingerprint(weights)}" if weights is not None and held else ""


Run = tuple[str, list[Row], BoolArray | None]


def _runs(
    case: Case, scan: Scan, targets: list[str], system: System | Automatic, settings: Settings
) -> Iterator[Run]:
    """(target, rows, mask to draw) of every run of a system on a case."""
    if isinstance(system, Automatic):
        yield from _automatic(case, scan, targets, system, settings)
        return
    for target in targets:
        if system.told is not None:
            yield _told(case, scan, target, system, settings)
            continue
        for seed in range(settings.seeds):
            watched = Watched(system, pictured_click(settings))
            rows = run_target(case, scan, target, watched.system, settings, seed)
            yield target, rows, watched.mask if seed == 0 else None


def pictured_click(settings: Settings) -> int:
    """After how many clicks the masks are drawn: three, or the nearest that is measured."""
    return min(settings.clicks, key=lambda n: (abs(n - 3), n))


class Watched:
    """A system whose mask after the n-th click (or the last, where fewer were needed) is remembered."""

    def __init__(self, system: System, click: int) -> None:
        self.mask: BoolArray | None = None
        self._click = click
        self._make = system.make
        self.system = replace(system, make=self._begin)

    def _begin(self, volume: Volume) -> Interactive:
        assert self._make is not None
        self._object = self._make(volume)
        self._given = 0
        return self

    def add_point(self, ijk: Voxel, positive: bool = True) -> Any:
        """Passes the click on."""
        mask = self._object.add_point(ijk, positive=positive)
        self._given += 1
        if self._given <= self._click:
            self.mask = np.array(getattr(mask, "array", mask), dtype=bool)
        return mask


def _told(case: Case, scan: Scan, target: str, system: System, settings: Settings) -> Run:
    """A system that sees the truth, such as one prompted in every slice of it; timed as a whole."""
    assert system.told is not None
    began = time.perf_counter()
    mask = np.asarray(system.told(scan.pet, scan.targets[target]), dtype=bool)
    seconds = time.perf_counter() - began
    row = _row(case, scan, target, system.name, mask, seconds, settings)
    if hasattr(system.told, "points"):
        row.values["points"] = float(system.told.points(scan.pet, scan.targets[target]))
    return target, [row], mask


def _row(
    case: Case, scan: Scan, target: str, system: str, mask: BoolArray, seconds: float, settings: Settings
) -> Row:
    pet = scan.pet
    values = measure(scan.targets[target], mask, pet.spacing, pet.array, tolerance_mm=settings.tolerance_mm)
    return Row(system, case.group, case.patient, case.name, target, 0, 0, None, None, seconds, values)


def _automatic(
    case: Case, scan: Scan, targets: list[str], system: Automatic, settings: Settings
) -> Iterator[Run]:
    """A system without prompts: one pass for all targets; a target's seconds are those of the pass.

    What it was not trained for gives no row. Of a mask of all lesions, a lesion that is a target by itself
    is given the components that it touches: in the system's favour, as if a reader had pointed at them.
    """
    image = scan.pet
    if system.modality == "CT":
        if case.ct is None:
            raise AnyPETError("the case has no CT; give one in the list's column `ct`")
        image = case.ct()
    began = time.perf_counter()
    found = system.segment(image)
    seconds = time.perf_counter() - began
    for target in targets:
        kind = kind_of(target)
        mask = found.get(kind, found.get("lesion") if kind in LESIONS else None)
        if mask is None:
            continue
        if kind != target:  # one of several
            mask = touched(mask, scan.targets[target])
        yield target, [_row(case, scan, target, system.name, mask, seconds, settings)], mask


def touched(mask: BoolArray, target: BoolArray) -> BoolArray:
    """The 26-connected components of a mask that share a voxel with a target."""
    labels = connected_components(mask)
    table = np.zeros(int(labels.max()) + 1, dtype=bool)
    table[np.unique(labels[target])] = True
    table[0] = False
    chosen: BoolArray = table[labels]
    return chosen


def _keep(job: Job, system: str, case: str, target: str, mask: BoolArray) -> Mask:
    """Writes a mask to draw, packed; (system, case, target, file name)."""
    key = hashlib.sha256(repr((job.name, str(job.weights), system, case, target)).encode()).hexdigest()[:20]
    job.folder.mkdir(parents=True, exist_ok=True)
    write_whole(job.folder / f"{key}.bits", np.packbits(mask).tobytes())
    return system, case, target, f"{key}.bits"


def read_mask(file: Path, shape: tuple[int, int, int]) -> BoolArray:
    """A mask that a job kept."""
    bits = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)


def _signature(job: Job) -> str:
    """Of all that a job's rows depend on."""
    cases = [(c.group, c.name, repr(getattr(c.loader, "args", c.identity))) for c in job.cases]
    settings = (
        job.settings.clicks,
        job.settings.seeds,
        job.settings.tolerance_mm,
        sorted(job.settings.targets),
    )
    weights = _named(_weights_file(job))
    parts = (
        __version__,
        job.name,
        weights,
        cases,
        settings,
        sorted(job.pictures.items()),
        job.device,
        job.threads,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _write(file: Path, outcome: Outcome, signature: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps({"signature": signature, **asdict(outcome)}))


def _earlier(file: Path, signature: str) -> Outcome | None:
    """The outcome of the same job run before; None if there is none."""
    try:
        held = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    if held.pop("signature", None) != signature:
        return None
    rows = [
        Row(**{**row, "voxel": tuple(row["voxel"]) if row["voxel"] else None}) for row in held.pop("rows")
    ]
    masks = [tuple(mask) for mask in held.pop("masks")]
    return Outcome(**held, rows=rows, masks=masks)
