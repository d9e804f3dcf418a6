import numpy as np
import pytest
from lesion_toys import LEFT, toy_scan

from anypet.errors import AnyPETError
from anypet.evaluation.lesion_cases import lesion_cases
from anypet.lesions.config import CONFIGS, ORGANS, PAPER_ORGANS, NetConfig
from anypet.training.config import load_any
from anypet.training.lesions import real_scans as module
from anypet.training.lesions.patches import LesionPatches
from anypet.training.lesions.real_scans import (
    MixedPatches,
    fits,
    fitted_scan,
    organ_value,
    real_scan,
    real_scans,
    simulated_scans,
)
from anypet.training.lesions.scans import UNKNOWN, write_scan
from lesion_lists import LESIONS, LIVER, put_case, put_list

COARSE = NetConfig(patch=16)
FINE = NetConfig(PAPER_ORGANS, (3.0, 3.0, 4.0), 16)


@pytest.mark.parametrize(
    ("name", "organs", "found"),
    [
        ("Liver", ORGANS, "liver"),
        ("kidney_left", ORGANS, "left kidney"),
        ("Right Lung", ORGANS, "right lung"),
        ("urinary_bladder", ORGANS, "urinary bladder"),
        ("bladder", PAPER_ORGANS, "urinary bladder"),
        ("kidneys", PAPER_ORGANS, "kidneys"),
        ("left kidney", PAPER_ORGANS, "kidneys"),
        ("lung_right", PAPER_ORGANS, "lungs"),
        ("aorta", PAPER_ORGANS, "heart and aorta"),
        ("heart", PAPER_ORGANS, "heart and aorta"),
        ("colon", PAPER_ORGANS, "digestive system"),
        ("parotid gland right", PAPER_ORGANS, "parotid glands"),
        ("heart and aorta", PAPER_ORGANS, "heart and aorta"),
        ("kidney", ORGANS, None),  # which side?
        ("left salivary gland", PAPER_ORGANS, None),  # which of them?
        ("tail", ORGANS, None),
    ],
)
def test_names_of_organs(name, organs, found):
    assert organ_value(name, organs) == (UNKNOWN if found is None else 1 + organs.index(found))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    rows = [put_case(folder, "a"), put_case(folder, "bb", lesions=False, ct=False, liver=False)]
    return lesion_cases(put_list(folder, rows))


def voxel_of(scan, case, voxel):
    """Where a voxel of the case's PET lies in a scan, by the two affines."""
    pet = case.load().pet
    found = np.linalg.solve(scan.affine, [*pet.to_mm(voxel), 1.0])[:3]
    return tuple(np.round(found).astype(int))


