"""Files that clients send: counted, unpacked and looked at before anything reads them.

A client's file names never become paths: files get numbers and one of a few suffixes.
"""

from __future__ import annotations

import gzip
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import pydicom
import SimpleITK as sitk  # noqa: N813
from pydicom.uid import DeflatedExplicitVRLittleEndian

from anypet.dicom.files import is_dicom
from anypet.errors import ReadError
from anypet.formats import suffix_of

IMAGES = (".nii", ".nii.gz", ".nrrd", ".mha")
_CHUNK = 2**20
_HEADER_BYTES = 2**16
_MOST_BEFORE_VOXELS = 2**24  # of a NIfTI file: extensions
_BROKEN_NIFTI = (nib.wrapstruct.WrapStructError, nib.spatialimages.HeaderDataError)


@dataclass(frozen=True)
class Limits:
    """What a client may send.

    Args:
        request_bytes: one request.
        unpacked_bytes: all files of one upload together, unpacked.
        files: files of one upload.
        ratio: how many times larger than its packed size a member of an archive may be.
        image_bytes: the voxels of one image.
    """

    request_bytes: int = 4 * 2**30
    unpacked_bytes: int = 8 * 2**30
    files: int = 20_000
    ratio: float = 300.0
    image_bytes: int = 4 * 2**30


class TooLargeError(ReadError):
    """An upload is over a limit."""


def receive(files: Iterable[tuple[str, BinaryIO]], folder: Path, limits: Limits) -> Path:
    """Writes the files of one upload into a folder of its own, archives unpacked.

    Args:
        files: name as the client said it, and content.
        folder: exists, and is empty.
        limits: what is allowed.

    Returns:
        What to read: the one image, or the folder with DICOM files.

    Raises:
        TooLargeError: over a limit.
        ReadError: nothing in it, or images and other files mixed, or a file that is not what it should be.
    """
    written: list[Path] = []
    left = limits.unpacked_bytes
    try:
        for name, content in _members(files, limits):
            if len(written) >= limits.files:
                raise TooLargeError(f"more than {limits.files} files in one upload; send one study at a time")
            path = folder / f"{len(written) + 1:06d}{suffix_for(name)}"
            left -= _copy(content, path, left)
            written.append(path)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise ReadError(f"the zip archive cannot be unpacked: {error}") from error
    if not written:
        raise ReadError("the upload holds no file")
    images = [path for path in written if suffix_of(path)]
    for path in images:
        check_image(path, limits)
    if not images:
        check_dicom(written, limits)
        return folder
    if len(images) > 1 or len(written) > 1:
        raise ReadError(f"one image or one DICOM study at a time; the upload holds {len(written)} files")
    return images[0]


def suffix_for(name: str) -> str:
    """The suffix under which a client's file is kept: that of an image, or ".dcm" for everything else.

    Raises:
        ReadError: a MetaImage header, whose voxels would be in another file.
    """
    suffix = suffix_of(Path(shown(name)))
    if suffix == ".mhd":
        raise ReadError(f"{shown(name)}: the voxels are in another file; send it as .mha, .nrrd or .nii.gz")
    return suffix or ".dcm"


def shown(name: str) -> str:
    """A client's file name, to be shown: its last part, no control characters, at most 120 characters."""
    last = re.split(r"[\\/]", name.strip())[-1]
    return re.sub(r"[\x00-\x1f\x7f]", "", last)[:120] or "unnamed"


def _members(files: Iterable[tuple[str, BinaryIO]], limits: Limits) -> Iterator[tuple[str, BinaryIO]]:
    """The files, and the members of those that are zip archives."""
    for name, content in files:
        if not name.lower().endswith(".zip"):
            yield name, content
            continue
        with zipfile.ZipFile(content) as archive:
            for member in check_archive(name, archive, limits):
                with archive.open(member) as unpacked:
                    yield member.filename, unpacked  # type: ignore[misc]


