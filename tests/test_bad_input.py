"""Bad input of every kind: the error names the cause, or a warning does; nothing half-written stays."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import NuclearMedicineImageStorage

import anypet
from anypet.errors import AnyPETError, ReadError, SUVError
from anypet.volume import Volume
from dicom_factory import drugging, make_rtstruct, make_series, new_dataset, setting, values

Make = Callable[[Path], Path]


def nifti(array: np.ndarray, affine: np.ndarray | None = None, name: str = "a.nii.gz") -> Make:
    def make(folder: Path) -> Path:
        image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
        nib.save(image, folder / name)
        return folder / name

    return make


def raw(name: str, content: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def cut(make_whole: Make, keep: float) -> Make:
    def make(folder: Path) -> Path:
        path = make_whole(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        return path

    return make


def written(name: str) -> Make:
    def make(folder: Path) -> Path:
        rng = np.random.default_rng(0)
        anypet.write(Volume(rng.random((9, 9, 9)).astype(np.float32), np.eye(4), "SUVbw"), folder / name)
        return folder / name

    return make


def series(**options: object) -> Make:
    def make(folder: Path) -> Path:
        make_series(folder / "scan", **options)  # type: ignore[arg-type]
        return folder / "scan"

    return make


def zipped(members: dict[str, bytes]) -> Make:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "a.zip", "w") as bundle:
            for name, content in members.items():
                bundle.writestr(name, content)
        return folder / "a.zip"

    return make


def on_slice(index: int, change: Callable[[Dataset], None]) -> Callable[[Dataset, int], None]:
    def edit(ds: Dataset, k: int) -> None:
        if k == index:
            change(ds)

    return edit


def without_slice(index: int, shape: tuple[int, int, int] = (6, 5, 6)) -> Make:
    def make(folder: Path) -> Path:
        make_series(folder / "scan", values(shape))[index].unlink()
        return folder / "scan"

    return make


def moved(index: int, z: float) -> Callable[[Dataset, int], None]:
    return on_slice(index, lambda ds: setattr(ds, "ImagePositionPatient", [-20.0, -30.0, z]))


def truncated_slice(folder: Path) -> Path:
    paths = make_series(folder / "scan")
    content = paths[2].read_bytes()
    paths[2].write_bytes(content[:-20])
    return folder / "scan"


def two_in_one(folder: Path) -> Path:
    """Axial and coronal slices under one series UID."""
    make_series(folder / "scan" / "a", series_uid="1.2.3")
    make_series(folder / "scan" / "b", series_uid="1.2.3", orientation=(1, 0, 0, 0, 0, -1))
    return folder / "scan"


def two_sizes(folder: Path) -> Path:
    make_series(folder / "scan" / "a", series_uid="1.2.3")
    make_series(folder / "scan" / "b", values((7, 7, 4)), series_uid="1.2.3", origin=(-20, -30, -28))
    return folder / "scan"


def nuclear_medicine(folder: Path) -> Path:
    ds = new_dataset(NuclearMedicineImageStorage, "NM")
    ds.Rows = ds.Columns = 4
    (folder / "nm").mkdir()
    ds.save_as(folder / "nm" / "a.dcm", enforce_file_format=True)
    return folder / "nm"


def contours_only(folder: Path) -> Path:
    return make_rtstruct(folder / "rt" / "a.dcm", {"a": [np.eye(3) * 9]}).parent


def wrong_syntax(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.103"  # MPEG-4: no slice is stored so
    ds.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    ds["PixelData"].is_undefined_length = True


def broken_jpeg(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8garbage\xff\xd9"])
    ds["PixelData"].is_undefined_length = True


def nan_header(ds: Dataset) -> None:
    ds.RescaleSlope = "nan"


def vector_image(folder: Path) -> Path:
    image = sitk.GetImageFromArray(np.zeros((4, 4, 4, 3), np.float32), isVector=True)
    sitk.WriteImage(image, str(folder / "v.nrrd"))
    return folder / "v.nrrd"


def flat_image(folder: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4), np.float32)), str(folder / "f.mha"))
    return folder / "f.mha"


def mhd_without_data(folder: Path) -> Path:
    path = written("a.mhd")(folder)
    for data in folder.glob("*raw"):
        data.unlink()
    return path


def folder_of_images(folder: Path) -> Path:
    written("pet.nii.gz")(folder)
    written("ct.nii.gz")(folder)
    return folder


def text_folder(folder: Path) -> Path:
    (folder / "scan").mkdir()
    (folder / "scan" / "IM0001").write_text("not DICOM at all")
    return folder / "scan"


def with_srow_y(row: list[float]) -> Make:
    """A NIfTI whose affine no library would write."""

    def make(folder: Path) -> Path:
        path = nifti(BOX, name="a.nii")(folder)
        content = bytearray(path.read_bytes())
        content[296:312] = np.array(row, "<f4").tobytes()  # srow_y
        path.write_bytes(bytes(content))
        return path

    return make


BOX = np.ones((4, 4, 4), np.float32)

# name: how it is made, the error, what its message must say, and options of read
REFUSED: dict[str, tuple[Make, type[AnyPETError], str, dict[str, object]]] = {
    "no such path": (lambda f: f / "nothing.nii.gz", ReadError, "no such file", {}),
    "empty folder": (lambda f: f, ReadError, "no DICOM found", {}),
    "folder of text": (text_folder, ReadError, "no DICOM found", {}),
    "folder of NIfTI": (folder_of_images, ReadError, r"give one of its images: ct.nii.gz, pet.nii.gz", {}),
    "unknown suffix": (raw("a.png", b"\x89PNG"), ReadError, "no DICOM found; expected", {}),
    "empty file": (raw("a.nii.gz", b""), ReadError, "not a NIfTI|damaged", {"unit": "SUVbw"}),
    "text called NIfTI": (raw("a.nii.gz", b"hello"), ReadError, "not a NIfTI|damaged", {"unit": "SUVbw"}),
    "gzipped text": (
        raw("a.nii.gz", gzip.compress(b"hi" * 400)),
        ReadError,
        "not a NIfTI",
        {"unit": "SUVbw"},
    ),
    "text called nii": (raw("a.nii", b"hello" * 100), ReadError, "not a NIfTI", {"unit": "SUVbw"}),
    "text called NRRD": (raw("a.nrrd", b"hello"), ReadError, "cannot be read as NRRD", {"unit": "SUVbw"}),
    "text called MHA": (raw("a.mha", b"hello"), ReadError, "cannot be read as MHA", {"unit": "SUVbw"}),
    "MHD without its data": (mhd_without_data, ReadError, "cannot be read as MHD", {}),
    "truncated NIfTI": (cut(written("a.nii"), 0.6), ReadError, "damaged or truncated", {}),
    "truncated NIfTI in its header": (cut(written("a.nii"), 0.05), ReadError, "not a NIfTI", {}),
    "truncated gzip": (cut(written("a.nii.gz"), 0.6), ReadError, "damaged or truncated", {}),
    "truncated NRRD": (cut(written("a.nrrd"), 0.6), ReadError, "cannot be read as NRRD", {}),
    "truncated MHA": (cut(written("a.mha"), 0.6), ReadError, "cannot be read as MHA", {}),
    "no unit": (nifti(BOX), ReadError, "does not say what unit", {}),
    "unknown unit": (nifti(BOX), ReadError, "unknown unit 'banana'.*SUVbw", {"unit": "banana"}),
    "DICOM as labels": (series(), ReadError, "not as 'label'", {"unit": "label"}),
    "2D NIfTI": (nifti(np.ones((4, 4), np.float32)), ReadError, r"shape \(4, 4\).*3D", {"unit": "SUVbw"}),
    "4D NIfTI": (nifti(np.ones((4, 4, 4, 3), np.float32)), ReadError, "3 frames; choose", {"unit": "SUVbw"}),
    "frame that is not there": (
        nifti(np.ones((4, 4, 4, 3))),
        ReadError,
        "frames 0 to 2",
        {"unit": "HU", "frame": 3},
    ),
    "frame of 3D": (nifti(BOX), ReadError, "has one frame", {"unit": "SUVbw", "frame": 1}),
    "complex NIfTI": (nifti(BOX.astype(np.complex64)), ReadError, "complex64", {"unit": "SUVbw"}),
    "singular affine": (with_srow_y([0, 0, 0, 0]), ReadError, "singular", {"unit": "SUVbw"}),
    "NaN affine": (with_srow_y([0, np.nan, 0, 0]), ReadError, "finite", {"unit": "SUVbw"}),
    "all NaN": (nifti(BOX * np.nan), ReadError, "100.0% of the voxels are NaN", {"unit": "SUVbw"}),
    "2D MHA": (flat_image, ReadError, "2D image; expected 3D|shape", {"unit": "SUVbw"}),
    "vectors": (vector_image, ReadError, "3 numbers a voxel", {"unit": "SUVbw"}),
    "labels that are no labels": (nifti(BOX * 0.5), ReadError, "are no labels", {"unit": "label"}),
    "negative labels": (nifti(BOX * -1), ReadError, "are no labels", {"unit": "label"}),
    "series of a NIfTI": (nifti(BOX), ReadError, "series= is for DICOM", {"unit": "SUVbw", "series": 1}),
    "empty zip": (zipped({}), ReadError, "archive is empty", {}),
    "zip without DICOM": (zipped({"a.txt": b"x"}), ReadError, "no DICOM found", {}),
    "zip that is none": (raw("a.zip", b"PK nothing"), ReadError, "cannot be unpacked", {}),
    "zip with traversal": (zipped({"../evil.dcm": b"x"}), ReadError, "points outside", {}),
    "zip with backslashes": (zipped({"..\\evil.dcm": b"x"}), ReadError, "points outside", {}),
    "zip with absolute path": (zipped({"/etc/evil": b"x"}), ReadError, "points outside", {}),
    "CT for PET": (series(modality="CT"), ReadError, r"no PET \(PT\) series; found .*CT.*unit='HU'", {}),
    "PET for CT": (series(), ReadError, r"no CT series; found .*\[PT\]", {"unit": "HU"}),
    "NM for PET": (nuclear_medicine, ReadError, "NM is SPECT", {}),
    "contours for PET": (contours_only, ReadError, "read_labels", {}),
    "CT by series": (series(modality="CT"), ReadError, "series 1 is CT, but PT is wanted", {"series": 1}),
    "no dose": (series(edit=drugging(RadionuclideTotalDose=None)), SUVError, r"\(0018,1074\) is missing", {}),
    "zero dose": (series(edit=drugging(RadionuclideTotalDose=0)), SUVError, r"\(0018,1074\) is 0", {}),
    "negative dose": (series(edit=drugging(RadionuclideTotalDose=-1e8)), SUVError, r"\(0018,1074\) is -", {}),
    "no weight": (series(edit=setting(PatientWeight=None)), SUVError, r"\(0010,1030\) is missing", {}),
    "no injection": (
        series(edit=drugging(RadiopharmaceuticalStartTime=None)),
        SUVError,
        "no injection time",
        {},
    ),
    "injected later": (
        series(edit=drugging(RadiopharmaceuticalStartTime="113000")),
        SUVError,
        r"\(0018,1072\) 11:30:00 lies after",
        {},
    ),
    "no radiopharmaceutical": (
        series(edit=setting(RadiopharmaceuticalInformationSequence=Items([]))),
        SUVError,
        r"\(0054,0016\) is missing or empty",
        {},
    ),
    "PROPCNTS": (series(edit=setting(Units="PROPCNTS")), SUVError, "PROPCNTS", {}),
    "CNTS without factors": (series(edit=setting(Units="CNTS")), SUVError, r"\(7053,1000\)", {}),
    "counts as activity": (series(edit=setting(Units="CNTS")), SUVError, "only BQML", {"unit": "Bq/mL"}),
    "not corrected": (series(edit=setting(CorrectedImage=["DECY"])), SUVError, "without ATTN", {}),
    "intercept": (series(intercept=-100.0), SUVError, r"RescaleIntercept \(0028,1052\) is -100", {}),
    "no slope": (
        series(edit=setting(RescaleSlope=None)),
        SUVError,
        r"RescaleSlope \(0028,1053\) is None",
        {},
    ),
    "slope of zero": (series(slopes=0.0), SUVError, r"\(0028,1053\) is 0", {}),
    "one slice": (series(stored=values((6, 5, 1))), ReadError, "one slice only", {}),
    "missing slice": (without_slice(2), ReadError, r"1 slice\(s\) missing", {}),
    "uneven slices": (series(edit=moved(1, -36.0)), ReadError, "uneven spacing", {}),
    "duplicate slice": (
        series(edit=moved(1, -40.0)),
        ReadError,
        r"duplicate slices: 2 at .*\(0020,0032\)",
        {},
    ),
    "mixed orientation": (two_in_one, ReadError, r"\(0020,0037\) differs within the series", {}),
    "mixed sizes": (two_sizes, ReadError, "Rows .* differs within the series", {}),
    "mixed pixel spacing": (
        series(edit=on_slice(1, lambda ds: setattr(ds, "PixelSpacing", [2, 2]))),
        ReadError,
        r"\(0028,0030\) differs",
        {},
    ),
    "no position": (
        series(edit=on_slice(1, lambda ds: delattr(ds, "ImagePositionPatient"))),
        ReadError,
        r"ImagePositionPatient \(0020,0032\) is missing",
        {},
    ),
    "no orientation": (
        series(edit=setting(ImageOrientationPatient=None)),
        ReadError,
        r"\(0020,0037\) is missing",
        {},
    ),
    "impossible orientation": (
        series(edit=setting(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
        ReadError,
        "not two perpendicular",
        {},
    ),
    "no pixel spacing": (series(edit=setting(PixelSpacing=None)), ReadError, r"\(0028,0030\) is missing", {}),
    "zero pixel spacing": (series(edit=setting(PixelSpacing=[0, 4])), ReadError, "positive millimetres", {}),
    "leaning stack": (
        series(
            edit=lambda ds, k: setattr(ds, "ImagePositionPatient", [-20.0 + 9 * k * k, -30.0, -40.0 + 3 * k])
        ),
        ReadError,
        "even stack",
        {},
    ),
    "no pixel data": (series(edit=setting(PixelData=None)), ReadError, r"no pixel data \(7FE0,0010\)", {}),
    "truncated slice": (truncated_slice, ReadError, "cannot be decoded", {}),
    "unsupported transfer syntax": (
        series(edit=on_slice(1, wrong_syntax)),
        ReadError,
        r"transfer syntax MPEG-4.*cannot be decoded",
        {},
    ),
    "broken JPEG-LS": (series(edit=on_slice(1, broken_jpeg)), ReadError, "JPEG-LS.*cannot be decoded", {}),
    "no such series": (series(), ReadError, "no series '1.2.9'; found series 1", {"series": "1.2.9"}),
    "frame of a static series": (series(), ReadError, "has one frame", {"frame": 2}),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_refused(tmp_path: Path, case: str) -> None:
    make, error, pattern, options = REFUSED[case]
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=pattern):
        anypet.read(path, **options)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before, "reading left something behind"
    assert not (tmp_path.parent / "evil.dcm").exists()


def header_without_place(folder: Path) -> Path:
    image = nib.Nifti1Image(BOX, None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, folder / "a.nii")
    return folder / "a.nii"


# name: how it is made, what the warning must say, and options of read
WARNED: dict[str, tuple[Make, str, dict[str, object]]] = {
    "weight in grams": (series(edit=setting(PatientWeight=70_000)), "taken as grams", {}),
    "dose in MBq": (series(edit=drugging(RadionuclideTotalDose=370)), "taken as MBq", {}),
    "uptake of 3 hours": (series(edit=drugging(RadiopharmaceuticalStartTime="080000")), "180 min after", {}),
    "two injections": (
        series(
            edit=lambda ds, k: ds.RadiopharmaceuticalInformationSequence.append(
                ds.RadiopharmaceuticalInformationSequence[0]
            )
        ),
        "has 2 items",
        {},
    ),
    "not marked as corrected": (
        series(edit=setting(CorrectedImage=["DECY"])),
        "without ATTN",
        {"allow_uncorrected": True},
    ),
    "no place in the header": (header_without_place, "no orientation", {"unit": "SUVbw"}),
    "absurd SUV": (series(slopes=300.0), "is the unit really SUVbw", {}),
}


@pytest.mark.parametrize("case", WARNED)
def test_warned(tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture) -> None:
    make, pattern, options = WARNED[case]
    volume = anypet.read(make(tmp_path), **options)  # type: ignore[arg-type]
    assert any(pattern in w for w in volume.meta["warnings"])
    assert pattern in caplog.text


def test_encrypted_zip(tmp_path: Path) -> None:
    path = zipped({"a.dcm": b"x"})(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # flag of the central directory
    path.write_bytes(bytes(content))
    with pytest.raises(ReadError, match="is encrypted"):
        anypet.read(path)


def test_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anypet.dicom.files.MAX_UNZIPPED_BYTES", 10)
    with pytest.raises(ReadError, match="would unpack to"):
        anypet.read(zipped({"a": b"0" * 11})(tmp_path))


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    make_series(tmp_path / "pet")
    return anypet.read(tmp_path / "pet")


def test_bad_labels(tmp_path: Path, scan: Volume) -> None:
    square = scan.to_mm([[0.5, 0.5, 1], [2.5, 0.5, 1], [2.5, 2.5, 1]]) * [-1, -1, 1]
    contours = make_rtstruct(tmp_path / "rt.dcm", {"a": [square]})
    with pytest.raises(ReadError, match="need reference="):
        anypet.read_labels(contours)
    with pytest.raises(ReadError, match=r"no RTSTRUCT or SEG.*found series 1 \[PT\]"):
        anypet.read_labels(tmp_path / "pet", scan)
    empty = make_rtstruct(tmp_path / "empty.dcm", {"a": []})
    with pytest.raises(ReadError, match=r"no region with a closed contour.*\(3006,0039\)"):
        anypet.read_labels(empty, scan)
    odd = make_rtstruct(tmp_path / "odd.dcm", {"a": [square.ravel()[:8].reshape(1, -1)]})
    with pytest.raises(ReadError, match=r"Contour Data \(3006,0050\) has 8 values"):
        anypet.read_labels(odd, scan)
    seg = new_dataset("1.2.840.10008.5.1.4.1.1.66.4", "SEG")
    seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    with pytest.raises(ReadError, match="SEG cannot be read as a volume"):
        anypet.read_labels(tmp_path / "seg.dcm", scan)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("a.xyz", "unknown suffix; expected one of .nii"),
        ("a", "unknown suffix"),
        ("no/a.nii.gz", "does not exist"),
    ],
)
def test_bad_targets(tmp_path: Path, scan: Volume, name: str, pattern: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AnyPETError, match=pattern):
        anypet.write(scan, tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_arrays_that_no_file_holds(tmp_path: Path, scan: Volume) -> None:
    with pytest.raises(AnyPETError, match="do not fit 32 bits"):
        anypet.write(scan.with_array(np.full(scan.shape, 2**40)), tmp_path / "a.nii.gz")
    with pytest.raises(AnyPETError, match="complex64"):
        anypet.write(scan.with_array(np.ones(scan.shape, np.complex64)), tmp_path / "a.nrrd")
    assert [p.name for p in tmp_path.iterdir()] == ["pet"]


def test_a_folder_in_the_way(tmp_path: Path, scan: Volume) -> None:
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(AnyPETError, match="cannot be written"):
        anypet.write(scan, tmp_path / "a.nii.gz")
    shutil.rmtree(tmp_path / "pet")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]