@pytest.mark.parametrize("config", [COARSE, FINE])
def test_a_case_on_the_networks_grid(cases, config):
    scan = real_scan(cases[0], config)
    assert np.allclose(np.diag(scan.affine)[:3], config.spacing)
    assert (scan.tracer, scan.names) == ("FDG", config.organs)
    assert scan.pet.shape == scan.ct.shape == scan.organs.shape == scan.lesions.shape
    assert set(np.unique(scan.lesions)) == {0, 1, 2}
    for number, box in enumerate(LESIONS, start=1):
        middle = [(s.start + s.stop - 1) // 2 for s in box]
        there = voxel_of(scan, cases[0], middle)
        assert scan.lesions[there] == number
        assert scan.pet[there] == pytest.approx(8.0, abs=0.5)
    liver = voxel_of(scan, cases[0], [(s.start + s.stop) // 2 for s in LIVER])
    assert scan.organs[liver] == 1 + config.organs.index("liver")
    assert set(np.unique(scan.organs)) == {1 + config.organs.index("liver"), UNKNOWN}
    hottest = np.array(voxel_of(scan, cases[0], (26, 20, 20)))
    assert np.abs(scan.hot - hottest).max(1).min() <= 1
    volume = (scan.lesions > 0).sum() * np.prod(config.spacing)
    assert volume == pytest.approx((64 + 27) * 4 * 4 * 5, rel=0.35)


def test_a_case_without_findings_ct_or_organs(cases):
    scan = real_scan(cases[1], COARSE)
    assert scan.ct is None
    assert not scan.lesions.any()
    assert (scan.organs == UNKNOWN).all()


def test_all_organs_known_makes_the_rest_background(cases):
    scan = real_scan(cases[0], NetConfig(("liver",), patch=16))
    assert set(np.unique(scan.organs)) == {0, 1}


def test_a_lesion_smaller_than_a_voxel_is_kept(cases):
    scan = real_scan(cases[0], NetConfig(spacing=(40.0, 40.0, 40.0), patch=16))
    assert (scan.lesions > 0).sum() == 2


def test_more_lesions_than_a_byte_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_LESIONS", 1)
    case = lesion_cases(put_list(tmp_path, [put_case(tmp_path, "a")]))[0]
    assert set(np.unique(real_scan(case, COARSE).lesions)) == {0, 1}


def test_scans_stay_on_disk_until_their_case_changes(tmp_path, monkeypatch):
    rows = [put_case(tmp_path, "a"), put_case(tmp_path, "bb")]
    path, folder = put_list(tmp_path, rows), tmp_path / "kept"
    done = []
    first = real_scans(lesion_cases(path), COARSE, folder, done.append)
    assert (done, len(list(folder.iterdir()))) == ([1, 2], 2)
    direct = real_scan(lesion_cases(path)[0], COARSE)
    for name in ("pet", "ct", "organs", "lesions", "affine", "hot"):
        assert np.array_equal(np.asarray(getattr(first[0], name)), getattr(direct, name))
    made = []
    monkeypatch.setattr(module, "real_scan", lambda case, config: made.append(case.name) or direct)
    real_scans(lesion_cases(path), COARSE, folder)
    assert made == []
    put_case(tmp_path, "bb", lesions=False)
    real_scans(lesion_cases(path), COARSE, folder)
    assert made == ["bb/bb_image"]
    real_scans(lesion_cases(path)[:1], FINE, folder)
    assert len(made) == 2


def test_simulated_scans_on_a_networks_grid(tmp_path):
    scan = toy_scan()
    assert fits(scan, COARSE)
    assert not fits(scan, FINE)
    found = fitted_scan(scan, FINE)
    assert fits(found, FINE)
    assert found.tracer == "FDG"
    assert set(np.unique(found.lesions)) == set(np.unique(scan.lesions))
    kidneys = (found.organs == 1 + PAPER_ORGANS.index("kidneys")).sum() * np.prod(FINE.spacing)
    sides = np.isin(scan.organs, (LEFT, LEFT + 1)).sum() * 4.0**3
    assert kidneys == pytest.approx(sides, rel=0.1)
    assert set(np.unique(found.organs)) == {0, 1 + PAPER_ORGANS.index("kidneys"),
                                            1 + PAPER_ORGANS.index("urinary bladder")}  # fmt: skip
    assert found.pet[tuple(found.hot[0])] == pytest.approx(20, rel=0.15)
    write_scan(tmp_path / "scan-0-00000.safetensors", scan)
    (same,) = simulated_scans(tmp_path, 0, 4, COARSE)
    assert same.names == ORGANS
    assert not (tmp_path / "fitted").exists()
    (kept,) = simulated_scans(tmp_path, 0, 4, FINE)
    assert np.array_equal(np.asarray(kept.lesions), found.lesions)
    assert len(list((tmp_path / "fitted").iterdir())) == 1
    assert fitted_scan(toy_scan(ct=False), FINE).ct is None


def test_patches_of_both_kinds(cases):
    settings = load_any("lesions-compact", patch=16)
    real = LesionPatches([real_scan(cases[0], COARSE)], settings)
    simulated = LesionPatches([toy_scan()], settings)
    organs = [MixedPatches(real, simulated, share)(np.random.default_rng(4)).organs for share in (1, 0)]
    assert (organs[0] == UNKNOWN).any()
    assert bool((organs[1] == 0).any())
    mixed = MixedPatches(real, simulated, 0.5)
    drawn = [mixed(np.random.default_rng(n)) for n in range(40)]
    known = [bool((p.organs == 0).float().mean() > 0.5) for p in drawn if p is not None]
    assert 5 < sum(known) < 35


def test_a_case_at_fault_is_named(tmp_path):
    row = put_case(tmp_path, "a").model_copy(update={"names": {2: "liver"}})
    with pytest.raises(AnyPETError, match="case 1"):
        real_scans(lesion_cases(put_list(tmp_path, [row])), CONFIGS["compact"], tmp_path / "kept")
