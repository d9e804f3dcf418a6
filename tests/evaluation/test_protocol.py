"""The click protocol and the runner, with stand-ins whose answers are known."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case, Scan
from anypet.evaluation.protocol import (
    Settings,
    System,
    chosen_targets,
    first_click_rng,
    number_of_clicks,
    run_case,
)
from anypet.evaluation.run import BEST_FIXED, evaluate_cases
from anypet.volume import Volume

SHAPE = (14, 12, 10)
SETTINGS = Settings(clicks=(1, 3, 5), seeds=2)


def box_target() -> np.ndarray:
    target = np.zeros(SHAPE, dtype=bool)
    target[3:10, 3:9, 2:8] = True
    return target


def make_case(name: str = "case", patient: str = "p", unit: str = "SUVbw") -> Case:
    target = box_target()
    suv = np.where(target, 5.0, 1.0).astype(np.float32)
    pet = Volume(suv, np.diag([4.0, 4.0, 3.0, 1.0]), unit)
    lesion = np.zeros(SHAPE, dtype=bool)
    lesion[12:14, 10:12, 8:10] = True
    return Case.of(name, pet, {"organ": target, "lesion 1": lesion}, patient)


class Perfect:
    """Half of the box after one click, the whole after two."""

    def __init__(self, volume: Volume) -> None:
        self.clicks: list[tuple[tuple[int, int, int], bool]] = []
        self.mask = np.zeros(volume.shape, dtype=bool)

    def add_point(self, ijk: tuple[int, int, int], positive: bool = True) -> np.ndarray:
        self.clicks.append((ijk, positive))
        target = box_target()
        self.mask[:] = target  # the same array every time: the record must not change with it
        if len(self.clicks) == 1:
            self.mask[:6] = False
        return self.mask


class Empty:
    def __init__(self, volume: Volume) -> None:
        self.shape = volume.shape

    def add_point(self, ijk: tuple[int, int, int], positive: bool = True) -> np.ndarray:
        assert positive
        return np.zeros(self.shape, dtype=np.uint8)


def told(volume: Volume, target: np.ndarray) -> np.ndarray:
    return target


def systems() -> list[System]:
    return [System("perfect", Perfect), System("empty", Empty), System("truth", told=told)]


def test_a_run_that_becomes_perfect_keeps_its_values_to_the_end() -> None:
    settings = Settings(clicks=(1, 3, 5), seeds=2, targets=frozenset({"organ"}))
    rows = [row for row in run_case(make_case(), systems(), settings) if row.system == "perfect"]
    assert len(rows) == 2 * 5
    for seed in (0, 1):
        run = [row for row in rows if row.seed == seed]
        assert [row.click for row in run] == [1, 2, 3, 4, 5]
        assert run[0].values["dsc"] == pytest.approx(2 * 4 / (4 + 7))
        assert [row.values["dsc"] for row in run[1:]] == [1.0] * 4
        assert [row.positive for row in run] == [True, True, None, None, None]
        assert run[1].voxel is not None
        assert run[1].voxel[0] < 6  # in what was missed
        assert math.isfinite(run[1].seconds)
        assert math.isnan(run[2].seconds)
        assert set(run[1].values) == {"dsc"}
        assert run[2].values["nsd"] == 1.0
        assert run[4].values["tlg_error"] == 0.0


def test_lesions_include_small_ones() -> None:
    mask = np.ones((2, 2, 2), dtype=bool)
    scan = Scan(Volume(mask.astype(np.float32), np.eye(4), "SUVbw"), {
        "liver": mask, "lesion 1": mask, "small lesion 2": mask,
    })  # fmt: skip
    assert chosen_targets(scan, Settings(targets=frozenset({"lesion"}))) == ["lesion 1", "small lesion 2"]
    assert chosen_targets(scan, Settings(targets=frozenset({"small lesion"}))) == ["small lesion 2"]
    assert len(chosen_targets(scan, Settings())) == 3


def test_first_clicks_are_shared_by_systems_and_do_not_depend_on_company() -> None:
    rows = run_case(make_case(), systems(), SETTINGS)
    alone = run_case(make_case(), [systems()[1]], SETTINGS)
    first = {(r.target, r.seed): r.voxel for r in rows if r.system == "perfect" and r.click == 1}
    other = {(r.target, r.seed): r.voxel for r in alone if r.click == 1}
    assert first == other
    assert {r.target for r in rows} == {"organ", "lesion 1"}
    again = run_case(make_case(), systems(), SETTINGS)
    assert [(r.voxel, r.values["dsc"]) for r in rows] == [(r.voxel, r.values["dsc"]) for r in again]
    draws = [first_click_rng("a", "b", seed).integers(2**40) for seed in range(3)]
    assert len(set(draws)) == 3


def test_a_told_system_gives_one_row_for_each_target() -> None:
    rows = [row for row in run_case(make_case(), systems(), SETTINGS) if row.system == "truth"]
    assert [(row.target, row.click, row.told, row.values["dsc"]) for row in rows] == [
        ("organ", 0, True, 1.0),
        ("lesion 1", 0, True, 1.0),
    ]
    assert [row.kind for row in rows] == ["organ", "lesion"]


def test_wrong_shapes_and_settings_are_refused() -> None:
    class Wrong(Empty):
        def add_point(self, ijk: tuple[int, int, int], positive: bool = True) -> np.ndarray:
            return np.zeros((2, 2, 2))

    with pytest.raises(AnyPETError, match=r"'wrong'.*\(2, 2, 2\)"):
        run_case(make_case(), [System("wrong", Wrong)], SETTINGS)
    with pytest.raises(AnyPETError, match="make"):
        System("neither")
    for clicks in ((), (0, 1), (3, 1), (1, 1)):
        with pytest.raises(AnyPETError, match="click counts"):
            Settings(clicks=clicks)
    with pytest.raises(AnyPETError, match="seed"):
        Settings(seeds=0)


def test_number_of_clicks_is_capped_one_above() -> None:
    dsc = [0.5, 0.82, 0.79, 0.9]
    assert [number_of_clicks(dsc, level) for level in (0.5, 0.8, 0.9, 0.95)] == [1, 2, 4, 5]


@pytest.mark.parametrize("workers", [1, 2])
def test_runner_keeps_the_order_and_reports_failures(workers: int) -> None:
    cases = [make_case("b", "p1"), make_case("bad", "p2", unit="Bq/mL"), make_case("a", "p3")]
    told_of: list[str] = []
    settings = Settings(clicks=(1, 2), seeds=1)
    result = evaluate_cases(
        cases, systems, settings, sweep=True, workers=workers, on_case=lambda case: told_of.append(case.name)
    )
    assert list(dict.fromkeys(row.case for row in result.rows)) == ["b", "a"]
    assert list(result.failures) == ["bad"]
    assert sorted(told_of) == ["a", "b", "bad"]
    best = [row for row in result.rows if row.system == BEST_FIXED and row.target == "organ"]
    assert [row.values["dsc"] for row in best] == [1.0, 1.0]
    assert 1.0 < best[0].values["threshold_suv"] <= 5.0


def test_runner_says_when_nothing_is_left() -> None:
    with pytest.raises(AnyPETError, match="Bq/mL"):
        evaluate_cases([make_case(unit="Bq/mL")], systems, SETTINGS)
    with pytest.raises(AnyPETError, match="heart"):
        evaluate_cases([make_case()], systems, Settings(targets=frozenset({"heart"})))


def test_a_case_is_read_once() -> None:
    reads = []

    def loader(scan: Scan) -> Scan:
        reads.append(1)
        return scan

    case = Case("c", "p", "memory", partial(loader, make_case().load()))
    evaluate_cases([case], systems, Settings(clicks=(1,), seeds=1), sweep=True)
    assert len(reads) == 1
