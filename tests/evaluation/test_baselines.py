"""Thresholds and the random walker on images whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError, PromptError
from anypet.evaluation.baselines import (
    SUV_GRID,
    ClickedThreshold,
    RandomWalker,
    baselines,
    hottest_near,
    hottest_of,
    joined_region,
    oracle_levels,
    threshold_sweep,
)
from anypet.evaluation.cases import Case, sts_cases
from anypet.evaluation.metrics import dice
from anypet.evaluation.protocol import Row, Settings, run_case
from anypet.evaluation.run import best_fixed
from anypet.volume import Volume

SPACING = (4.0, 4.0, 4.0)


def volume(suv: np.ndarray) -> Volume:
    return Volume(suv.astype(np.float32), np.diag([*SPACING, 1.0]), "SUVbw")


@pytest.fixture
def two_hot_spots() -> np.ndarray:
    suv = np.ones((30, 12, 12))
    suv[3:9, 3:9, 3:9] = 5.0
    suv[5, 5, 5] = 10.0
    suv[18:25, 3:9, 3:9] = 8.0
    return suv


def test_joined_region_stops_where_uptake_does(two_hot_spots: np.ndarray) -> None:
    region = joined_region(two_hot_spots, 4.1, (5, 5, 5))
    assert region.sum() == 6**3
    assert not region[18:].any()
    assert joined_region(two_hot_spots, 99.0, (5, 5, 5)).sum() == 1  # the seed stays in


def test_hottest_point_within_ten_millimetres(two_hot_spots: np.ndarray) -> None:
    assert hottest_near(two_hot_spots, (5, 5, 7), SPACING) == (5, 5, 5)
    assert hottest_near(two_hot_spots, (5, 5, 8), SPACING) != (5, 5, 5)  # 12 mm off
    assert two_hot_spots[hottest_near(two_hot_spots, (0, 0, 0), SPACING)] == 1.0
    target = np.zeros(two_hot_spots.shape, dtype=bool)
    target[18:, 4:, :] = True
    assert hottest_of(two_hot_spots, target) == (18, 4, 3)
    with pytest.raises(PromptError, match="empty"):
        hottest_of(two_hot_spots, np.zeros_like(target))


def test_clicked_thresholds_join_and_cut(two_hot_spots: np.ndarray) -> None:
    baseline = ClickedThreshold(volume(two_hot_spots), 0.41, relative=True)
    first = baseline.add_point((5, 5, 6))
    assert first.sum() == 6**3
    both = baseline.add_point((21, 5, 5))
    assert both.sum() == 6**3 + 7 * 36
    assert first.sum() == 6**3  # what was given before is left alone
    cut = baseline.add_point((24, 5, 5), positive=False)
    assert cut[:22].sum() == both[:22].sum()
    assert cut[23:].sum() == 0  # nearer to the negative click


def test_a_negative_click_alone_gives_nothing(two_hot_spots: np.ndarray) -> None:
    for baseline in (
        ClickedThreshold(volume(two_hot_spots), 2.5, relative=False),
        RandomWalker(volume(two_hot_spots)),
    ):
        assert not baseline.add_point((5, 5, 5), positive=False).any()


def test_the_sweep_is_the_dice_of_each_region(two_hot_spots: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    suv = two_hot_spots + rng.normal(scale=0.7, size=two_hot_spots.shape)
    target = np.zeros(suv.shape, dtype=bool)
    target[2:9, 2:9, 3:9] = True
    swept = threshold_sweep(suv, target, SUV_GRID)
    seed = hottest_of(suv, target)
    assert list(swept) == pytest.approx([dice(target, joined_region(suv, level, seed)) for level in SUV_GRID])


@given(st.integers(0, 1000))
@settings(max_examples=4, deadline=None)
def test_the_oracle_is_the_best_of_the_told_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = np.zeros((12, 12, 12), dtype=bool)
    target[3:9, 3:9, 3:9] = True
    suv = 1 + 4 * target + rng.exponential(1.0, size=target.shape)
    case = Case.of("c", volume(suv), {"t": target})
    rows = {
        r.system: r.values["dsc"]
        for r in run_case(case, baselines(random_walker=False), Settings((1,), 1))
        if r.told
    }
    assert len(rows) == 5
    peak = float(suv.astype(np.float32)[hottest_of(suv, target)])
    assert rows["oracle, told"] == pytest.approx(
        threshold_sweep(suv.astype(np.float32), target, oracle_levels(peak)).max()
    )
    assert rows["oracle, told"] >= max(threshold_sweep(suv.astype(np.float32), target, SUV_GRID)) - 1e-9
    assert all(
        rows["oracle, told"] >= rows[f"{name}, told"] - 1e-9 for name in ("SUV 2.5", "SUV 4.0", "50 %")
    )


def test_random_walker_finds_a_bright_box_from_its_clicks() -> None:
    suv = np.ones((28, 28, 28))
    target = np.zeros(suv.shape, dtype=bool)
    target[8:20, 8:20, 8:20] = True
    suv[target] = 6.0
    walker = RandomWalker(volume(suv))
    assert dice(target, walker.add_point((14, 14, 14))) > 0.95
    cut = walker.add_point((18, 18, 18), positive=False)
    assert not cut[18, 18, 18]
    assert not walker.add_point((27, 0, 0), positive=False)[27, 0, 0]


def test_best_fixed_threshold_is_chosen_for_each_kind_over_patients() -> None:
    def sweep(patient: str, target: str, *dsc: float) -> tuple[Row, ...]:
        return tuple(
            Row(
                "best", "g", patient, patient, target, 0, 0, None, None, 0.0, {"dsc": d, "threshold_suv": suv}
            )
            for suv, d in enumerate(dsc)
        )

    # the patient with two lesions counts once: level 1 wins by patients, level 0 would by lesions
    swept = [
        sweep("a", "lesion 1", 0.9, 0.5),
        sweep("a", "lesion 2", 0.9, 0.5),
        sweep("b", "lesion 1", 0.1, 0.8),
    ]
    swept.append(sweep("a", "liver", 0.9, 0.1))
    rows = best_fixed(swept)
    assert [(r.target, r.patient, r.values["threshold_suv"]) for r in rows] == [
        ("lesion 1", "a", 1),
        ("lesion 2", "a", 1),
        ("lesion 1", "b", 1),
        ("liver", "a", 0),
    ]


def test_random_walker_is_the_same_wherever_the_box_begins() -> None:
    rng = np.random.default_rng(1)
    suv = rng.exponential(1.0, size=(10, 10, 10))
    suv[3:7, 3:7, 3:7] += 6
    padded = np.pad(suv, ((20, 25), (20, 20), (18, 20)), constant_values=0.5)
    near = RandomWalker(volume(padded), margin_mm=16).add_point((25, 25, 23))
    assert near[23:27, 23:27, 21:25].mean() > 0.9
    assert near.sum() < 200


@pytest.mark.data
def test_told_thresholds_on_the_sarcoma_patients(shared_data: object) -> None:
    cases = sts_cases(shared_data)  # type: ignore[arg-type]
    if len(cases) != 26:
        pytest.skip("the figures are those of the 26 patients of the split")
    told = [system for system in baselines(random_walker=False) if system.told]
    scores: dict[str, list[float]] = {system.name: [] for system in told}
    for case in cases:
        scan = case.load()
        target = scan.targets["tumour"]
        for system in told:
            assert system.told is not None
            scores[system.name].append(dice(target, system.told(scan.pet, target)))
    means = {name: round(float(np.mean(values)), 2) for name, values in scores.items()}
    assert means == {
        "41 %, told": 0.34,
        "50 %, told": 0.22,
        "SUV 2.5, told": 0.52,
        "SUV 4.0, told": 0.36,
        "oracle, told": 0.70,
    }


def test_names_are_unique() -> None:
    names = [system.name for system in baselines()]
    assert len(set(names)) == len(names)
    with pytest.raises(AnyPETError):
        type(baselines()[0])("both", make=ClickedThreshold, told=np.zeros)  # type: ignore[arg-type]
