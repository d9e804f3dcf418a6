"""The mixture of simulated and real patches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import TINY, OneStudy

from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case
from anypet.training.config import Settings
from anypet.training.real import real_studies
from anypet.training.sources import Mixture
from anypet.volume import Volume


def case(name: str = "p", target: str = "tumour", high_quality: bool = True) -> Case:
    truth = np.zeros((30, 30, 30), dtype=bool)
    truth[10:20, 8:22, 9:21] = True
    pet = Volume(truth.astype(np.float32) * 3 + 0.5, np.diag([5.0, 5.0, 3.0, 1.0]), "SUVbw")
    return replace(Case.of(name, pet, {target: truth}), high_quality=high_quality, identity=(name, target))


def test_real_and_simulated_patches_are_mixed():
    settings = Settings(**{**TINY, "real_share": 0.3})
    mixture, rng = Mixture(OneStudy(), real_studies([case()]), settings), np.random.default_rng(0)
    kinds = [p.kind for p in (mixture(rng) for _ in range(200)) if p is not None]
    assert kinds.count("real") / len(kinds) == pytest.approx(0.3, abs=0.08)
    only = Mixture(OneStudy(0), real_studies([case()]), settings)
    assert {p.kind for p in (only(rng) for _ in range(20)) if p is not None} == {"real"}


def test_real_cases_keep_quality_and_mirror_only_what_lies_anywhere(tmp_path: Path):
    rng = np.random.default_rng(0)
    cases = [case("a"), case("b", "left kidney", high_quality=False), case("c", "lesion 2")]
    for cache in (None, tmp_path / "cases", tmp_path / "cases"):
        studies = real_studies(cases, cache)
        assert [s.objects[0].mirror for s in studies] == [True, False, True]
        assert [s.high_quality for s in studies] == [True, False, True]
        mixture = Mixture(OneStudy(0), studies[1:2], Settings(**TINY))
        patch = next(p for p in (mixture(rng) for _ in range(9)) if p is not None)
        assert not patch.high_quality
        assert not patch.mirror
        assert patch.parts is None
        ml = float(patch.targets[0].sum()) * patch.spacing**3 / 1000
        assert ml <= 10 * 14 * 12 * 75 / 1000 * 1.2
    assert len(list((tmp_path / "cases").iterdir())) == 3


def test_a_share_of_the_studies_is_of_low_quality():
    settings = Settings(**{**TINY, "low_share": 0.75})
    mixture, rng = Mixture(OneStudy(20), [], settings), np.random.default_rng(1)
    assert set(mixture.low) == set(range(5, 20))  # the last ones, whatever the seed
    flags = [p.high_quality for p in (mixture(rng) for _ in range(300)) if p is not None]
    assert np.mean(flags) == pytest.approx(0.25, abs=0.12)


def test_nothing_to_train_on():
    with pytest.raises(AnyPETError, match="nothing to train on"):
        Mixture(OneStudy(0), [], Settings(**TINY))


def test_unknown_organs_cannot_be_left_out():
    with pytest.raises(AnyPETError, match="livr"):
        Mixture(OneStudy(), [], Settings(**{**TINY, "left_out": ("livr",)}))
