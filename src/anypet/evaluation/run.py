"""Runs the protocol over many cases, on one or several processes, and finds the best fixed threshold."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import numpy as np

from anypet.errors import AnyPETError
from anypet.evaluation.baselines import SUV_GRID, threshold_sweep
from anypet.evaluation.cases import Case, kind_of
from anypet.evaluation.protocol import Row, Settings, System, chosen_targets, run_case
from anypet.evaluation.statistics import patient_means

log = logging.getLogger(__name__)

BEST_FIXED = "best SUV, told"
Systems = Callable[[], Sequence[System]]


@dataclass(frozen=True)
class CaseResult:
    """What one case gave: the rows of all systems, and each target's rows at every fixed threshold."""

    rows: list[Row]
    sweeps: list[tuple[Row, ...]]


@dataclass(frozen=True)
class Evaluation:
    """What all cases gave.

    Args:
        rows: in the order of the cases, whatever order they ended in.
        failures: case name -> why it could not be evaluated.
    """

    rows: list[Row]
    failures: dict[str, str]


def evaluate_cases(
    cases: Sequence[Case],
    systems: Systems,
    settings: Settings,
    *,
    sweep: bool = False,
    workers: int = 1,
    on_case: Callable[[Case], None] | None = None,
) -> Evaluation:
    """Runs every system on every case.

    Args:
        cases: what to run on.
        systems: builds the systems; called once here, or once in each worker (then it must survive pickling).
        settings: of the protocol.
        sweep: add the best fixed threshold (`BEST_FIXED`), chosen for each kind of target on these cases.
        workers: processes; each holds its own systems.
        on_case: told of each case when it is done, for a progress bar.

    Raises:
        AnyPETError: no case could be evaluated; the message is the first case's.
    """
    results: dict[str, CaseResult] = {}
    failures: dict[str, str] = {}
    for case, outcome in _outcomes(cases, systems, settings, sweep, workers):
        if isinstance(outcome, AnyPETError):
            log.warning("case %s left out: %s", case.name, outcome)
            failures[case.name] = str(outcome)
        else:
            results[case.name] = outcome
        if on_case is not None:
            on_case(case)
    if failures and not results:
        raise AnyPETError(
            f"none of {len(failures)} cases could be evaluated; first: {next(iter(failures.values()))}"
        )
    ordered = [results[case.name] for case in cases if case.name in results]
    rows = [row for result in ordered for row in result.rows]
    swept = [rows_of_target for result in ordered for rows_of_target in result.sweeps]
    rows += best_fixed(swept) if swept else []
    if not rows:
        raise AnyPETError(
            f"none of {len(cases)} cases holds a target of the kinds {sorted(settings.targets)}"
        )
    return Evaluation(rows, failures)


def _outcomes(
    cases: Sequence[Case], systems: Systems, settings: Settings, sweep: bool, workers: int
) -> Iterator[tuple[Case, CaseResult | AnyPETError]]:
    if workers <= 1:
        built = systems()
        for case in cases:
            yield case, _outcome(case, built, settings, sweep)
        return
    # a fork of a process that has threads (torch, a progress bar) may hang, so workers start afresh
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin_worker, initargs=(systems,)
    ) as pool:
        pending = {pool.submit(_work, case, settings, sweep): case for case in cases}
        for future in as_completed(pending):
            yield pending[future], future.result()


_worker: dict[str, Any] = {}


def _begin_worker(systems: Systems) -> None:
    _worker["systems"] = systems()


def _work(case: Case, settings: Settings, sweep: bool) -> CaseResult | AnyPETError:
    return _outcome(case, _worker["systems"], settings, sweep)


def _outcome(
    case: Case, systems: Sequence[System], settings: Settings, sweep: bool
) -> CaseResult | AnyPETError:
    try:
        scan = case.load()
        held = replace(case, loader=lambda: scan)  # read once for both
        rows = run_case(held, systems, settings)
        swept = chosen_targets(scan, settings) if sweep else []
        sweeps = [_swept(case, scan.pet.array, scan.targets[target], target) for target in swept]
    except AnyPETError as error:
        return error
    return CaseResult(rows, sweeps)


def _swept(case: Case, suv: Any, truth: Any, target: str) -> tuple[Row, ...]:
    """A row for each SUV of the grid, in its order."""
    base = Row(BEST_FIXED, case.group, case.patient, case.name, target, 0, 0, None, None, math.nan)
    scores = threshold_sweep(suv, truth, SUV_GRID)
    return tuple(
        replace(base, values={"dsc": float(score), "threshold_suv": level})
        for level, score in zip(SUV_GRID, scores, strict=True)
    )


def best_fixed(swept: Sequence[tuple[Row, ...]]) -> list[Row]:
    """The rows of the one SUV that has the best mean Dice over patients, for each group and kind of target.

    Chosen on the cases that it is reported on: an optimistic figure, and only Dice is measured.
    """
    kinds: dict[tuple[str, str], list[tuple[Row, ...]]] = defaultdict(list)
    for levels in swept:
        kinds[levels[0].group, kind_of(levels[0].target)].append(levels)
    rows = []
    for members in kinds.values():
        means = [
            np.mean([*patient_means(at_level, lambda row: row.values["dsc"])[0].values()])
            for at_level in zip(*members, strict=True)
        ]
        best = int(np.argmax(means))
        rows += [levels[best] for levels in members]
    return rows
