"""Simulated visits hold what was planned, and what was planned is found."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.quantify import followup
from anypet.quantify.followup import PLANS, Pair, Plan, answer, simulate_pair
from anypet.simulate.anatomy import analytic_anatomy

BODY = analytic_anatomy(1, 6.0)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return simulate_pair(BODY, 5, Plan("PMD", 0.5, gone=1, new=1))


def test_what_was_planted_is_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other plans, on finer bodies: benchmarks/response.py."""
    found = answer(pair)
    assert found.response_right, found.proposal.meaning
    assert found.matching_right, found.matches
    assert [m.kind for m in found.matches.matches].count("vanished") == 1
    # the same findings are wrong where another truth was planted
    monkeypatch.setattr(followup, "align", lambda *_: None)  # no pose: lesions are at other places
    labels = pair.followup.lesions
    swapped = np.where(labels.array == 2, 3, np.where(labels.array == 3, 2, labels.array)).astype(np.uint8)
    other = dataclasses.replace(pair.followup, lesions=labels.with_array(swapped))
    lost = answer(dataclasses.replace(pair, followup=other, plan=PLANS["stable"]))
    assert not lost.response_right
    assert not lost.matching_right


def test_visits_are_moved_as_told(pair: Pair) -> None:
    first, last = pair.baseline.lesions, pair.followup.lesions
    assert set(np.unique(first.array)) == {0, 1, 2, 3}
    assert set(np.unique(last.array)) == {0, 2, 3, 4}
    assert not first.same_grid(last)
    for site in (2, 3):
        before, after = (v.to_mm(np.argwhere(v.array == site)).mean(0) for v in (first, last))
        assert np.linalg.norm(pair.pose[:3, :3] @ before + pair.pose[:3, 3] - after) < BODY.spacing
        assert np.linalg.norm(before - after) > 3 * BODY.spacing
        peaks = [v.pet.array[v.lesions.array == site].max() for v in (pair.baseline, pair.followup)]
        assert 0.35 < peaks[1] / peaks[0] < 0.75


def test_the_same_seed_gives_the_same_pair(pair: Pair) -> None:
    again = simulate_pair(BODY, 5, pair.plan)
    assert np.array_equal(again.followup.pet.array, pair.followup.pet.array)


def test_no_room_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followup, "_APART_MM", 5000.0)
    with pytest.raises(AnyPETError, match="has room for 1 lesions, 3 are planned"):
        simulate_pair(BODY, 5, PLANS["stable"])
