"""The scans of the server: found, uploaded or handed over; read once, then mapped from disk."""

from __future__ import annotations

import io
import json
import logging
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from anypet.archive import fingerprint, jsonable
from anypet.checks import check_scan
from anypet.errors import AnyPETError, ReadError
from anypet.files import write_whole
from anypet.formats import save
from anypet.io import read_study
from anypet.server.folder import Found, discover, signature, study_uids
from anypet.server.uploads import Limits, discard, receive, shown
from anypet.volume import Volume

log = logging.getLogger(__name__)
MAPPED = 32  # scans held open; sessions hold theirs besides
_STORED = re.compile(r"[ua][0-9a-f]{16}")
LISTING_S = 5.0  # the folder is not looked through again before


class NotFoundError(AnyPETError):
    """There is no such scan, session or job, or it belongs to somebody else."""


@dataclass(frozen=True)
class Reading:
    """How a scan is read: see `anypet.io.read`; `ct` is a path of this machine."""

    unit: str | None = None
    series: str | None = None
    frame: int | None = None
    ct: str | None = None


@dataclass(frozen=True)
class Entry:
    """A scan that there is, opened or not.

    Args:
        id, name: for machines and for people.
        kind: "folder", "upload", "pacs", or "array" where a program handed the voxels over.
        owner: whose it is; None: everybody's.
        path: where it is read from; None for an array.
        ct: the CT image beside it.
    """

    id: str
    name: str
    kind: str
    owner: str | None = None
    path: Path | None = None
    ct: Path | None = None


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan that is open: its volumes are mapped from disk and cost memory only where they are looked at.

    Args:
        entry: which scan.
        pet: SUVbw, float32.
        ct: HU on the grid of the PET, or None.
        sha256: of the PET's voxels.
        folder: with pet.npy, ct.npy and what is made of them.
        reading: how it was read.
    """

    entry: Entry
    pet: Volume
    ct: Volume | None
    sha256: str
    folder: Path
    reading: Reading = Reading()

    @property
    def is_dicom(self) -> bool:
        """Whether DICOM objects can refer to it: it was read from DICOM files that are still there."""
        return self.pet.meta.get("format") == "DICOM" and self.entry.path is not None

    def nifti(self, image: str) -> Path:
        """The PET ("pet") or CT ("ct") as a NIfTI file, written at the first call.

        Raises:
            NotFoundError: the scan has no CT.
        """
        volume = {"pet": self.pet, "ct": self.ct}.get(image)
        if volume is None:
            raise NotFoundError(f"scan {self.entry.name!r} has no {image!r}")
        path = self.folder / f"{image}.nii.gz"
        if not path.is_file():
            save(volume, path)
        return path


class ScanLibrary:
    """All scans, by id.

    Args:
        state: where opened scans and uploads are kept.
        folder: scans that were there when the server started, or None.
        limits: of uploads.
        unit: what files of the folder are in that do not say so themselves.
    """

    def __init__(
        self, state: Path, folder: Path | None = None, limits: Limits | None = None, unit: str | None = None
    ) -> None:
        self.root = state / "scans"
        self.root.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.limits = limits or Limits()
        self.unit = unit
        self._open: OrderedDict[str, Scan] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._listed: tuple[float, list[Found]] = (-LISTING_S, [])
        for unfinished in self.root.glob(".*.part"):
            discard(unfinished)

    # -- which there are -------------------------------------------------------------------------------------

    def entries(self, owner: str) -> list[Entry]:
        """The scans of the folder, and those that the owner sent."""
        found = [_entry(one) for one in self._discover()]
        own = (self._stored(path.name) for path in sorted(self.root.glob("[ua]*")) if path.is_dir())
        return found + [entry for entry in own if entry is not None and entry.owner in (None, owner)]

    def entry(self, key: str, owner: str) -> Entry:
        """One of them.

        Raises:
            NotFoundError: not there, or somebody else's.
        """
        if _STORED.fullmatch(key):
            entry = self._stored(key)
            if entry is not None and entry.owner in (None, owner):
                return entry
        for found in self._discover():
            if found.id == key:
                return _entry(found)
        raise NotFoundError(f"there is no scan {key[:40]!r}")

    def _discover(self) -> list[Found]:
        if self.folder is None:
            return []
        with self._guard:
            at, found = self._listed
            if time.monotonic() - at > LISTING_S:
                found = discover(self.folder)
                self._listed = time.monotonic(), found
            return found

    def _stored(self, key: str) -> Entry | None:
        try:
            told = json.loads((self.root / key / "entry.json").read_text())
            path = None if told["path"] is None else self.root / key / told["path"]
            return Entry(key, told["name"], told["kind"], told["owner"], path)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # half removed, or of another version

    # -- opening ---------------------------------------------------------------------------------------------

    def open(self, key: str, owner: str, reading: Reading | None = None) -> Scan:
        """A scan's volumes; read at the first time, and again when the file or the way of reading changed.

        Args:
            key: which.
            owner: who asks.
            reading: None takes the way in which it was opened before.

        Raises:
            NotFoundError: no such scan.
            AnyPETError: it cannot be read, or is no PET in SUVbw; the message says what is needed.
        """
        entry = self.entry(key, owner)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            kept = self._open.get(key)
            if kept is None:
                kept = self._mapped(entry)
            if kept is None or (reading is not None and reading != kept.reading) or self._changed(kept):
                kept = self._read(entry, reading or (kept.reading if kept else Reading()))
            self._hold(key, kept)
            return kept

    def _hold(self, key: str, scan: Scan) -> None:
        """Mapped files take no memory, but file handles."""
        with self._guard:
            self._open[key] = scan
            self._open.move_to_end(key)
            while len(self._open) > MAPPED:
                self._open.popitem(last=False)

    def uids(self, entry: Entry) -> set[str]:
        """Series and study UID of a DICOM scan; none before it was opened, for what is not DICOM."""
        try:
            meta = json.loads((self.root / entry.id / "scan.json").read_text())["pet"]["meta"]
        except (OSError, ValueError, KeyError):
            return study_uids(entry.path) if entry.path is not None and entry.path.is_dir() else set()
        return {str(meta[key]) for key in ("series_uid", "study_uid") if meta.get(key)}

    def is_open(self, key: str) -> bool:
        """Whether the scan has been read."""
        return (self.root / key / "scan.json").is_file()

    def _changed(self, scan: Scan) -> bool:
        path = scan.entry.path if scan.entry.kind == "folder" else None
        return path is not None and scan.pet.meta["signature"] != signature(path)

    def _read(self, entry: Entry, reading: Reading) -> Scan:
        if entry.path is None:
            raise NotFoundError(f"scan {entry.name!r} is not there any more")
        ct = entry.ct if reading.ct is None else Path(reading.ct)
        unit = reading.unit or (self.unit if entry.kind == "folder" else None)
        try:
            study = read_study(entry.path, ct=ct, unit=unit, series=reading.series, frame=reading.frame)
        except ReadError as error:
            raise type(error)(_without_paths(str(error), entry)) from error
        pet = study.pet.with_array(study.pet.array, signature=signature(entry.path))
        return self._keep(entry, pet, study.ct, reading)

    def _keep(self, entry: Entry, pet: Volume, ct: Volume | None, reading: Reading) -> Scan:
        """Stores the voxels as plain arrays; scan.json is written last and says that all of it is there."""
        check_scan(pet)
        folder = self.root / entry.id
        folder.mkdir(exist_ok=True)
        for old in ("scan.json", "pet.nii.gz", "ct.nii.gz", "ct.npy"):
            (folder / old).unlink(missing_ok=True)
        told: dict[str, Any] = {"reading": asdict(reading), "sha256": fingerprint(pet.array)}
        for name, volume in (("pet", pet), ("ct", ct)):
            if volume is not None:
                _write_array(folder / f"{name}.npy", volume)
                told[name] = {
                    "affine": volume.affine.tolist(), "unit": volume.unit, "meta": jsonable(volume.meta)
                }  # fmt: skip
        write_whole(folder / "scan.json", json.dumps(told))
        mapped = self._mapped(entry)
        if mapped is None:
            raise ReadError(f"{entry.name}: what was stored cannot be read again; is the disk full?")
        return mapped

    def _mapped(self, entry: Entry) -> Scan | None:
        """A scan that was opened before, from what was stored then; None without that."""
        folder = self.root / entry.id
        try:
            told = json.loads((folder / "scan.json").read_text())
            volumes = {
                name: _mapped_volume(folder, name, told[name]) for name in ("pet", "ct") if name in told
            }
            reading = Reading(**told["reading"])
            return Scan(entry, volumes["pet"], volumes.get("ct"), str(told["sha256"]), folder, reading)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: the stored scan is damaged and is read again: %s", folder, error)
            return None

    # -- adding ----------------------------------------------------------------------------------------------

    def upload(self, files: Iterable[tuple[str, BinaryIO]], owner: str, name: str | None = None) -> Entry:
        """Keeps files that a client sent: a DICOM study, a zip of one, or an image.

        Raises:
            TooLargeError, ReadError: see `anypet.server.uploads.receive`.
        """
        files = list(files)
        title = name or (files[0][0] if files else "")
        return self.keep(lambda folder: receive(files, folder, self.limits), owner, title)

    def keep(self, fill: Callable[[Path], Path], owner: str, name: str, kind: str = "upload") -> Entry:
        """Keeps files for an owner.

        Args:
            fill: writes them into an empty folder, and returns what there is to read.
            owner, name, kind: see `Entry`.
        """
        part = Path(tempfile.mkdtemp(prefix=".u", suffix=".part", dir=self.root))
        try:
            (part / "files").mkdir()
            path = fill(part / "files").relative_to(part)
            told = {"name": shown(name), "kind": kind, "owner": owner, "path": path.as_posix()}
            (part / "entry.json").write_text(json.dumps(told))
            key = "u" + secrets.token_hex(8)
            part.rename(self.root / key)
        except BaseException:
            discard(part)
            raise
        return self.entry(key, owner)

    def add(self, pet: Volume, owner: str, name: str, ct: Volume | None = None) -> Scan:
        """Keeps a scan that a program handed over; the same voxels on the same grid are kept once.

        Raises:
            AnyPETError: not a PET in SUVbw.
        """
        check_scan(pet)
        grid = (
            fingerprint(pet.affine.round(4))
            + fingerprint(pet.array)
            + ("" if ct is None else fingerprint(ct.array))
        )
        key = "a" + fingerprint(np.frombuffer(f"{owner}\0{grid}".encode(), np.uint8))[:16]
        if self._stored(key) is not None and self.is_open(key):
            return self.open(key, owner)
        (self.root / key).mkdir(exist_ok=True)
        entry = Entry(key, shown(name), "array", owner)
        scan = self._keep(entry, pet.with_array(pet.array.astype(np.float32, copy=False)), ct, Reading())
        told = {"name": entry.name, "kind": "array", "owner": owner, "path": None}
        write_whole(self.root / key / "entry.json", json.dumps(told))
        self._hold(key, scan)
        return scan

    def remove(self, key: str, owner: str) -> None:
        """Deletes an upload, or what was stored of a scan of the folder (whose own files stay).

        Raises:
            NotFoundError: no such scan.
        """
        entry = self.entry(key, owner)
        self._open.pop(entry.id, None)
        shutil.rmtree(self.root / entry.id, ignore_errors=True)


def _entry(found: Found) -> Entry:
    return Entry(found.id, found.name, "folder", None, found.path, found.ct)


def _write_array(path: Path, volume: Volume) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asfortranarray(volume.array), allow_pickle=False)
    write_whole(path, buffer.getvalue())


def _mapped_volume(folder: Path, name: str, told: Mapping[str, Any]) -> Volume:
    """Copy on write: the file stays as it is, whatever is done to the array."""
    array = np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))
    return Volume(array, np.array(told["affine"]), str(told["unit"]), told["meta"])


def _without_paths(message: str, entry: Entry) -> str:
    """A client need not know where the server keeps its files."""
    assert entry.path is not None
    return message.replace(str(entry.path), entry.name).replace(str(entry.path.parent), "")
