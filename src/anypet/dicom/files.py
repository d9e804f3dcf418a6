"""Finding DICOM files in folders of any shape and in zip archives, reading and writing them safely."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from anypet.errors import AnyPETError, ReadError

log = logging.getLogger(__name__)

MAX_UNZIPPED_BYTES = 64 * 2**30
# extensions that are surely something else, so that opening each of them is spared
NOT_DICOM = {".json", ".txt", ".csv", ".md", ".pdf", ".png", ".jpg", ".html", ".xml", ".gz", ".nii", ".nrrd"}


def is_dicom(path: Path) -> bool:
    """Whether the file has DICOM's mark ("DICM" after 128 bytes)."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_header(path: Path) -> Dataset | None:
    """The header of a DICOM file without pixel data; None if it is not DICOM or has no SOP class.

    Files without the preamble are tried too: old archives strip it.
    """
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=not is_dicom(path))
        if "SOPClassUID" not in dataset:
            return None
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, NotImplementedError) as error:
        log.debug("%s is not DICOM: %s", path, error)
        return None
    except Exception as error:  # pydicom raises many kinds on random bytes read with force
        log.debug("%s cannot be parsed: %s", path, error)
        return None
    return dataset


def write_file(dataset: Dataset, path: Path) -> None:
    """Writes a DICOM file under a temporary name and renames it, so that no half file is ever seen.

    Raises:
        AnyPETError: the folder does not exist, a value cannot be encoded, or the disk refuses.
    """
    if not path.absolute().parent.is_dir():
        raise AnyPETError(f"{path}: the folder {path.parent} does not exist; create it first")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        dataset.save_as(part, enforce_file_format=True)
        os.replace(part, path)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise AnyPETError(f"{path}: cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def find_headers(folder: Path) -> list[tuple[Path, Dataset]]:
    """All DICOM files below a folder, whatever their names, with their headers; sorted by path."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() in NOT_DICOM or path.name.startswith("._") or path.name == "DICOMDIR":
            continue
        header = read_header(path)
        if header is not None:
            found.append((path, header))
    return found


@contextmanager
def unzipped(archive: Path) -> Iterator[Path]:
    """Unpacks a zip archive into a temporary folder, which is gone when the context ends.

    Raises:
        ReadError: not a zip, empty, encrypted, damaged, too large, or with a member that points outside.
    """
    folder = Path(tempfile.mkdtemp(prefix="anypet-"))
    try:
        try:
            with zipfile.ZipFile(archive) as bundle:
                _check_members(archive, bundle)
                bundle.extractall(folder)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError) as error:
            raise ReadError(f"{archive}: the zip archive cannot be unpacked: {error}") from error
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_members(archive: Path, bundle: zipfile.ZipFile) -> None:
    members = [m for m in bundle.infolist() if not m.is_dir()]
    if not members:
        raise ReadError(f"{archive}: the zip archive is empty")
    for member in members:
        parts = (*PurePosixPath(member.filename).parts, *PureWindowsPath(member.filename).parts)
        if ".." in parts or member.filename.startswith(("/", "\\")) or PureWindowsPath(member.filename).drive:
            raise ReadError(f"{archive}: member {member.filename!r} points outside the archive; not unpacked")
        if member.flag_bits & 0x1:
            raise ReadError(
                f"{archive}: member {member.filename!r} is encrypted; unpack it with its password"
            )
    size = sum(m.file_size for m in members)
    if size > MAX_UNZIPPED_BYTES:
        raise ReadError(
            f"{archive}: would unpack to {size / 2**30:.0f} GiB, which is more than "
            f"{MAX_UNZIPPED_BYTES / 2**30:.0f} GiB"
        )
