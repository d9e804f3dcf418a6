"""Session files: a zip of `session.json` and plain .npy arrays. Nothing in it is executed when it is read.

session.json      format, version, model, scan (shape, affine, unit, dtype, sha256), objects and their steps
scan.npy          the scan's voxels (unless left out)
a0.npy, a1.npy    masks, probabilities, window logits; session.json says which is which
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError, ReadError
from anypet.objects import Patch, Prediction, SegmentedObject, Tile
from anypet.steps import decode_step, encode_step
from anypet.volume import Volume

if TYPE_CHECKING:
    from anypet.session import Session

FORMAT = "anypet-session"
VERSION = 1


@dataclass(frozen=True)
class Saved:
    """What a session file holds."""

    scan: Volume
    model: str
    objects: dict[str, SegmentedObject]
    selected: str


def fingerprint(array: npt.NDArray[Any]) -> str:
    """SHA-256 (hex) of an array's little-endian bytes in C order, without a copy of the whole."""
    digest = hashlib.sha256()
    kind = array.dtype.newbyteorder("<")
    for plane in array:
        digest.update(np.ascontiguousarray(plane, dtype=kind).tobytes())
    return digest.hexdigest()


def save(session: Session, path: Path, *, include_scan: bool) -> Path:
    """Writes a session to `path`; a file already there is replaced only once the new one is complete."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise AnyPETError(f"{path}: cannot be written: {error}; give a folder that exists") from error
    os.close(handle)
    temporary = Path(name)
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            _Writer(archive).session(session, include_scan)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    return path


class _Writer:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self._names: dict[Patch | Tile, str] = {}

    def session(self, session: Session, include_scan: bool) -> None:
        scan = session.scan
        header = {
            "format": FORMAT,
            "version": VERSION,
            "model": session.model_name,
            "selected": session.selected.name,
            "scan": {
                "included": include_scan,
                "shape": list(scan.shape),
                "dtype": scan.array.dtype.name,
                "affine": scan.affine.tolist(),
                "unit": scan.unit,
                "sha256": fingerprint(scan.array),
                "meta": jsonable(scan.meta),
            },
            "objects": [
                {
                    "name": item.name,
                    "cursor": item.cursor,
                    "steps": [encode_step(s, self._put) for s in item.steps],
                }
                for item in session.objects.values()
            ],
        }
        if include_scan:
            self._write("scan.npy", scan.array)
        self.archive.writestr("session.json", json.dumps(header, indent=1))

    def _write(self, name: str, array: npt.NDArray[Any]) -> None:
        with self.archive.open(name, "w", force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)

    def _put(self, owner: Patch | Tile) -> str:
        """The member's name; a patch or tile that several steps share is written once."""
        if owner not in self._names:
            self._names[owner] = name = f"a{len(self._names)}.npy"
            self._write(name, owner.values if isinstance(owner, Patch) else owner.logits)
        return self._names[owner]


def load(path: Path, scan: Volume | None) -> Saved:
    """Reads a session file; see `Session.load` for what it raises."""
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("session.json"))
            if header.get("format") != FORMAT or header.get("version") != VERSION:
                raise ReadError(
                    f"{path}: expected {FORMAT} version {VERSION}, "
                    f"found {header.get('format')!r} version {header.get('version')!r}"
                )
            reader = _Reader(archive)
            volume = _scan(path, reader, header["scan"], scan)
            objects = {}
            for item in header["objects"]:
                steps = [reader.step(step) for step in item["steps"]]
                if not 0 <= item["cursor"] < len(steps):
                    raise ReadError(f"{path}: object {item['name']!r} has no step {item['cursor']}")
                objects[str(item["name"])] = SegmentedObject(str(item["name"]), volume, steps, item["cursor"])
            if header["selected"] not in objects:
                raise ReadError(f"{path}: the selected object {header['selected']!r} is not in the file")
            return Saved(volume, str(header["model"]), objects, header["selected"])
    except FileNotFoundError as error:
        raise ReadError(f"{path}: there is no such file") from error
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
        raise ReadError(f"{path} is not an AnyPET session, or it is damaged: {error}") from error
    except AnyPETError:
        raise
    except ValueError as error:  # json, npy headers, wrong numbers of coordinates
        raise ReadError(f"{path} is not an AnyPET session, or it is damaged: {error}") from error


def _scan(path: Path, reader: _Reader, header: Mapping[str, Any], scan: Volume | None) -> Volume:
    """The scan from the file, or the given one if it is the one that the session was made on."""
    affine = np.array(header["affine"], dtype=np.float64)
    if scan is None:
        if not header["included"]:
            raise AnyPETError(f"{path} was saved without its scan; give the scan (shape {header['shape']})")
        return Volume(reader.array("scan.npy"), affine, str(header["unit"]), header["meta"])
    if list(scan.shape) != header["shape"] or not np.allclose(scan.affine, affine, atol=1e-3):
        raise AnyPETError(
            f"{path} was made on another scan: shape {header['shape']} and affine {affine.tolist()}, "
            f"the given one has {list(scan.shape)} and {scan.affine.tolist()}"
        )
    if scan.array.dtype.name != header["dtype"] or fingerprint(scan.array) != header["sha256"]:
        raise AnyPETError(
            f"{path} was made on another scan: the grid is the same, the voxels' SHA-256 differs"
        )
    return scan


class _Reader:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def array(self, name: str) -> npt.NDArray[Any]:
        if name not in self._arrays:
            with self.archive.open(name) as file:
                self._arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
        return self._arrays[name]

    def step(self, data: Mapping[str, Any]) -> Prediction:
        return decode_step(
            data,
            lambda start, name: Patch(start, self.array(name)),
            lambda cell, name, seed: Tile(cell, self.array(name), seed),
        )


def jsonable(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a scan's meta that JSON can hold; others are left out."""
    kept = {}
    for key, value in meta.items():
        try:
            kept[str(key)] = json.loads(json.dumps(value))
        except (TypeError, ValueError):
            continue
    return kept
