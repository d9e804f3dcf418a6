"""`anypet response`: from two visits in files to a proposal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import anypet
from anypet.cli.response import response
from anypet.errors import AnyPETError
from anypet.io import write
from anypet.volume import Volume
from dicom_factory import make_series, setting
from spheres import ball, empty, painted

GRID = empty((4.0, 4.0, 4.0), 110.0)
LIVER, NODE, NEW = ((30.0, 0.0, 0.0), 22.0), ((-25.0, 10.0, 0.0), 12.0), ((-25.0, -30.0, 20.0), 10.0)
PATIENT = ("--baseline-weight", 70, "--followup-weight", 70, "--height", 1.75, "--sex", "M")


def visit(folder: Path, name: str, node: float, new: float | None = None) -> tuple[Path, Path]:
    """A PET and its lesions; the liver is 2.0, the blood 0.5."""
    spheres = [(*LIVER, 2.0), (*NODE, node), *([(*NEW, new)] if new else [])]
    scan = painted(GRID, *spheres)
    mask = ball(GRID, *NODE).astype(np.uint8) + (2 * ball(GRID, *NEW).astype(np.uint8) if new else 0)
    write(scan, folder / f"{name}.nii.gz")
    write(Volume(mask.astype(np.uint8), GRID.affine, "label"), folder / f"{name}_lesions.nii.gz")
    liver = Volume(ball(GRID, *LIVER).astype(np.uint8), GRID.affine, "label")
    write(liver, folder / f"{name}_liver.nii.gz")
    return folder / f"{name}.nii.gz", folder / f"{name}_lesions.nii.gz"


def call(*arguments: object) -> Any:
    result = CliRunner().invoke(response, [str(a) for a in arguments])
    if isinstance(result.exception, AnyPETError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def told(*arguments: object) -> dict[str, Any]:
    return dict(json.loads(call(*arguments, "--json").stdout))


@pytest.mark.parametrize(
    ("after", "new", "result"),
    [(3.0, None, "PMR"), (8.2, None, "SMD"), (3.0, 6.0, "PMD"), (0.6, None, "CMR")],
)
def test_percist(tmp_path: Path, after: float, new: float | None, result: str) -> None:
    first, last = visit(tmp_path, "a", 8.0), visit(tmp_path, "b", after, new)
    livers = ("--baseline-liver", tmp_path / "a_liver.nii.gz", "--followup-liver", "30,0,0")
    found = told("percist", *first, *last, *livers, *PATIENT, "--align", "none")
    (proposal,) = found["proposals"]
    assert proposal["result"] == result
    assert proposal["inputs"]["SUL"] == "SUVlbm"
    assert [m["kind"] for m in found["matches"]] == ["same", *(["new"] if new else [])]
    assert found["alignment"] == "none"


def test_percist_registers_and_prints(tmp_path: Path) -> None:
    first, last = visit(tmp_path, "a", 8.0), visit(tmp_path, "b", 3.0)
    arguments = ("--baseline-liver", "30,0,0", "--followup-liver", "30,0,0", *PATIENT, "--suv", "lbm-james")
    result = call("percist", *first, *last, *arguments, "-o", tmp_path / "r.json")
    for words in ("PERCIST 1.0: PMR", "SUVlbm-james", "alignment: rigid", "never a diagnosis", "wrote"):
        assert words in result.stdout.replace("\n", " ")
    assert json.loads((tmp_path / "r.json").read_text())["alignment"] == "rigid"


def test_percist_of_dicom_studies_on_their_cts(tmp_path: Path) -> None:
    """The CTs are registered, the uptake time and the patient come from the headers."""
    rng = np.random.default_rng(0)
    shape = (24, 22, 20)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    body = (((grid - np.array(shape) / 2) / [10, 8, 9]) ** 2).sum(-1) <= 1
    bone = (((grid - [12, 15, 10]) / [3, 2, 9]) ** 2).sum(-1) <= 1
    liver = (((grid - [8, 11, 12]) / [4.5, 4.5, 4.5]) ** 2).sum(-1) <= 1
    node = (((grid - [17, 9, 6]) / [2, 2, 2]) ** 2).sum(-1) <= 1
    paths = []
    for name, uptake in (("one", 24000), ("two", 9000)):
        stored = np.where(body, 3000, 50) + np.where(liver, 6000, 0) + np.where(node, uptake, 0)
        ct = np.where(body, 40, -1000) + np.where(bone, 260, 0) + rng.integers(-10, 10, shape)
        series = tmp_path / name
        edit = setting(PatientSex="M")
        make_series(series / "pet", stored.astype(np.int16), spacing=(5, 5, 5), edit=edit)
        make_series(series / "ct", ct.astype(np.int16), modality="CT", spacing=(5, 5, 5), number=2)
        scan = anypet.read(series)
        write(Volume(node.astype(np.uint8), scan.affine, "label"), tmp_path / f"{name}.nii.gz")
        write(Volume(liver.astype(np.uint8), scan.affine, "label"), tmp_path / f"{name}_liver.nii.gz")
        paths += [series, tmp_path / f"{name}.nii.gz"]
    livers = ("--baseline-liver", tmp_path / "one_liver.nii.gz", "--followup-liver")
    found = told("percist", *paths, *livers, tmp_path / "two_liver.nii.gz", "--align-on", "ct")
    (proposal,) = found["proposals"]
    assert proposal["result"] == "PMR"
    assert proposal["inputs"]["uptake minutes (baseline, follow-up)"] == [60.0, 60.0]
    assert proposal["warnings"] == []
    assert [m["kind"] for m in found["matches"]] == ["same"]


def test_scores_of_one_scan(tmp_path: Path) -> None:
    pet, lesions = visit(tmp_path, "a", 4.2, 5.0)
    volumes = [4 / 3 * np.pi * radius**3 / 1000 for _, radius in (NODE, NEW)]
    (tmtv,) = told("tmtv", pet, lesions)["proposals"]
    assert tmtv["inputs"]["TMTV, mL"] == pytest.approx(sum(volumes), rel=0.05)
    (tmtv,) = told("tmtv", pet, lesions, "--smallest-ml", 5)["proposals"]
    assert tmtv["inputs"]["TMTV, mL"] == pytest.approx(volumes[0], rel=0.05)
    (psma,) = told("psma", pet, lesions, "--threshold", "4.5")["proposals"]
    assert psma["inputs"]["PSMA-TV, mL"] == pytest.approx(volumes[1], rel=0.05)
    found = told("deauville", pet, lesions, "--liver", "30,0,0", "--blood", "0,0,-30")["proposals"]
    assert [p["result"] for p in found] == ["5", "2.50"]
    found = told("deauville", pet, lesions, "--liver", "30,0,0", "--blood", "0,0,-30", "--new-lesions", 1)
    assert found["proposals"][0]["meaning"] == "new lesions"


def test_preselection_is_written(tmp_path: Path) -> None:
    pet, _ = visit(tmp_path, "a", 8.0, 5.0)
    labels = tmp_path / "regions.nii.gz"
    assert "with 2 regions" in call("preselect", pet, "-o", labels).stdout.replace("\n", " ")
    (tmtv,) = told("tmtv", pet, labels)["proposals"]
    assert tmtv["inputs"]["lesions counted"] == 2


def test_recip(tmp_path: Path) -> None:
    first, last = visit(tmp_path, "a", 8.0), visit(tmp_path, "b", 8.0, 6.0)
    found = told("recip", *first, *last, "--align", "none")
    assert [p["criterion"] for p in found["proposals"]] == ["PSMA-TV", "PSMA-TV", "RECIP 1.0"]
    assert found["proposals"][2]["result"] == "RECIP-PD"
    back = told("recip", *last, *first, "--align", "none")
    assert back["proposals"][2]["result"] == "RECIP-PR"


def test_stray_voxels_can_be_left_out(tmp_path: Path) -> None:
    first, last = visit(tmp_path, "a", 8.0), visit(tmp_path, "b", 3.0)
    labels = anypet.read(last[1], unit="label")
    stray = labels.array.copy()
    stray[2, 2, 2] = 1  # 0.064 mL far from everything
    write(labels.with_array(stray), last[1])
    arguments = (
        "percist",
        *first,
        *last,
        "--baseline-liver",
        "30,0,0",
        "--followup-liver",
        "30,0,0",
        *PATIENT,
    )
    (proposal,) = told(*arguments, "--align", "none")["proposals"]
    assert proposal["result"] == "PMD"
    assert any("has only 0.06 mL" in warning for warning in proposal["warnings"])
    (proposal,) = told(*arguments, "--align", "none", "--smallest-ml", 0.1)["proposals"]
    assert proposal["result"] == "PMR"


def test_what_is_refused(tmp_path: Path) -> None:
    first, last = visit(tmp_path, "a", 8.0), visit(tmp_path, "b", 3.0)
    with pytest.raises(AnyPETError, match="needs the liver"):
        call("percist", *first, *last, *PATIENT, "--align", "none")
    with pytest.raises(AnyPETError, match="pet or ct"):
        call("percist", *first, *last, *PATIENT, "--align-on", "mr")
    with pytest.raises(AnyPETError, match="no CT"):
        call("percist", *first, *last, *PATIENT, "--align-on", "ct")
    with pytest.raises(AnyPETError, match="rigid, affine, bspline"):
        call("recip", *first, *last, "--align", "warp")
