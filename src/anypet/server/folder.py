"""What can be opened in a folder: DICOM studies, archives, and image files with the CT beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anypet.dicom.files import NOT_DICOM, is_dicom, read_header
from anypet.formats import suffix_of

_CT = re.compile(r"(^|[^a-z])ct([^a-z]|res|$)", re.IGNORECASE)
_LABELS = re.compile(r"(^|[^a-z])(segs?|masks?|labels?|organs|instances)([^a-z]|$)", re.IGNORECASE)
_PEEK = 50  # files looked at in a folder before it is taken not to hold DICOM


@dataclass(frozen=True)
class Found:
    """Something to open.

    Args:
        id: stays the same as long as the path below the folder does.
        name: for people; the path below the folder.
        path: a DICOM folder, an archive or an image.
        ct: the CT image beside it, if there is one.
    """

    id: str
    name: str
    path: Path
    ct: Path | None = None


def discover(folder: Path) -> list[Found]:
    """The scans in a folder, by name; a path that is a file, or one study, is one scan.

    Subfolders with images are looked into once; a folder whose subfolders are series of one DICOM study is
    that study.
    """
    if folder.is_file():
        return [_found(folder.parent, folder)]
    children = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    inside = [p for p in children if p.is_dir()]
    studies = {path: study_of(path) for path in inside}
    uids = {uid for uid in studies.values() if uid}
    if study_of(folder, deep=False) or (len(uids) == 1 and len(inside) > 1 and all(studies.values())):
        return [_found(folder.parent, folder)]
    found = list(_images(folder, folder))
    found += [_found(folder, p) for p in children if p.suffix.lower() == ".zip" and p.is_file()]
    for path, uid in studies.items():
        found += [_found(folder, path)] if uid else list(_images(folder, path))
    return sorted(found, key=lambda one: one.name)


def study_of(folder: Path, *, deep: bool = True) -> str:
    """The study UID in the first DICOM file of a folder (and below it); "" where there is none."""
    looked = 0
    for path in sorted(folder.rglob("*") if deep else folder.iterdir()):
        if not path.is_file() or path.suffix.lower() in NOT_DICOM or path.name == "DICOMDIR":
            continue
        looked += 1
        if looked > _PEEK:
            return ""
        header = read_header(path) if is_dicom(path) else None
        if header is not None:
            return str(header.get("StudyInstanceUID") or "unknown")
    return ""


def study_uids(folder: Path) -> set[str]:
    """The study UID and all series UIDs of the DICOM files below a folder."""
    found = set()
    for path in sorted(folder.rglob("*")):
        header = read_header(path) if path.is_file() and is_dicom(path) else None
        if header is not None:
            found |= {str(header.get(key) or "") for key in ("StudyInstanceUID", "SeriesInstanceUID")}
    return found - {""}


def _images(root: Path, folder: Path) -> Iterator[Found]:
    """The images right in a folder: the first CT goes with each of the others, label maps are left out."""
    images = [p for p in sorted(folder.iterdir()) if p.is_file() and suffix_of(p)]
    images = [p for p in images if not _LABELS.search(_stem(p))]
    cts = [p for p in images if _CT.search(_stem(p))]
    for path in images:
        if path not in cts:
            yield _found(root, path, cts[0] if cts else None)


def _stem(path: Path) -> str:
    return path.name[: -len(suffix_of(path))]


def _found(root: Path, path: Path, ct: Path | None = None) -> Found:
    name = path.relative_to(root).as_posix()
    return Found("f" + hashlib.sha256(name.encode()).hexdigest()[:16], name, path, ct)


def signature(path: Path) -> str:
    """Changes when a file of the scan does: a digest of names, sizes and times of modification."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]
