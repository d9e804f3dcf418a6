"""IBSI features by MIRP: its numbers against ours, and what is refused."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.quantify.measures import measure
from anypet.quantify.radiomics import features
from spheres import ball, empty

SCAN = empty((4.0, 4.0, 3.0), 48.0, (0.0, 0.0, 180.0))
RNG = np.random.default_rng(0)
PET = SCAN.with_array(RNG.gamma(9.0, 0.5, SCAN.shape).astype(np.float32))
MASK = {"lesion": ball(PET, (1.0, -1.0, 0.0), 13.0)}


def test_agrees_with_our_measures() -> None:
    """Two programs, one definition: MIRP's IBSI mesh and statistics are those of the table."""
    pytest.importorskip("mirp")
    found = features(PET, MASK, families=("morphological", "statistical"))["lesion"]
    row = measure(PET, MASK).rows[0]
    expected = {
        "stat_mean": row.suv_mean,
        "stat_median": row.suv_median,
        "stat_max": row.suv_max,
        "stat_var": row.suv_sd**2,  # type: ignore[operator]
        "morph_vol_approx": row.volume_ml * 1000,
        "morph_area_mesh": row.surface_cm2 * 100,  # type: ignore[operator]
        "morph_sphericity": row.sphericity,
        "morph_diam": row.longest_mm,
        "morph_integ_int": row.suv_mean * found["morph_volume"],  # type: ignore[operator]
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    assert not any(name.startswith("image") for name in found)


def test_bins_and_spacing_are_passed_on() -> None:
    pytest.importorskip("mirp")
    before = logging.getLogger().handlers[:], logging.getLogger().level, logging.root.manager.disable
    found = features(PET, MASK, families=("ih", "mrp"), bin_width=0.5, spacing_mm=5.0)["lesion"]
    assert found["morph_vol_approx"] % 125 == pytest.approx(0, abs=1e-6)
    assert found["ih_max_fbs_w0.5"] <= np.floor(PET.array[MASK["lesion"]].max() / 0.5) + 1
    assert (logging.getLogger().handlers, logging.getLogger().level, logging.root.manager.disable) == before


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if "mirp" in sys.modules or __import__("importlib.util").util.find_spec("mirp"):
        with pytest.raises(AnyPETError, match="positive"):
            features(PET, MASK, bin_width=0)
        with pytest.raises(AnyPETError, match="lesion: MIRP cannot"):
            features(PET, MASK, families=("poetry",))
    monkeypatch.setitem(sys.modules, "mirp", None)
    with pytest.raises(AnyPETError, match=r"pip install anypet\[radiomics\]"):
        features(PET, MASK)
