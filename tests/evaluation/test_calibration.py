"""Reliability and temperature against numbers worked out by hand and against a simulation."""

from __future__ import annotations

import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.evaluation.calibration import Voxels, collect, cross_fitted, fit_temperature, reliability, scaled
from anypet.evaluation.cases import Case
from anypet.volume import Volume
from fakes import FakeModel


def test_expected_calibration_error_by_hand():
    p = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9])
    truth = np.array([False, False, False, True, True, True])
    # bins of 0.5: |0.1 - 1/4| over 4 voxels, |0.9 - 1| over 2
    found = reliability(p, truth, bins=2)
    assert found.ece == pytest.approx((0.15 * 4 + 0.1 * 2) / 6)
    assert found.count.tolist() == [4, 2]
    assert found.share.tolist() == pytest.approx([0.25, 1.0])
    assert reliability(np.array([1.0]), np.array([True])).ece == 0.0


def test_scaling_by_hand():
    assert scaled(np.array([0.9]), 2.0)[0] == pytest.approx(3 / 4)  # odds 9 -> 3
    assert scaled(np.array([0.5]), 3.0)[0] == 0.5
    assert scaled(np.array([0.0]), 1.0)[0] == pytest.approx(1e-4)


def overconfident(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose logits are `temperature` times too large, and truths drawn from the right ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-temperature * logits)), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_right_temperature_is_found(temperature: float):
    p, truth = overconfident(40_000, temperature)
    assert fit_temperature(p, truth) == pytest.approx(temperature, rel=0.05)


def test_cross_fitting_lowers_the_error_of_patients_it_did_not_see():
    p, truth = overconfident(30_000, 2.5)
    voxels = Voxels(p, truth, np.repeat(np.arange(6), 5000))
    temperature, better = cross_fitted(voxels)
    assert temperature == pytest.approx(2.5, rel=0.06)
    assert reliability(better, truth).ece < 0.3 * reliability(p, truth).ece
    spoilt = Voxels(p, np.where(voxels.patient == 0, ~truth, truth), voxels.patient)
    _, own = cross_fitted(spoilt)
    assert own[voxels.patient == 0] == pytest.approx(better[voxels.patient == 0], abs=1e-9)


def test_what_cannot_be_calibrated():
    with pytest.raises(AnyPETError, match="two patients"):
        cross_fitted(Voxels(np.array([0.5]), np.array([True]), np.array([0])))
    with pytest.raises(AnyPETError, match="give as many"):
        reliability(np.zeros(2), np.zeros(3, bool))
    with pytest.raises(AnyPETError, match="no target"):
        collect([], None)  # type: ignore[arg-type]


def test_voxels_are_those_in_and_around_the_targets():
    truth = np.zeros((40, 40, 40), dtype=bool)
    truth[15:25, 15:25, 15:25] = True
    pet = Volume(np.where(truth, 6.0, 0.5).astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), "SUVbw")
    cases = [Case.of(name, pet, {"tumour": truth}) for name in ("a", "b")]
    voxels = collect(cases, FakeModel(), margin_mm=8.0)
    assert set(voxels.patient.tolist()) == {0, 1}
    assert voxels.truth.sum() == 2 * truth.sum()
    assert voxels.probability[voxels.truth].mean() > voxels.probability[~voxels.truth].mean()
