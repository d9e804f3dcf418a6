"""Each fault that may be in a list of cases is planted alone in a good list, and has to be found."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from anypet.manifest_check import check_manifest
from dicom_factory import make_rtstruct, make_series

AFFINE = np.diag([4.0, 4.0, 3.0, 1.0])
SHAPE = (12, 10, 8)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nib.save(nib.Nifti1Image(array, affine), path)


def pet() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 6, SHAPE).astype(np.float32)


def label() -> np.ndarray:
    array = np.zeros(SHAPE, dtype=np.uint8)
    array[2:5, 2:5, 2:5], array[7:9, 7:9, 5:7] = 1, 2
    return array


class Good:
    """A list without a fault: two labelled cases and an unlabelled one. A test spoils it and writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header = ["image", "label", "ct", "patient", "unit", "names", "quality", "split"]
        self.rows = []
        for n, split in ((1, "train"), (2, "validation"), (3, "test")):
            save(folder / f"pet{n}.nii.gz", pet())
            save(folder / f"label{n}.nii.gz", label())
            ct = np.full((10, 10, 10), -1000, dtype=np.int16)
            save(folder / f"ct{n}.nii.gz", ct, np.diag([5.0, 4.0, 3.0, 1.0]))
            names = "1=liver;2=spleen"
            row = [
                f"pet{n}.nii.gz",
                f"label{n}.nii.gz",
                f"ct{n}.nii.gz",
                f"P{n}",
                "SUVbw",
                names,
                "HQ",
                split,
            ]
            self.rows.append(dict(zip(self.header, row, strict=True)))
        self.rows[2].update(label="", names="")
        (folder / "label3.nii.gz").unlink()

    def write(self) -> Path:
        path = self.folder / "list.csv"
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, self.header)
            table.writeheader()
            table.writerows(self.rows)
        return path


@pytest.fixture
def good(tmp_path: Path) -> Good:
    return Good(tmp_path)


def test_a_good_list_has_no_finding(good: Good) -> None:
    assert check_manifest(good.write()) == []


def cell(**values: str) -> Callable[[Good], None]:
    """Spoils cells of the second case."""
    return lambda good: good.rows[1].update(values)


def file(name: str, array: np.ndarray, affine: np.ndarray = AFFINE) -> Callable[[Good], None]:
    return lambda good: save(good.folder / name, array, affine)


def without(column: str) -> Callable[[Good], None]:
    def spoil(good: Good) -> None:
        good.header.remove(column)
        for row in good.rows:
            row.pop(column)

    return spoil


def renamed(column: str, to: str) -> Callable[[Good], None]:
    def spoil(good: Good) -> None:
        good.header[good.header.index(column)] = to
        for row in good.rows:
            row[to] = row.pop(column)

    return spoil


def truncated(name: str) -> Callable[[Good], None]:
    def spoil(good: Good) -> None:
        path = good.folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return spoil


def changed(array: np.ndarray, index: tuple[object, ...], value: float) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


MOVED = AFFINE.copy()
MOVED[0, 3] = 20.0
FAR = AFFINE.copy()
FAR[:3, 3] = 4000.0
HALF = np.diag([5.0, 4.0, 3.0, 1.0])
HALF[0, 3] = 30.0

