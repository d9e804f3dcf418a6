"""What a session can be saved as: a small registry, so that further kinds of file are one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anypet.errors import PromptError
from anypet.files import write_whole
from anypet.formats import save
from anypet.objects import SegmentedObject, label_map
from anypet.server import derived
from anypet.server.live import Live
from anypet.server.scans import NotFoundError

Items = Sequence[SegmentedObject]


@dataclass(frozen=True)
class Export:
    """A kind of file.

    Args:
        kind: its name in the address.
        title: for people.
        suffix: of the file.
        media_type: of the answer (RFC 6838).
        write: takes the session, the objects wanted as they were after the last step (at least one), the
            path to write and whether to leave the patient's identity out. Called on any thread, or on the
            session's own where `whole` is set.
        dicom: whether the scan must come from DICOM.
        empty: whether there need be no mask; else at least one object has a voxel.
        whole: whether it needs the session itself, with its history; such a file keeps what it has of the
            patient.
    """

    kind: str
    title: str
    suffix: str
    media_type: str
    write: Callable[[Live, Items, Path, bool], None]
    dicom: bool = False
    empty: bool = False
    whole: bool = False


_EXPORTS: dict[str, Export] = {}


def register_export(export: Export) -> None:
    """Adds a kind of file; one under this name is replaced."""
    _EXPORTS[export.kind] = export


def exports_for(live: Live | None = None) -> list[Export]:
    """The kinds that there are; of a session, those that its scan allows."""
    dicom = live is None or live.scan.is_dicom
    return [export for export in _EXPORTS.values() if dicom or not export.dicom]


def export_of(live: Live, kind: str) -> Export:
    """A kind of file for a session.

    Raises:
        NotFoundError: there is none, or not for this scan.
    """
    known = {one.kind: one for one in exports_for(live)}
    if kind not in known:
        raise NotFoundError(f"{kind[:40]!r} is no kind of file for this scan; there are {', '.join(known)}")
    return known[kind]


def export(live: Live, how: Export, names: Sequence[str], folder: Path, anonymise: bool = False) -> Path:
    """Writes a session as a file into a folder.

    Args:
        live: the session.
        how: the kind of file.
        names: of the objects; none means all.
        folder: exists.
        anonymise: whether to leave the patient's identity out.

    Raises:
        NotFoundError: no such object.
        PromptError: every object wanted is empty, or this kind of file cannot be made without identity.
    """
    if anonymise and how.whole:
        raise PromptError(f"{how.title}: it holds the session as it is; save it without anonymising")
    items = live.items(names)
    if not how.empty and not any(item.voxels for item in items):
        raise PromptError("nothing is segmented yet: click on something first")
    path = folder / f"export{how.suffix}"
    how.write(live, items, path, anonymise)
    return path


def _write_labels(live: Live, items: Items, path: Path, anonymise: bool) -> None:
    save(label_map(live.scan.pet, items), path)


def _write_session(live: Live, items: Items, path: Path, anonymise: bool) -> None:
    live.session.save(path)


def _write_timers(live: Live, items: Items, path: Path, anonymise: bool) -> None:
    write_whole(path, live.timers.table({item.name: item.volume_ml for item in items}))


_CSV, _DICOM = "text/csv; charset=utf-8", "application/dicom"
for _export in (
    Export("nifti", "NIfTI label map", ".nii.gz", "application/gzip", _write_labels),
    Export("nrrd", "NRRD label map", ".nrrd", "application/octet-stream", _write_labels),
    Export("seg", "DICOM SEG", ".dcm", _DICOM, derived.write_seg, dicom=True),
    Export("rtstruct", "DICOM RTSTRUCT", ".dcm", _DICOM, derived.write_rtstruct, dicom=True),
    Export("sr", "DICOM SR, with its SEG", ".zip", "application/zip", derived.write_sr, dicom=True),
    Export("csv", "Measures (CSV)", ".csv", _CSV, derived.write_table),
    Export("report", "Report (HTML)", ".html", "text/html; charset=utf-8", derived.write_html),
    Export("pdf", "Report (PDF)", ".pdf", "application/pdf", derived.write_pdf),
    Export("timers", "Annotation times (CSV)", ".csv", _CSV, _write_timers, empty=True, whole=True),
    Export("session", "AnyPET session", ".anypet", "application/zip", _write_session, empty=True, whole=True),
):
    register_export(_export)
