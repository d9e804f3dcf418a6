"""Simulated studies on disk."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from toys import study

from anypet.errors import AnyPETError
from anypet.models.compact.parts import PARTS
from anypet.simulate import analytic_anatomy, anatomy, simulate
from anypet.training.patches import Draw, draw_patch
from anypet.training.pool import (
    Pool,
    PoolStudy,
    build_pool,
    fingerprint,
    part_map,
    pooled,
    read_study,
    write_study,
)


def bits(found: PoolStudy) -> list[object]:
    """All that a study says, its voxels as bytes."""
    arrays = [
        found.pet.array,
        found.pet.affine,
        found.grid,
        found.parts,
        *(v.occupancy for v in found.objects),
    ]
    voxels = [(v.dtype, v.shape, v.tobytes()) for v in (np.asarray(a) for a in arrays)]
    boxes = [(v.box, v.mirror) for v in found.objects]
    return [voxels, boxes, found.shape, found.organs, found.high_quality, found.kind]


def test_pool_is_built_once_and_what_is_stale_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    stale, good, short = (tmp_path / f"study-0-0000{n}.safetensors" for n in range(3))
    write_study(stale, study(), "of another simulator")
    write_study(short, study(), fingerprint())
    short.write_bytes(short.read_bytes()[:-100])
    write_study(good, study(), fingerprint())
    before = good.stat().st_mtime_ns
    with caplog.at_level(logging.WARNING):
        assert list(build_pool(tmp_path, [], 3, 0, workers=2)) == [2, 3]
    assert "2 of 3 studies" in caplog.text
    assert good.stat().st_mtime_ns == before
    assert read_study(stale).shape != study().shape
    assert read_study(short).shape != study().shape
    caplog.clear()
    stamp = stale.stat().st_mtime_ns
    assert list(build_pool(tmp_path, [], 3, 0, workers=1)) == [3]
    assert stale.stat().st_mtime_ns == stamp
    assert not caplog.text
    pool = Pool(tmp_path)
    assert len(pool) == 3
    assert pool[0] is pool[0]


def test_a_stale_study_that_cannot_be_simulated_leaves_the_pool(tmp_path: Path):
    write_study(tmp_path / "study-0-00000.safetensors", study(), "of another simulator")
    assert list(build_pool(tmp_path, [tmp_path / "no-anatomy.nii.gz"], 1, 0, workers=1)) == [1]
    assert not list(tmp_path.iterdir())


def test_fingerprint_follows_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = shutil.copytree(Path(anatomy.__file__).parent, tmp_path / "simulate")
    monkeypatch.setattr(anatomy, "__file__", str(folder / "anatomy.py"))
    assert fingerprint.__wrapped__() == fingerprint()
    with (folder / "noise.py").open("a") as opened:
        opened.write("SIGMA = 2\n")
    assert fingerprint.__wrapped__() != fingerprint()


def test_a_simulated_study_comes_back_as_it_was_written(tmp_path: Path):
    original = simulate(analytic_anatomy(3), 3, scanner_grid=True)
    write_study(tmp_path / "a.safetensors", pooled(original))
    found = read_study(tmp_path / "a.safetensors")
    assert np.asarray(found.pet.array) == pytest.approx(original.pet.array, rel=2e-3, abs=1e-3)
    assert found.pet.affine == pytest.approx(original.pet.affine)
    assert found.high_quality
    assert found.parts is not None
    assert found.shape == found.parts.shape
    assert {PARTS[part] for part, _ in found.organs} == set(original.organs)
    for part, box in found.organs:
        mask = original.organs[PARTS[part]]
        assert ((np.asarray(found.parts) == part) == mask).all()
        assert mask[box].sum() == mask.sum()
    wanted = [v for v in original.soft_lesions if bool((v.occupancy > 0.5).any())]
    assert len(found.objects) == len(wanted) > 0
    for target, lesion in zip(found.objects, wanted, strict=True):
        assert target.box == lesion.box
        assert target.mirror
        assert np.asarray(target.occupancy) == pytest.approx(lesion.occupancy.numpy(), abs=1e-3)


@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_a_study_comes_back_to_the_bit(tmp_path: Path, kind: str):
    original = study()
    rng = np.random.default_rng(0)
    original.pet.array[:] = rng.lognormal(0, 2, original.pet.shape)
    original.pet.array[0, 0, :3] = np.nan, np.inf, 6e-8
    if kind == "real":
        original = PoolStudy(
            original.pet, original.grid, original.shape, original.objects, high_quality=False, kind=kind
        )
    write_study(tmp_path / "a.safetensors", original)
    found = read_study(tmp_path / "a.safetensors")
    assert bits(found) == bits(original)
    assert bits(pickle.loads(pickle.dumps(found))) == bits(original)
    for seed in range(8):
        one, other = (draw_patch(s, np.random.default_rng(seed), Draw(32)) for s in (original, found))
        assert one is not None
        assert other is not None
        assert torch.equal(one.image, other.image)
        assert all(torch.equal(a, b) for a, b in zip(one.targets, other.targets, strict=True))


def test_open_studies_keep_no_file_open(tmp_path: Path):
    write_study(tmp_path / "a.safetensors", study())
    files = Path("/proc/self/fd")
    if not files.is_dir():
        pytest.skip("needs /proc")
    before = len(list(files.iterdir()))
    studies = [read_study(tmp_path / "a.safetensors") for _ in range(20)]
    assert len(list(files.iterdir())) < before + 20
    assert len(studies) == 20


def test_a_crash_leaves_no_half_written_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def crash(*_: object) -> None:
        raise OSError("disk full")

    path = tmp_path / "study-0-00000.safetensors"
    write_study(path, study())
    whole = path.read_bytes()
    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        write_study(path, study())
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]
    path.with_suffix(".123.part").write_bytes(whole[:1000])  # as a killed process leaves
    assert len(Pool(tmp_path)) == 1


def test_part_map_names_every_tissue_and_side():
    tissue = np.array([[[0, 2, 3, 11, 13, 10]]], dtype=np.uint8)
    left = np.array([[[False, True, False, False, False, False]]])
    parts = part_map(tissue, {"left kidney": left})
    names = [PARTS[v] for v in parts.ravel()]
    assert names == ["air", "left kidney", "liver", "fat", "cortical bone", "air"]  # salivary of no side


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _foreign(path: Path) -> None:
    path.write_bytes(b"nothing")


def _weights(path: Path) -> None:
    save_file({"conv.weight": torch.zeros(3)}, path)


def _without_frame(path: Path) -> None:
    save_file({"pet": torch.zeros(9, dtype=torch.uint8), "pet_affine": torch.eye(4)}, path, {"format": "2"})


@pytest.mark.parametrize("damage", [_cut_short, _foreign, _weights, _without_frame])
def test_a_damaged_or_foreign_study_is_named(tmp_path: Path, damage: Callable[[Path], None]):
    write_study(tmp_path / "bad.safetensors", study(), fingerprint())
    damage(tmp_path / "bad.safetensors")
    with pytest.raises(
        AnyPETError, match=r"bad\.safetensors is no study of this version's pool .*; delete it"
    ):
        Pool(tmp_path)[0]
