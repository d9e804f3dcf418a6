"""Uploads that mean harm, or are just broken: each is refused with a reason, nothing is written elsewhere."""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from anypet.errors import ReadError
from anypet.io import read, write
from anypet.server.uploads import Limits, TooLargeError, receive, shown, suffix_for
from anypet.volume import Volume
from dicom_factory import make_series, values
from fakes import ball_scan

SMALL = Limits(2**20, 2**20, 50, 100.0, 2**22)


def send(folder: Path, *files: tuple[str, bytes], limits: Limits = SMALL) -> Path:
    inside = folder / "upload"
    inside.mkdir()
    return receive([(name, io.BytesIO(content)) for name, content in files], inside, limits)


def archive(*members: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as bundle:
        for name, content in members:
            bundle.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def dicom(tmp_path: Path) -> list[tuple[str, bytes]]:
    """A small PET series as names and contents."""
    folder = tmp_path / "series"
    make_series(folder, values())
    return [(p.name, p.read_bytes()) for p in sorted(folder.iterdir())]


def image(tmp_path: Path, suffix: str) -> bytes:
    path = tmp_path / f"scan{suffix}"
    write(ball_scan((12, 10, 8), centre=(6, 5, 4)), path)
    return path.read_bytes()


NAMES = [
    "../../../etc/cron.d/evil",
    "..\\..\\evil.dcm",
    "/etc/passwd",
    "C:\\Windows\\evil.dcm",
    "a/../../evil",
    "",
    "\x00.dcm",
    "CON",
    "x" * 5000,
    "<img src=x onerror=alert(1)>.nii.gz.dcm",
    ".htaccess",
    "name\nwith\rlines",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, dicom: list[tuple[str, bytes]], name: str) -> None:
    before = set(tmp_path.rglob("*"))
    found = send(tmp_path, (name, dicom[0][1]), *dicom[1:])
    new = set(tmp_path.rglob("*")) - before
    assert {p.parent for p in new} <= {tmp_path, found}
    assert all(p.name[:6].isdigit() and p.suffix == ".dcm" for p in new if p.is_file())
    assert read(found).unit == "SUVbw"


@pytest.mark.parametrize("name", NAMES)
def test_no_member_of_an_archive_leads_out(tmp_path: Path, dicom: list[tuple[str, bytes]], name: str) -> None:
    before = set(tmp_path.rglob("*"))
    content = archive((name.replace("\x00", "") or "x", dicom[0][1]), *dicom[1:])
    found = send(tmp_path, ("study.zip", content))
    assert {p.parent for p in set(tmp_path.rglob("*")) - before} <= {tmp_path, found}
    assert read(found).array.shape == read(tmp_path / "series").array.shape


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_without_paths_and_control_characters(name: str) -> None:
    text = shown(name)
    assert 0 < len(text) <= 120
    assert not set("/\\\n\r\x00") & set(text)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_images_arrive_as_they_were(tmp_path: Path, suffix: str) -> None:
    found = send(tmp_path, (f"my scan{suffix}", image(tmp_path, suffix)))
    assert np.array_equal(read(found).array, read(tmp_path / f"scan{suffix}").array)


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("link.dcm")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def encrypted() -> bytes:
    content = bytearray(archive(("a.dcm", b"x" * 200)))
    for mark, place in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)]:
        content[content.index(mark) + place] |= 1
    return bytes(content)


BOMBS: list[tuple[str, bytes, type[ReadError], str]] = [
    ("ratio", archive(("a.dcm", bytes(3 * 2**20))), TooLargeError, "unpacks"),
    ("many", archive(*[(f"{n}.dcm", b"x") for n in range(60)]), TooLargeError, "50"),
    ("sum", archive(*[(f"{n}.dcm", bytes(range(256)) * 200) for n in range(45)]), TooLargeError, "unpacks"),
    ("nested", archive(("inner.zip", archive(("a.dcm", b"x")))), ReadError, "archive in an archive"),
    ("link", archive((link(), b"/etc/passwd")), ReadError, "link"),
    ("encrypted", encrypted(), ReadError, "encrypted"),
    ("no zip", b"PK\x03\x04 and then nothing", ReadError, "cannot be unpacked"),
    ("cut", archive(("a.dcm", bytes(range(256)) * 300))[:-60], ReadError, "cannot be unpacked"),
    ("empty", archive(), ReadError, "no file"),
    ("text", archive(("readme.txt", b"hello")), ReadError, "no DICOM"),
]


