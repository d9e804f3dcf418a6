"""The mixture of simulated and real patches."""

from __future__ import annotations

import numpy as np
import pytest
from toys import TINY, OneStudy

from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case
from anypet.training.config import Settings
from anypet.training.real import RealCases
from anypet.training.sources import Mixture
from anypet.volume import Volume


def real() -> RealCases:
    truth = np.zeros((30, 30, 30), dtype=bool)
    truth[10:20, 8:22, 9:21] = True
    pet = Volume(truth.astype(np.float32) * 3 + 0.5, np.diag([5.0, 5.0, 3.0, 1.0]), "SUVbw")
    return RealCases([Case.of("p", pet, {"tumour": truth})], 32)


def test_real_and_simulated_patches_are_mixed():
    settings = Settings(**{**TINY, "real_share": 0.3})
    mixture, rng = Mixture(OneStudy(), real(), settings), np.random.default_rng(0)
    kinds = [p.kind for p in (mixture(rng) for _ in range(200)) if p is not None]
    assert kinds.count("real") / len(kinds) == pytest.approx(0.3, abs=0.08)
    only = Mixture(OneStudy(0), real(), settings)
    assert getattr(only(rng), "kind", "real") == "real"


def test_a_share_of_the_studies_is_of_low_quality():
    settings = Settings(**{**TINY, "low_share": 0.75})
    mixture, rng = Mixture(OneStudy(20), None, settings), np.random.default_rng(0)
    assert len(mixture.low) == 15
    flags = [p.high_quality for p in (mixture(rng) for _ in range(120)) if p is not None]
    assert np.mean(flags) == pytest.approx(0.25, abs=0.1)


def test_nothing_to_train_on():
    with pytest.raises(AnyPETError, match="nothing to train on"):
        Mixture(OneStudy(0), None, Settings(**TINY))


def test_unknown_organs_cannot_be_left_out():
    with pytest.raises(AnyPETError, match="livr"):
        Mixture(OneStudy(), None, Settings(**{**TINY, "left_out": ("livr",)}))