# what is spoilt -> the case, the field, the severity and words of the message that has to come of it
FAULTS: dict[str, tuple[Callable[[Good], None], int | None, str, str, str]] = {
    "image column missing": (without("image"), None, "image", "error", "no column 'image'"),
    "patient column missing": (without("patient"), None, "patient", "error", "no column 'patient'"),
    "unknown column": (renamed("quality", "qualty"), None, "qualty", "warning", "did you mean 'quality'"),
    "image empty": (cell(image=""), 2, "image", "error", "missing or empty"),
    "image absent": (cell(image="no.nii.gz"), 2, "image", "error", "does not exist"),
    "label absent": (cell(label="no.nii.gz"), 2, "label", "error", "does not exist"),
    "ct absent": (cell(ct="no.nii.gz"), 2, "ct", "error", "does not exist"),
    "patient empty": (cell(patient="  "), 2, "patient", "error", "missing or empty"),
    "quality": (cell(quality="fine"), 2, "quality", "error", "write HQ or LQ"),
    "split": (cell(split="dev"), 2, "split", "error", "train, validation or test"),
    "names not pairs": (cell(names="liver"), 2, "names", "error", "write it as"),
    "unit unknown": (cell(unit="SUV"), 2, "unit", "error", "unknown unit"),
    "unit not SUV": (cell(unit="Bq/mL"), 2, "unit", "error", "only SUVbw"),
    "unit not said": (cell(unit=""), 2, "unit", "error", "does not say its unit"),
    "image damaged": (truncated("pet2.nii.gz"), 2, "image", "error", "cannot be read"),
    "label damaged": (truncated("label2.nii.gz"), 2, "label", "error", "cannot be read"),
    "ct damaged": (truncated("ct2.nii.gz"), 2, "ct", "error", "cannot be read"),
    "image is becquerels": (file("pet2.nii.gz", pet() * 5000), 2, "image", "error", "implausible as SUV"),
    "image is HU": (
        file("pet2.nii.gz", changed(np.round(pet()), (slice(4),), -1000)), 2, "image", "error", "look like HU"
    ),
    "a NaN": (file("pet2.nii.gz", changed(pet(), (0, 0, 0), np.nan)), 2, "image", "warning", "not finite"),
    "many NaN": (file("pet2.nii.gz", changed(pet(), (0,), np.inf)), 2, "image", "error", "not finite"),
    "constant": (file("pet2.nii.gz", np.full(SHAPE, 2, np.float32)), 2, "image", "error", "constant"),
    "zero": (file("pet2.nii.gz", np.zeros(SHAPE, np.float32)), 2, "image", "error", "constant (0"),
    "4D": (file("pet2.nii.gz", np.stack([pet(), pet()], -1)), 2, "image", "error", "store one 3D frame"),
    "label shape": (file("label2.nii.gz", label()[:-1]), 2, "label", "error", "(11, 10, 8)"),
    "label affine": (file("label2.nii.gz", label(), MOVED), 2, "label", "error", "lie apart in space"),
    "label empty": (file("label2.nii.gz", label() * 0), 2, "label", "warning", "is empty"),
    "label fractions": (
        file("label2.nii.gz", label() * np.float32(0.5)), 2, "label", "error", "not integers"
    ),
    "label NaN": (
        file("label2.nii.gz", changed(label().astype(np.float32), (0, 0, 0), np.nan)), 2, "label", "error",
        "not integers",
    ),
    "label negative": (
        file("label2.nii.gz", changed(label().astype(np.int16), (0, 0, 0), -2)), 2, "label", "error",
        "negative",
    ),
    "value not in names": (cell(names="1=liver"), 2, "names", "error", "[2], which names does not list"),
    "name not in label": (
        cell(names="1=liver;2=spleen;9=bladder"), 2, "names", "warning", "9 (bladder), absent from the label"
    ),
    "patient divided": (cell(patient="P1"), 2, "split", "error", "in train in case 1"),
    "image twice": (
        cell(image="pet1.nii.gz", label="label1.nii.gz"), 2, "image", "error", "also that of case 1"
    ),
    "image twice, other label": (
        cell(image="pet1.nii.gz", patient="P1", split="train"), 2, "image", "warning", "also that of case 1"
    ),
    "label of two patients": (cell(label="label1.nii.gz"), 2, "label", "error", "its own label"),
    "label of two images": (
        cell(label="label1.nii.gz", patient="P1", split="train"), 2, "label", "warning", "its own label"
    ),
    "ct elsewhere": (
        file("ct2.nii.gz", np.full(SHAPE, -9, np.int16), FAR), 2, "ct", "error", "does not overlap"
    ),
    "ct reaches half": (
        file("ct2.nii.gz", np.full(SHAPE, -9, np.int16), HALF), 2, "ct", "warning", "covers only"
    ),
    "ct not in HU": (file("ct2.nii.gz", np.full((10, 10, 10), 7, np.int16), np.diag([5.0, 4, 3, 1])), 2, "ct",
        "warning", "HU"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_nothing_else(good: Good, fault: str) -> None:
    spoil, row, field, severity, message = FAULTS[fault]
    spoil(good)
    findings = check_manifest(good.write())
    found = [(f.row, f.field, f.severity) for f in findings]
    assert found == [(row, field, severity)], [f.message for f in findings]
    assert message in findings[0].message


def test_many_faults_are_found_at_once(good: Good) -> None:
    good.rows[0].update(image="no.nii.gz", quality="?")
    truncated("label1.nii.gz")(good)
    good.rows[1].update(unit="", ct="no.nii.gz")
    good.rows[2].update(patient="")
    found = [(f.row, f.field) for f in check_manifest(good.write())]
    assert found == [
        (1, "image"), (1, "quality"), (1, "label"), (2, "ct"), (2, "unit"), (3, "patient")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.json", "{", "not valid JSON"),
        ("list.json", '{"case": []}', "list of objects"),
        ("list.csv", "image,patient\n", "lists no case"),
        ("none.csv", None, "does not exist"),
    ],
)
def test_lists_that_cannot_be_parsed(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    (finding,) = check_manifest(tmp_path / name)
    assert (finding.row, finding.field, finding.severity) == (None, "list", "error")
    assert message in finding.message


def test_a_list_with_semicolons_says_so(good: Good) -> None:
    path = good.write()
    path.write_text(path.read_text().replace(";", "/").replace(",", ";"))
    assert "save the list with commas" in check_manifest(path)[0].message


def test_dicom_images_and_contours(good: Good) -> None:
    folder = good.folder / "dicom"
    make_series(folder)
    square = np.array([[-15.0, -25, -37], [-5, -25, -37], [-5, -15, -37], [-15, -15, -37]])
    make_rtstruct(good.folder / "rs.dcm", {"tumour": [square]})
    good.rows[1].update(image="dicom", label="rs.dcm", names="", unit="", ct="")
    assert check_manifest(good.write()) == []
    make_rtstruct(good.folder / "rs.dcm", {"tumour": [square + 5000]})
    (finding,) = check_manifest(good.write())
    assert (finding.row, finding.field) == (2, "label")
    shutil.rmtree(folder)
    folder.mkdir()
    (finding,) = check_manifest(good.write())
    assert (finding.row, finding.field, finding.severity) == (2, "image", "error")
