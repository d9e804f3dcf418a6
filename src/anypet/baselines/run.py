"""Runs every system of a benchmark on every case, each system in a process of its own.

So a system's peak memory is its own, one that is killed or crashes takes no other with it, and what is done
stays done: the rows of each system are kept in a file, and taken from there when the benchmark is run again
with the same cases, settings and weights.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np

from anypet.baselines.base import Automatic, Loaded
from anypet.baselines.jobs import (
    Job,
    Mask,
    Outcome,
    earlier_outcome,
    keep_mask,
    named_weights,
    signature_of,
    weights_file,
    write_outcome,
)
from anypet.baselines.names import LESIONS, canonical
from anypet.baselines.registry import baseline
from anypet.clicks import BoolArray, Voxel
from anypet.components import connected_components
from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case, Scan, kind_of
from anypet.evaluation.metrics import measure
from anypet.evaluation.protocol import Interactive, Row, Settings, System, chosen_targets, run_target
from anypet.grids import resample
from anypet.io import AIR_HU
from anypet.volume import Volume

log = logging.getLogger(__name__)


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
        outcome = earlier_outcome(file, signature_of(job))
        found = outcome is not None
        if outcome is None:
            outcome = _run_apart(job) if apart else run_job(job)
            if not outcome.refused:
                write_outcome(file, outcome, signature_of(job))
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
    outcome = Outcome(job.name, described.kind, weights=named_weights(weights_file(job)))
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
    ct = _ct(case, scan) if baseline(job.name).image == "CT" else None
    rows, masks = [], []
    for system in loaded:
        shown = system if ct is None else on_ct(system, ct)
        for target, found, mask in _runs(case, scan, targets, shown, job.settings):
            rows += found
            if mask is not None and target in job.pictures.get(case.name, ()):
                masks.append(keep_mask(job, system.name, case.name, target, mask))
    return rows, masks


def _ct(case: Case, scan: Scan) -> Volume:
    """The CT of a case, on the PET's grid."""
    if case.ct is None:
        raise AnyPETError("the case has no CT; give one in the list's column `ct`")
    ct = case.ct()
    return ct if ct.same_grid(scan.pet) else resample(ct, scan.pet, outside=AIR_HU)


def on_ct(system: System | Automatic, ct: Volume) -> System | Automatic:
    """The same system, shown a CT whenever it is given the PET; masks and clicks stay on the PET's grid."""
    if isinstance(system, Automatic):
        segment = system.segment
        return replace(system, segment=lambda _: segment(ct))
    make = system.make
    if make is None:
        raise AnyPETError(f"{system.name} is told the truth; it cannot be run on the CT")
    return replace(system, make=lambda _: make(ct))


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
    if system.classes is not None and not any(_named(target, system.classes) for target in targets):
        return
    began = time.perf_counter()
    found = system.segment(scan.pet)
    seconds = time.perf_counter() - began
    for target in targets:
        name = _named(target, found)
        if name is None:
            continue
        mask, kind = found[name], kind_of(target)
        if kind != target:  # one of several
            mask = touched(mask, scan.targets[target])
        yield target, [_row(case, scan, target, system.name, mask, seconds, settings)], mask


def _named(target: str, classes: Iterable[str]) -> str | None:
    """The class that a target is of, or None where there is none."""
    spelled = {canonical(name): name for name in classes}
    kind = kind_of(target)
    return spelled.get(canonical(kind), spelled.get("lesion") if kind in LESIONS else None)


def touched(mask: BoolArray, target: BoolArray) -> BoolArray:
    """The 26-connected components of a mask that share a voxel with a target."""
    labels = connected_components(mask)
    table = np.zeros(int(labels.max()) + 1, dtype=bool)
    table[np.unique(labels[target])] = True
    table[0] = False
    chosen: BoolArray = table[labels]
    return chosen
