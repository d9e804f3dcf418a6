import json
from dataclasses import replace

import numpy as np
import pytest
from lesion_toys import ball, toy_scan

from anypet.errors import AnyPETError
from anypet.lesions.config import ORGANS
from anypet.simulate import analytic_anatomy, simulate
from anypet.simulate.anatomy import SALIVARY
from anypet.training.lesions import scans
from anypet.training.lesions.scans import (
    build_scans,
    hot_spots,
    organ_labels,
    read_scan,
    scans_in,
    simulated_scan,
    write_scan,
)


@pytest.fixture(scope="module")
def anatomies(shared_data):
    return sorted((shared_data / "anatomy").glob("*.nii.gz"))


def test_hot_spots_are_hearts_of_hot_regions_outside_of_lesions():
    pet = np.ones((30, 30, 30))
    large, small = ball(pet.shape, (8, 8, 8), 2), ball(pet.shape, (22, 22, 22), 1)
    lesion = ball(pet.shape, (8, 22, 15), 3)
    pet[large | small], pet[lesion] = 20.0, 40.0
    found = hot_spots(pet, lesion.astype(np.uint8))
    assert found.tolist() == [[8, 8, 8], [22, 22, 22]]
    assert hot_spots(np.zeros((4, 4, 4)), np.zeros((4, 4, 4))).shape == (0, 3)


@pytest.mark.data
def test_a_simulated_scan_has_what_it_says(anatomies):
    scan = simulated_scan(anatomies[0], 3, ("PSMA",), 0.0)
    again = simulated_scan(anatomies[0], 3, ("PSMA",), 0.0)
    assert scan.tracer == "PSMA"
    np.testing.assert_array_equal(scan.pet, again.pet)
    np.testing.assert_array_equal(scan.lesions, again.lesions)
    pet, lesions = np.asarray(scan.pet), np.asarray(scan.lesions)
    assert scan.ct is not None
    assert scan.ct.shape == pet.shape == lesions.shape == np.asarray(scan.organs).shape
    kidney = pet[np.asarray(scan.organs) == 1 + ORGANS.index("left kidney")]
    assert kidney.mean() > 10 > np.median(pet[pet > 0.1])
    assert not (np.asarray(scan.organs)[lesions > 0] > 0).any()
    for spot in scan.hot:
        assert lesions[tuple(spot)] == 0
    empty = simulated_scan(anatomies[0], 3, ("FDG",), 0.999999)
    assert not np.asarray(empty.lesions).any()


def test_small_organs_are_labelled_too():
    """A gland of a millilitre is no target to evaluate on, but to call it background would teach a fault."""
    study = simulate(analytic_anatomy(1), 1, "FDG", most_lesions=0)
    study.tissue[study.tissue == SALIVARY] = 0
    study.tissue[100:102, 50:53, 200:203] = SALIVARY
    labels = organ_labels(replace(study, organs={}))
    values = np.unique(labels[study.tissue == SALIVARY])
    assert [ORGANS[v - 1] for v in values] == ["right salivary gland"]
    assert set(ORGANS) - {ORGANS[v - 1] for v in np.unique(labels) if v} == {"left salivary gland"}


@pytest.mark.data
def test_a_made_up_tracer_has_no_name(anatomies):
    assert simulated_scan(anatomies[0], 3, ("random",), 0.0).tracer == ""


def test_a_scan_comes_back_as_it_was(tmp_path):
    scan = toy_scan()
    write_scan(tmp_path / "scan-0-00000.safetensors", scan, "made so")
    (back,) = scans_in(tmp_path, 0, 5)
    assert back.ct is not None
    assert (back.tracer, back.names, back.shape) == (scan.tracer, scan.names, scan.shape)
    for name in ("pet", "organs", "lesions", "affine", "hot"):
        np.testing.assert_array_equal(np.asarray(getattr(back, name)), getattr(scan, name))
    write_scan(tmp_path / "bare.safetensors", toy_scan(ct=False))
    assert read_scan(tmp_path / "bare.safetensors").ct is None


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "scan-0-00000.safetensors"
    path.write_bytes(b"not one")
    with pytest.raises(AnyPETError, match=r"scan-0-00000.*delete it"):
        read_scan(path)


@pytest.mark.data
def test_the_pool_is_filled_once_and_stale_scans_anew(anatomies, tmp_path, monkeypatch):
    sources = anatomies[:2]
    assert list(build_scans(tmp_path, sources, 2, 7, workers=1)) == [0, 1, 2]
    paths = sorted(tmp_path.glob("*.safetensors"))
    before = [p.stat().st_mtime_ns for p in paths]
    assert list(build_scans(tmp_path, sources, 2, 7, workers=1)) == [2]
    assert [p.stat().st_mtime_ns for p in paths] == before
    monkeypatch.setattr(scans, "fingerprint", lambda: json.dumps("another simulator"))
    assert next(build_scans(tmp_path, sources, 1, 7, workers=1)) == 0


def test_without_anatomies_there_are_no_scans(tmp_path):
    with pytest.raises(AnyPETError, match="ANYPET_DATA"):
        list(build_scans(tmp_path, [], 2, 0))
