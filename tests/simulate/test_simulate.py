"""Simulated studies: determinism, physics, plausibility, labels that fit the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from anypet.errors import ReadError
from anypet.simulate import analytic_anatomy, anatomy_split, load_anatomy, simulate
from anypet.simulate import body as tissues
from anypet.simulate.anatomy import BRAIN, HEART, LIVER, ORGANS, Anatomy
from anypet.simulate.body import make_body
from anypet.simulate.lesions import lesion_at, signed_distance
from anypet.simulate.noise import gaussian_blur, generator, log_uniform, smooth_noise
from anypet.simulate.scanner import Scanner, acquire, regrid
from anypet.simulate.tracer import draw_uptake


@pytest.fixture(scope="module")
def study():
    return simulate(analytic_anatomy(3), 3, "FDG")


def test_same_seed_same_study(study):
    again = simulate(analytic_anatomy(3), 3, "fdg")
    assert np.array_equal(study.pet.array, again.pet.array)
    assert np.array_equal(study.ct.array, again.ct.array)
    other = simulate(analytic_anatomy(3), 4, "FDG")
    assert study.pet.shape != other.pet.shape or not np.array_equal(study.pet.array, other.pet.array)


def test_pet_is_suv_on_the_masks_grid(study):
    assert study.pet.unit == "SUVbw"
    assert study.ct.unit == "HU"
    assert study.pet.array.dtype == np.float32
    assert np.isfinite(study.pet.array).all()
    assert study.pet.array.min() >= 0
    assert all(mask.shape == study.pet.shape for mask in [*study.organs.values(), *study.lesions])
    assert np.allclose(study.pet.affine, study.truth_affine)


def test_fdg_uptake_is_plausible(study):
    def mean(name: str) -> float:
        free = study.organs[name] & ~np.any(study.lesions, axis=0)
        return float(study.pet.array[free].mean())

    assert 1.0 < mean("liver") < 5.0
    assert mean("left lung") < mean("liver") < mean("brain")


def test_ct_shows_lungs_and_soft_tissue(study):
    hu = study.ct.array
    assert hu[study.organs["right lung"]].mean() < -500
    assert -20 < hu[study.organs["liver"]].mean() < 110
    assert hu[0, 0].mean() < -900


def test_sides_follow_the_patient(study):
    x = {
        n: study.pet.to_mm(np.argwhere(study.organs[n]).mean(0))[0]
        for n in ("left kidney", "right kidney", "liver")
    }
    assert x["left kidney"] < x["right kidney"]  # R of RAS grows to the patient's right in these maps
    assert x["liver"] > x["left kidney"]


def test_lesions_do_not_overlap(study):
    total = np.sum([mask.astype(int) for mask in study.lesions], axis=0)
    assert total.max() <= 1
    assert len(study.lesions) >= 1


def test_scanner_grid_keeps_the_field_of_view():
    anatomy = analytic_anatomy(1)
    plain, scanned = simulate(anatomy, 5, "FDG"), simulate(anatomy, 5, "FDG", scanner_grid=True)
    extents = [v.spacing * np.array(v.shape) for v in (plain.pet, scanned.pet)]
    assert np.allclose(extents[0], extents[1])
    faces = [v.to_mm([-0.5, -0.5, -0.5]) for v in (plain.pet, scanned.pet)]
    assert np.allclose(faces[0], faces[1])
    assert abs(plain.pet.array.mean() - scanned.pet.array.mean()) < 0.02 * plain.pet.array.mean()


def test_blur_has_the_width_it_says():
    image = torch.zeros(1, 1, 41, 41, 41)
    image[0, 0, 20, 20, 20] = 1
    blurred = gaussian_blur(image, (2.0, 1.0, 3.0))[0, 0]
    axis = torch.arange(41.0) - 20
    for dim, sigma in enumerate((2.0, 1.0, 3.0)):
        profile = blurred.sum(dim=[d for d in range(3) if d != dim])
        assert float((profile * axis**2).sum()) ** 0.5 == pytest.approx(sigma, rel=0.05)
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-4)


def test_noise_level_is_the_asked_for_one():
    scanner = Scanner((5.0, 5.0), 0.1, 5.0, 0.0, (4.0, 4.0))
    image = acquire(torch.full((40, 40, 40), 2.0), 4.0, scanner, generator(0))
    inner = image[8:-8, 8:-8, 8:-8]
    assert float(inner.std() / inner.mean()) == pytest.approx(0.1, rel=0.15)
    assert float(inner.mean()) == pytest.approx(2.0, rel=0.03)


def test_regrid_keeps_means():
    image = torch.rand(20, 22, 24, generator=generator(1))
    assert float(regrid(image, 4.0, (4.0, 4.0, 4.0)).sub(image).abs().max()) < 1e-6
    assert regrid(image, 4.0, (2.0, 2.0, 8.0)).shape == (40, 44, 12)


@pytest.mark.parametrize("volume_ml", [0.2, 2.0, 30.0, 500.0])
def test_lesions_have_about_the_volume_asked_for(volume_ml):
    body = make_body(analytic_anatomy(0), 0)
    tissue = torch.from_numpy(np.full_like(body.tissue, tissues.MUSCLE))
    image = torch.ones(tissue.shape)
    volumes = []
    for seed in range(12):
        centre = torch.tensor([n / 2 for n in tissue.shape])
        lesion = lesion_at(generator(seed), body, tissue, image, centre, volume_ml)
        if lesion is not None:
            volumes.append(float(lesion.occupancy.sum()) * 0.064)
    assert len(volumes) >= 8
    assert np.median(volumes) == pytest.approx(volume_ml, rel=0.05)


def test_signed_distance_is_negative_inside():
    d = signed_distance(generator(2), (31, 31, 31), torch.tensor([15.0, 15.0, 15.0]), 8.0, upright=False)
    assert float(d[0, 0, 0]) > 0
    assert float(d.min()) < 0


def test_smooth_noise_is_standard_and_smooth():
    field = smooth_noise(generator(0), (40, 40, 40), 8)
    assert float(field.std()) == pytest.approx(1.0, abs=0.01)
    assert float((field[1:] - field[:-1]).std()) < 0.5
    values = [log_uniform(generator(s), 0.1, 10.0) for s in range(200)]
    assert min(values) >= 0.1
    assert max(values) <= 10.0
    assert 0.5 < float(np.median(values)) < 2.0


def test_unknown_tracer_is_named():
    with pytest.raises(ValueError, match="choline"):
        draw_uptake("choline", generator(0))


def test_split_never_divides_a_patient(tmp_path: Path):
    paths = [tmp_path / f"fdg_p{n % 40:03d}_{n}.nii.gz" for n in range(120)]
    split = anatomy_split(paths)
    owners = [{p.name.split("_")[1] for p in part} for part in split.values()]
    assert sum(len(part) for part in split.values()) == 120
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]


def test_body_surrounds_the_organs():
    anatomy = analytic_anatomy(0)
    body = make_body(anatomy, 0)
    for label in ORGANS:
        assert (body.tissue == label).sum() == (anatomy.labels == label).sum()
    for tissue in (
        tissues.FAT,
        tissues.MUSCLE,
        tissues.CORTEX,
        tissues.MARROW,
        tissues.VESSEL,
        tissues.BOWEL,
    ):
        assert (body.tissue == tissue).sum() > 100
    assert body.depth_mm[body.tissue == HEART].min() > 5


def test_bodies_of_partial_anatomies():
    labels = np.zeros((60, 60, 40), dtype=np.uint8)
    for only in (LIVER, BRAIN, None):
        part = labels.copy()
        if only:
            part[20:40, 20:40, 10:30] = only
        study = simulate(Anatomy(part, 4.0, (0.0, 0.0, 0.0)), 1, "random")
        assert np.isfinite(study.pet.array).all()


def test_anatomies_are_read_with_their_lesion_sites(shared_data: Path):
    path = sorted((shared_data / "anatomy").glob("fdg_*.nii.gz"))[0]
    anatomy = load_anatomy(path)
    assert anatomy.tracer == "FDG"
    assert anatomy.spacing == pytest.approx(4.0)
    assert set(np.unique(anatomy.labels)) <= {0, *ORGANS}
    assert anatomy.lesion_sites.shape[1] == 3


def test_anisotropic_label_maps_are_refused(tmp_path: Path):
    import nibabel as nib

    nib.save(
        nib.Nifti1Image(np.zeros((5, 5, 5), dtype=np.uint8), np.diag([1, 2, 3, 1.0])), tmp_path / "a.nii.gz"
    )
    with pytest.raises(ReadError, match="isotropic"):
        load_anatomy(tmp_path / "a.nii.gz")
