"""The protocol with segmenters whose numbers are worked by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from anypet.autopet.protocol import (
    SCORES,
    Measured,
    ProtocolCase,
    Step,
    case_scores,
    run_case,
    step_means,
    summarise_scores,
)
from anypet.errors import AnyPETError, PromptError
from anypet.lesions.click_files import LesionClicks
from anypet.volume import Volume

SHAPE = (40, 10, 10)
AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])  # 0.01 mL a voxel
ML = 0.01


def case(lesions: int = 10, name: str = "a", patient: str = "p") -> ProtocolCase:
    """`lesions` cubes of 8 voxels in a row, a click in each; as many background clicks between them."""
    truth = np.zeros(SHAPE, np.uint8)
    tumour = tuple((4 * n, 4, 4) for n in range(lesions))
    for i, j, k in tumour:
        truth[i : i + 2, j : j + 2, k : k + 2] = 1
    background = tuple((4 * n, 8, 8) for n in range(10))
    pet = Volume(np.ones(SHAPE, np.float32), AFFINE, "SUVbw")
    clicks = LesionClicks(tumour, background)
    return ProtocolCase(name, patient, pet, None, Volume(truth, AFFINE, "label"), clicks)


def finder(pet: Volume, ct: Volume | None, clicks: LesionClicks) -> npt.NDArray[np.bool_]:
    """Finds each clicked lesion whole, and a false one of 2 voxels at each of ten places not clicked yet."""
    mask = np.zeros(pet.shape, bool)
    for i, j, k in clicks.tumour:
        mask[i : i + 2, j : j + 2, k : k + 2] = True
    for n in range(len(clicks.background), 10):
        mask[4 * n : 4 * n + 2, 8, 8] = True
    return mask


def test_eleven_steps_by_hand() -> None:
    given: list[LesionClicks] = []

    def watched(pet: Volume, ct: Volume | None, clicks: LesionClicks) -> npt.NDArray[np.bool_]:
        given.append(clicks)
        return finder(pet, ct, clicks)

    whole = case()
    rows = run_case(whole, watched)
    assert [row.step for row in rows] == list(range(11))
    assert given[0] == LesionClicks()
    for step, clicks in enumerate(given):  # cumulative prefixes of either kind
        assert clicks.tumour == whole.clicks.tumour[:step]
        assert clicks.background == whole.clicks.background[:step]
    for n, row in enumerate(rows):
        found, false = 8 * n, 2 * (10 - n)
        assert row.values["dsc"] == pytest.approx(2 * found / (80 + found + false))
        assert row.values["fpv"] == pytest.approx(false * ML)
        assert row.values["fnv"] == pytest.approx((80 - found) * ML)
        assert row.values["f1"] == row.values["dmm"] == pytest.approx(2 * n / (2 * n + 2 * (10 - n)))
        counts = (row.values["lesions"], row.values["found"], row.values["false_positives"])
        assert counts == (10, n, 10 - n)
        assert row.seconds >= 0
    (score,) = case_scores(rows)
    dice = [16 * n / (100 + 6 * n) for n in range(11)]
    assert score.values["auc_dsc"] == pytest.approx(sum(dice) - (dice[0] + dice[-1]) / 2)
    assert score.values["auc_fpv"] == pytest.approx(0.2 * 10 / 2)  # a triangle: 0.2 mL falling to 0
    assert score.values["auc_fnv"] == pytest.approx(0.8 * 10 / 2)
    assert score.values["auc_dmm"] == pytest.approx(10 / 2)
    assert [score.values[f"{name}_last"] for name in ("dsc", "fpv", "fnv", "dmm", "f1")] == [1, 0, 0, 1, 1]
    (normalised,) = case_scores(rows, normalised=True)
    for name in ("auc_dsc", "auc_fpv", "auc_fnv", "auc_dmm"):
        assert normalised.values[name] == pytest.approx(score.values[name] / 10)


def test_a_case_without_lesions_has_false_positives_alone() -> None:
    rows = run_case(case(lesions=0), finder)
    (score,) = case_scores(rows)
    defined = {name for name, value in score.values.items() if not math.isnan(value)}
    assert defined == {"fpv_last", "auc_fpv"}
    assert score.values["auc_fpv"] == pytest.approx(1.0)


def test_the_iou_of_a_match_is_a_setting() -> None:
    def halves(pet: Volume, ct: Volume | None, clicks: LesionClicks) -> npt.NDArray[np.bool_]:
        mask = case().truth.array != 0
        mask[1::2] = False  # IoU 1/2 each
        return mask

    assert run_case(case(), halves, steps=2)[0].values["dmm"] == 1
    strict = run_case(case(), halves, steps=2, dmm_iou=0.6)[0].values
    assert (strict["dmm"], strict["f1"]) == (0, 1)


def test_means_are_over_cases_and_intervals_over_patients() -> None:
    nan = math.nan
    values = {"p1": [0.2, 0.4], "p2": [0.9], "p3": [nan]}
    scores = [
        Measured(f"{patient}-{n}", patient, {**dict.fromkeys(SCORES, nan), "dsc_last": value})
        for patient, of_cases in values.items()
        for n, value in enumerate(of_cases)
    ]
    lines = {line.name: line for line in summarise_scores(scores)}
    dice = lines["dsc_last"]
    assert (dice.mean, dice.cases) == (pytest.approx(0.5), 3)  # as the challenge: NaN left out
    assert (dice.interval.mean, dice.interval.patients) == (pytest.approx(0.6), 2)
    assert dice.interval.low == pytest.approx(0.3)
    assert dice.interval.high == pytest.approx(0.9)
    assert math.isnan(lines["auc_f1"].mean)
    assert lines["auc_f1"].cases == lines["auc_f1"].interval.patients == 0


def test_the_curve_over_steps() -> None:
    rows = run_case(case(name="a", patient="p"), finder, 3)
    rows += run_case(case(4, "b", "q"), finder, 3)
    means = step_means(rows, "fnv")
    assert [m.mean for m in means] == pytest.approx([(0.8 + 0.32) / 2, (0.72 + 0.24) / 2, (0.64 + 0.16) / 2])
    assert all(m.patients == 2 for m in means)


def test_incomplete_and_impossible_cases_are_refused() -> None:
    rows = run_case(case(), finder, 3)
    for wrong in (rows[:1], [rows[0], rows[2]], [*rows, rows[1]]):
        with pytest.raises(AnyPETError, match=r"a has steps \[.*\]; expected 0, 1, 2"):
            case_scores(wrong)
    whole = case()
    outside = ProtocolCase("a", "p", whole.pet, None, whole.truth, LesionClicks(((50, 0, 0),)))
    with pytest.raises(PromptError, match="the clicks of a: tumor click 0"):
        run_case(outside, finder)
    other = ProtocolCase(
        "a", "p", whole.pet, None, Volume(whole.truth.array, np.eye(4), "label"), whole.clicks
    )
    with pytest.raises(AnyPETError, match="does not lie on the grid"):
        run_case(other, finder)
    with pytest.raises(AnyPETError, match="the segmenter gave"):
        run_case(whole, lambda pet, ct, clicks: np.ones(SHAPE))  # type: ignore[arg-type, return-value]


def test_a_step_names_its_target() -> None:
    assert Step("a", "p", {}, 0, 0.0).target == "lesions"
