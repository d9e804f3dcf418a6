"""Simulated studies on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.models.compact.parts import PARTS
from anypet.simulate import analytic_anatomy, simulate
from anypet.training.pool import Pool, build_pool, part_map, pooled, read_study, write_study


def test_pool_is_built_once(tmp_path: Path):
    assert list(build_pool(tmp_path, [], 1, 0, workers=1))[-1] == 1
    path = next(tmp_path.glob("*.safetensors"))
    stamp = path.stat().st_mtime_ns
    assert list(build_pool(tmp_path, [], 1, 0, workers=1)) == [1]
    assert path.stat().st_mtime_ns == stamp
    pool = Pool(tmp_path)
    assert len(pool) == 1
    assert pool[0] is pool[0]


def test_a_simulated_study_comes_back_as_it_was_written(tmp_path: Path):
    original = simulate(analytic_anatomy(3), 3, scanner_grid=True)
    write_study(tmp_path / "a.safetensors", pooled(original))
    found = read_study(tmp_path / "a.safetensors")
    assert found.pet.array == pytest.approx(original.pet.array, rel=2e-3, abs=1e-3)
    assert found.pet.affine == pytest.approx(original.pet.affine)
    assert found.high_quality
    assert found.parts is not None
    assert found.shape == found.parts.shape
    assert {PARTS[part] for part, _ in found.organs} == set(original.organs)
    for part, box in found.organs:
        mask = original.organs[PARTS[part]]
        assert ((found.parts == part) == mask).all()
        assert mask[box].sum() == mask.sum()
    wanted = [v for v in original.soft_lesions if bool((v.occupancy > 0.5).any())]
    assert len(found.objects) == len(wanted) > 0
    for target, lesion in zip(found.objects, wanted, strict=True):
        assert target.box == lesion.box
        assert target.mirror
        assert target.occupancy == pytest.approx(lesion.occupancy.numpy(), abs=1e-3)


def test_part_map_names_every_tissue_and_side():
    tissue = np.array([[[0, 2, 3, 11, 13, 10]]], dtype=np.uint8)
    left = np.array([[[False, True, False, False, False, False]]])
    parts = part_map(tissue, {"left kidney": left})
    names = [PARTS[v] for v in parts.ravel()]
    assert names == ["air", "left kidney", "liver", "fat", "cortical bone", "air"]  # salivary of no side


def test_a_damaged_study_is_named(tmp_path: Path):
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(AnyPETError, match=r"bad\.safetensors"):
        Pool(tmp_path)[0]
