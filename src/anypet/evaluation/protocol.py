"""The click protocol: a first click inside the object, then one at the deepest point of the largest error.

What is evaluated is anything that takes clicks and gives masks (`Interactive`), so that models and baselines
run the same code and, for the same seed, get the same first click. A system that is perfect after some click
keeps its mask to the end: later clicks carry its last values, with no time of their own.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from anypet.clicks import BoolArray, Voxel, first_click, next_click
from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case, Scan, kind_of
from anypet.evaluation.metrics import measure
from anypet.volume import Volume

log = logging.getLogger(__name__)

NOC_LEVELS = (0.80, 0.85, 0.90)


class Interactive(Protocol):
    """One object being segmented in one scan."""

    def add_point(self, ijk: Voxel, positive: bool = True) -> Any:
        """Adds a click at a voxel (i, j, k); gives the (I, J, K) mask as an array of bool."""


@dataclass(frozen=True)
class System:
    """Something to evaluate.

    Args:
        name: as it stands in tables.
        make: begins a new object in a scan.
        told: instead of `make`, for baselines that see the truth and which clicks do not change: gives the
            (I, J, K) mask from the scan and the true object.
    """

    name: str
    make: Callable[[Volume], Interactive] | None = None
    told: Callable[[Volume, BoolArray], Any] | None = None

    def __post_init__(self) -> None:
        if (self.make is None) == (self.told is None):
            raise AnyPETError(f"system {self.name!r} needs either `make` or `told`")


@dataclass(frozen=True)
class Settings:
    """How the protocol is run.

    Args:
        clicks: click counts at which all metrics are measured, rising; the last is the number of clicks.
        seeds: how many times each target is run, each time from another first click.
        tolerance_mm: of the surface Dice.
        targets: kinds of target to run ("liver", "lesion"); all when empty.
    """

    clicks: tuple[int, ...] = (1, 3, 5, 10)
    seeds: int = 3
    tolerance_mm: float = 3.0
    targets: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.clicks or min(self.clicks) < 1 or sorted(set(self.clicks)) != list(self.clicks):
            raise AnyPETError(f"the click counts must rise from 1 or more, got {self.clicks}")
        if self.seeds < 1:
            raise AnyPETError(f"at least one seed is needed, got {self.seeds}")


@dataclass(frozen=True)
class Row:
    """The state of one run after one click.

    Args:
        system, group, patient, case, target: what was run on what.
        seed: which first click.
        click: how many clicks were given, from 1; 0 for a system that is told, whatever the clicks.
        voxel: where the newest was, (i, j, k); None when no click was needed any more.
        positive: its sign; None likewise.
        seconds: what the newest click took (the first includes beginning the object); NaN likewise.
        values: metric name -> value; only "dsc" at click counts that `Settings.clicks` leaves out.
    """

    system: str
    group: str
    patient: str
    case: str
    target: str
    seed: int
    click: int
    voxel: Voxel | None
    positive: bool | None
    seconds: float
    values: dict[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The target without its number."""
        return kind_of(self.target)

    @property
    def told(self) -> bool:
        """Whether the system saw the truth and no clicks."""
        return self.click == 0


def first_click_rng(case: str, target: str, seed: int) -> np.random.Generator:
    """The source of a run's first click: the same for every system, whatever else is evaluated."""
    name = hashlib.sha256(f"{case}\0{target}".encode()).digest()[:8]
    return np.random.default_rng([seed, int.from_bytes(name, "big")])


def run_case(case: Case, systems: Iterable[System], settings: Settings) -> list[Row]:
    """Every system on every chosen target of a case, which is read once.

    Raises:
        AnyPETError: the case cannot be read, or a system gives a mask of another shape.
    """
    scan = case.load()
    rows = []
    for target in chosen_targets(scan, settings):
        for system in systems:
            for seed in range(settings.seeds if system.make else 1):
                rows += run_target(case, scan, target, system, settings, seed)
        log.info("%s: %s done", case.name, target)
    return rows


def chosen_targets(scan: Scan, settings: Settings) -> list[str]:
    """The names of the targets that the settings ask for, all without; "lesion" asks for small ones too.

    Hidden lesions, which the PET does not show, are only taken where they are named.
    """
    wanted = settings.targets
    if "lesion" in wanted:
        wanted |= {"small lesion"}
    kinds = {name: kind_of(name) for name in scan.targets}
    return [name for name, kind in kinds.items() if (kind in wanted if wanted else kind != "hidden lesion")]


def run_target(
    case: Case, scan: Scan, target: str, system: System, settings: Settings, seed: int
) -> list[Row]:
    """One run: one system, one target, one first click; a row for each click up to the last.

    A system that is told gives a single row.

    Raises:
        AnyPETError: the system gives a mask of another shape.
    """
    truth, pet = scan.targets[target], scan.pet

    def measured(mask: BoolArray, names: list[str] | None) -> dict[str, float]:
        return measure(truth, mask, pet.spacing, pet.array, tolerance_mm=settings.tolerance_mm, metrics=names)

    base = Row(system.name, case.group, case.patient, case.name, target, seed, 0, None, None, math.nan)
    if system.told is not None:
        mask = _checked(system.told(pet, truth), pet, system)
        return [replace(base, values=measured(mask, None))]
    rows: list[Row] = []
    interactive: Interactive | None = None
    click: tuple[Voxel, bool] | None
    click = first_click(truth, first_click_rng(case.name, target, seed), pet.spacing), True
    mask = np.zeros(pet.shape, dtype=bool)
    for count in range(1, settings.clicks[-1] + 1):
        row = replace(base, click=count)
        names = None if count in settings.clicks else ["dsc"]
        if click is not None:
            began = time.perf_counter()
            if interactive is None:
                assert system.make is not None  # System's own check
                interactive = system.make(pet)
            given = interactive.add_point(click[0], positive=click[1])
            seconds = time.perf_counter() - began
            mask = _checked(given, pet, system)
            row = replace(
                row, voxel=click[0], positive=click[1], seconds=seconds, values=measured(mask, names)
            )
            click = next_click(truth, mask, pet.spacing)
        else:
            row = replace(row, values=measured(mask, names))
        rows.append(row)
    return rows


def _checked(given: Any, pet: Volume, system: System) -> BoolArray:
    """The mask that a system gave, as an array of bool (a `Volume` is taken for its voxels)."""
    mask = np.asarray(getattr(given, "array", given))
    if mask.shape != pet.shape:
        raise AnyPETError(
            f"system {system.name!r} gave a mask of shape {mask.shape}, the scan has {pet.shape}"
        )
    # a copy: what the system does to its own array later must not reach the record
    return mask.astype(bool)


def number_of_clicks(dsc: Sequence[float], level: float) -> int:
    """Clicks until a Dice of at least `level` is first reached.

    Args:
        dsc: Dice after 1, 2, ... N clicks.
        level: Dice to reach.

    Returns:
        1 to N, or N + 1 when N clicks do not reach it (so means are lower bounds).
    """
    return next((n for n, value in enumerate(dsc, start=1) if value >= level), len(dsc) + 1)
