"""What a session can be saved as: a small registry, so that further kinds of file are one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anypet.errors import AnyPETError, PromptError
from anypet.formats import save
from anypet.objects import label_map
from anypet.server.live import Live
from anypet.server.scans import NotFoundError

Write = Callable[[Live, Sequence[str], Path], None]


@dataclass(frozen=True)
class Export:
    """A kind of file.

    Args:
        kind: its name in the address.
        title: for people.
        suffix: of the file.
        media_type: of the answer (RFC 6838).
        write: takes the session, the names of the objects wanted (at least one, all there) and the path to
            write.
        dicom: whether the scan must come from DICOM.
        empty: whether there need be no mask.
    """

    kind: str
    title: str
    suffix: str
    media_type: str
    write: Write
    dicom: bool = False
    empty: bool = False


_EXPORTS: dict[str, Export] = {}


def register_export(export: Export) -> None:
    """Adds a kind of file; one under this name is replaced."""
    _EXPORTS[export.kind] = export


def exports_for(live: Live | None = None) -> list[Export]:
    """The kinds that there are; of a session, those that its scan allows."""
    dicom = live is None or live.scan.pet.meta.get("format") == "DICOM"
    return [export for export in _EXPORTS.values() if dicom or not export.dicom]


def export(live: Live, kind: str, names: Sequence[str], folder: Path) -> tuple[Path, Export]:
    """Writes a session as a file into a folder.

    Args:
        live: the session; called on its worker.
        kind: one of the registered.
        names: of the objects; none means all.
        folder: exists.

    Raises:
        NotFoundError: no such kind, or no such object.
        PromptError: every object wanted is empty.
    """
    known = {one.kind: one for one in exports_for(live)}
    if kind not in known:
        raise NotFoundError(f"{kind[:40]!r} is no kind of file for this scan; there are {', '.join(known)}")
    objects = live.session.objects
    missing = [name for name in names if name not in objects]
    if missing:
        raise NotFoundError(f"there is no object {missing[0]!r}")
    wanted = list(names) or list(objects)
    if not known[kind].empty and not any(objects[name].voxels for name in wanted):
        raise PromptError("nothing is segmented yet: click on something first")
    path = folder / f"export{known[kind].suffix}"
    known[kind].write(live, wanted, path)
    return path, known[kind]


def _write_labels(live: Live, names: Sequence[str], path: Path) -> None:
    save(label_map(live.scan.pet, [live.session.objects[name] for name in names]), path)


def _write_session(live: Live, names: Sequence[str], path: Path) -> None:
    live.session.save(path)


def _write_timers(live: Live, names: Sequence[str], path: Path) -> None:
    volumes = {name: item.volume_ml for name, item in live.session.objects.items()}
    try:
        path.write_text(live.timers.table(volumes), encoding="utf-8", newline="")
    except OSError as error:
        raise AnyPETError(f"the file cannot be written: {error}") from error


register_export(Export("nifti", "NIfTI label map", ".nii.gz", "application/gzip", _write_labels))
register_export(Export("nrrd", "NRRD label map", ".nrrd", "application/octet-stream", _write_labels))
register_export(Export("session", "AnyPET session", ".anypet", "application/zip", _write_session, empty=True))
register_export(
    Export("timers", "Annotation times (CSV)", ".csv", "text/csv; charset=utf-8", _write_timers, empty=True)
)