def check_archive(name: str, archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    """The members of an archive that are files.

    `zipfile` reads no more of a member than its entry declares, so that what is declared can be relied on.

    Raises:
        TooLargeError: too many members, too large together, or packed too well to be a scan.
        ReadError: encrypted, an archive in the archive, or a link.
    """
    members = [m for m in archive.infolist() if not m.is_dir() and not _idle(m.filename)]
    if len(members) > limits.files:
        raise TooLargeError(f"{shown(name)}: {len(members)} files; {limits.files} are the most")
    size = sum(m.file_size for m in members)
    if size > limits.unpacked_bytes:
        raise TooLargeError(
            f"{shown(name)}: unpacks to {_gib(size)}; {_gib(limits.unpacked_bytes)} is the most"
        )
    for member in members:
        said = f"{shown(name)}: {shown(member.filename)}"
        if member.file_size > 2**20 and member.file_size > limits.ratio * max(member.compress_size, 1):
            raise TooLargeError(
                f"{said} unpacks to more than {limits.ratio:g} times its size; that is no scan"
            )
        if member.flag_bits & 0x1:
            raise ReadError(f"{said} is encrypted; unpack it with its password and send the files")
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise ReadError(f"{said} is a link, not a file")
        if member.filename.lower().endswith(".zip"):
            raise ReadError(f"{said} is an archive in an archive; unpack it and send the files")
    return members


def _idle(name: str) -> bool:
    """What macOS and viewers put into archives beside the scan."""
    last = shown(name)
    return last.startswith("._") or "__MACOSX" in name or last in ("DICOMDIR", ".DS_Store", "Thumbs.db")


def _copy(content: BinaryIO, path: Path, most: int) -> int:
    """Writes a file, at most so many bytes -> how many."""
    size = 0
    with path.open("xb") as file:
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            if size > most:
                raise TooLargeError(
                    "the files of this upload are too large together; send one study at a time"
                )
            file.write(chunk)
    return size


def check_image(path: Path, limits: Limits) -> None:
    """Refuses an image whose voxels are elsewhere or would not fit into memory.

    Raises:
        TooLargeError: more voxels than allowed.
        ReadError: not an image of its kind, or one that names another file.
    """
    suffix = suffix_of(path)
    if suffix in (".nrrd", ".mha"):
        _check_alone(path, suffix)
    try:
        size = _nifti_bytes(path) if suffix in (".nii", ".nii.gz") else _sitk_bytes(path)
    except (RuntimeError, OSError, EOFError, ValueError, zlib.error, *_BROKEN_NIFTI) as error:
        raise ReadError(f"the file is no {suffix[1:]} image, or a damaged one: {error}") from error
    if size > limits.image_bytes:
        raise TooLargeError(f"the image has {_gib(size)} of voxels; {_gib(limits.image_bytes)} is the most")


def _check_alone(path: Path, suffix: str) -> None:
    """MetaImage and NRRD headers may name any file of this machine as the one with the voxels."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if suffix == ".mha":
        found = re.search(rb"^\s*ElementDataFile\s*=\s*(\S+)", head, re.MULTILINE | re.IGNORECASE)
        alone = found is not None and found[1].upper() == b"LOCAL"
    else:
        head = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
        alone = re.search(rb"^\s*data\s*file\s*:", head, re.MULTILINE | re.IGNORECASE) is None
    if not alone:
        raise ReadError(f"the {suffix[1:].upper()} file does not hold its own voxels; send one that does")


def _nifti_bytes(path: Path) -> int:
    """What the header says of the voxels; nothing else is read."""
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rb") as file:
        head = file.read(nib.Nifti2Header.sizeof_hdr)
    second = int.from_bytes(head[:4], "little") == nib.Nifti2Header.sizeof_hdr or head[:4] == b"\0\0\x02\x1c"
    kind = nib.Nifti2Header if second else nib.Nifti1Header
    header = kind(head[: kind.sizeof_hdr], check=False)
    if not 0 <= int(header["vox_offset"]) <= _MOST_BEFORE_VOXELS:
        raise ValueError(f"the voxels begin at byte {int(header['vox_offset'])}")
    size = header.get_data_dtype().itemsize
    for n in header.get_data_shape():
        size *= max(int(n), 0)
    return int(size)


def _sitk_bytes(path: Path) -> int:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = 8 * max(1, reader.GetNumberOfComponents())
    for n in reader.GetSize():
        size *= int(n)
    return size


def check_dicom(paths: list[Path], limits: Limits) -> None:
    """Refuses DICOM whose voxels would not fit into memory, however well they are packed.

    Raises:
        TooLargeError: more voxels than allowed.
        ReadError: no DICOM at all, or a deflated file.
    """
    size = 0
    found = 0
    for path in paths:
        if not is_dicom(path):
            continue
        found += 1
        try:
            if pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID") == (
                DeflatedExplicitVRLittleEndian
            ):
                raise ReadError("a DICOM file is deflated; store it in another transfer syntax")
            head = pydicom.dcmread(
                path, specific_tags=["Rows", "Columns", "NumberOfFrames"], stop_before_pixels=True
            )
            frames = max(1, int(head.get("NumberOfFrames") or 1))
            size += int(head.get("Rows") or 0) * int(head.get("Columns") or 0) * frames * 4
        except ReadError:
            raise
        except Exception as error:  # pydicom raises many kinds on damaged files
            raise ReadError(f"a DICOM file is damaged: {error}") from error
        if size > limits.image_bytes:
            raise TooLargeError(f"the study has more than {_gib(limits.image_bytes)} of voxels")
    if not found:
        raise ReadError(
            "no DICOM and no image in the upload; send a DICOM study (its folder or a zip of it), "
            "or a .nii, .nii.gz, .nrrd or .mha file"
        )


def discard(folder: Path) -> None:
    """Removes an upload's folder, whatever is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