@pytest.mark.parametrize(("content", "kind", "says"), [b[1:] for b in BOMBS], ids=[b[0] for b in BOMBS])
def test_bad_archives(tmp_path: Path, content: bytes, kind: type[ReadError], says: str) -> None:
    with pytest.raises(kind, match=says):
        send(tmp_path, ("study.zip", content))
    assert sum(p.stat().st_size for p in (tmp_path / "upload").iterdir()) <= SMALL.unpacked_bytes


def test_an_archive_that_lies_about_its_sizes_writes_no_more_than_it_declares(tmp_path: Path) -> None:
    content = bytearray(archive(("a.dcm", bytes(3 * 2**20))))
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = (1000).to_bytes(4, "little")  # "1000 bytes" in the directory
    with pytest.raises(ReadError):
        send(tmp_path, ("study.zip", bytes(content)))
    assert sum(p.stat().st_size for p in (tmp_path / "upload").iterdir()) <= 1000


def huge_nifti() -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    return bytes(header.binaryblock) + b"\0" * 4


def huge_dicom(dicom: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(dicom))
    dataset.Rows = dataset.Columns = 65535
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def deflated(dicom: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(dicom))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def test_bad_images_and_dicom(tmp_path: Path, dicom: list[tuple[str, bytes]]) -> None:
    good = image(tmp_path, ".nii.gz")
    mha = image(tmp_path, ".mha")
    cases: list[tuple[str, bytes, type[ReadError], str]] = [
        ("a.nii", huge_nifti(), TooLargeError, "GiB of voxels"),
        ("a.nii.gz", gzip.compress(huge_nifti()), TooLargeError, "GiB of voxels"),
        ("a.nii.gz", b"\x1f\x8b nonsense", ReadError, "no nii.gz image"),
        ("a.nii.gz", b"", ReadError, "no nii.gz image"),
        ("a.nii", b"<html>", ReadError, "no nii image"),
        (
            "a.nrrd",
            b"NRRD0004\ntype: float\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: /etc/passwd\n\n",
            ReadError,
            "own voxels",
        ),
        ("a.nrrd", b"NRRD0004\r\nDataFile: LIST\r\n\r\n", ReadError, "own voxels"),
        ("a.nrrd", b"nonsense", ReadError, "no nrrd image"),
        ("a.mha", mha.replace(b"LOCAL", b"/etc/passwd"), ReadError, "own voxels"),
        ("a.mha", mha.replace(b"ElementDataFile = LOCAL", b"Comment = LOCAL"), ReadError, "own voxels"),
        ("a.mha", b"ObjectType = Image\nElementDataFile = LOCAL\n", ReadError, "no mha image"),
        ("a.mhd", b"ObjectType = Image\n", ReadError, "another file"),
        ("a.dcm", huge_dicom(dicom[0][1]), TooLargeError, "GiB of voxels"),
        ("a.dcm", deflated(dicom[0][1]), ReadError, "deflated"),
        ("a.txt", b"hello", ReadError, "no DICOM"),
    ]
    for n, (name, content, kind, says) in enumerate(cases):
        folder = tmp_path / str(n)
        folder.mkdir()
        with pytest.raises(kind, match=says):
            send(folder, (name, content))
    for n, files in enumerate([[], [("a.nii.gz", good), ("b.nii.gz", good)], [("a.nii.gz", good), *dicom]]):
        folder = tmp_path / f"set {n}"
        folder.mkdir()
        with pytest.raises(ReadError, match=r"no file|at a time"):
            send(folder, *files)


def test_sizes_and_counts_are_limited(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError):
        send(tmp_path, ("a.dcm", bytes(2**20 + 1)))
    (tmp_path / "b").mkdir()
    with pytest.raises(TooLargeError, match="50 files"):
        send(tmp_path / "b", *[(f"{n}.dcm", b"x") for n in range(51)])


@pytest.mark.parametrize(("name", "suffix"), [("A.NII.GZ", ".nii.gz"), ("IM0001", ".dcm"), ("a.exe", ".dcm")])
def test_suffixes(name: str, suffix: str) -> None:
    assert suffix_for(name) == suffix


def test_macs_and_viewers_leave_things_in_archives(tmp_path: Path, dicom: list[tuple[str, bytes]]) -> None:
    extra: list[Any] = [("__MACOSX/._a.dcm", b"x"), ("._b", b"x"), ("DICOMDIR", b"x"), (".DS_Store", b"x")]
    found = send(tmp_path, ("a.zip", archive(*dicom, *extra)))
    assert len(list(found.iterdir())) == len(dicom)
    assert isinstance(read(found), Volume)
