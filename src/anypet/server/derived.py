"""What is made of a session's objects: DICOM SEG, RTSTRUCT and SR of the scan's series, table and report.

Objects without a voxel are left out.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anypet.files import write_whole
from anypet.objects import SegmentedObject, label_map
from anypet.server.live import Live
from anypet.server.timers import plain
from anypet.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from anypet.dicom.regions import Regions
    from anypet.dicom.source import Source
    from anypet.report.content import Report

Items = Sequence[SegmentedObject]
KINDS = ("seg", "rtstruct", "sr")


def dicom_objects(
    live: Live, items: Items, kinds: Iterable[str] = KINDS, anonymise: bool = False
) -> dict[str, Dataset]:
    """DICOM objects that refer to the scan's own slices; a report brings the SEG that it refers to.

    Args:
        live: the session.
        items: the objects; at least one has a voxel.
        kinds: which of `KINDS`.
        anonymise: whether to leave the patient's identity out, as `anypet export --anonymise` does.

    Raises:
        AnyPETError: see `anypet.dicom.find_source`; the scan's files are gone, for example.
    """
    from anypet.dicom.write_rtstruct import structures
    from anypet.dicom.write_seg import segmentation
    from anypet.dicom.write_sr import measurements

    kinds, items = set(kinds), [item for item in items if item.voxels]
    source = _source(live).anonymised() if anonymise else _source(live)
    regions = _regions(live, items, source.grid)
    made: dict[str, Dataset] = {}
    if kinds & {"seg", "sr"}:
        made["seg"] = segmentation(regions, source)
    if "rtstruct" in kinds:
        made["rtstruct"] = structures(regions, source)
    if "sr" in kinds:
        values = {name: _numbers(live, item) for name, item in zip(regions.names, items, strict=True)}
        made["sr"] = measurements(values, made["seg"], source, suv_unit=live.scan.pet.unit)
    return made


def write_seg(live: Live, items: Items, path: Path, anonymise: bool) -> None:
    """The objects as one DICOM SEG."""
    _write(dicom_objects(live, items, ["seg"], anonymise)["seg"], path)


def write_rtstruct(live: Live, items: Items, path: Path, anonymise: bool) -> None:
    """The objects as one RTSTRUCT."""
    _write(dicom_objects(live, items, ["rtstruct"], anonymise)["rtstruct"], path)


def write_sr(live: Live, items: Items, path: Path, anonymise: bool) -> None:
    """A zip archive with the report and the SEG that it refers to."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for kind, dataset in dicom_objects(live, items, ["sr"], anonymise).items():
            file = path.with_name(f"{kind}.dcm")
            _write(dataset, file)
            archive.write(file, file.name)


def write_table(live: Live, items: Items, path: Path, anonymise: bool) -> None:
    """The measures of every object and of all together, as `anypet measure` gives them, as CSV."""
    from anypet.quantify.measures import measure
    from anypet.quantify.table import csv_of

    labels = _labels(live, items)
    table = measure(live.scan.pet, labels)
    if not anonymise:
        table = table.with_about(scan=live.scan.entry.name)
    rows = [{k: plain(v) if isinstance(v, str) else v for k, v in row.items()} for row in table.records()]
    write_whole(path, csv_of(rows))


def write_html(live: Live, items: Items, path: Path, anonymise: bool) -> None:
    """The report that `anypet report` writes, as one HTML file."""
    from anypet.report.html import as_html

    write_whole(path, as_html(_report(live, items, anonymise)))


def write_pdf(live: Live, items: Items, path: Path, anonymise: bool) -> None:
    """The report that `anypet report` writes, as PDF."""
    from anypet.report.pdf import as_pdf

    write_whole(path, as_pdf(_report(live, items, anonymise)))


def _report(live: Live, items: Items, anonymise: bool) -> Report:
    from anypet.report.build import Source, make_report
    from anypet.report.content import Field

    scan = live.scan
    return make_report(
        Source(
            pet=scan.pet,
            lesions=_labels(live, [item for item in items if item.voxels]),
            ct=scan.ct,
            header=_source(live).first if scan.is_dicom else None,
            made_by=(Field("Lesions outlined by", f"a reader with AnyPET ({live.session.model_name})"),),
            names=(Field("Scan", scan.entry.name),),
        ),
        anonymise=anonymise,
    )


def _write(dataset: Dataset, path: Path) -> None:
    from anypet.dicom.files import write_file

    write_file(dataset, path)


def _source(live: Live) -> Source:
    """The series that the objects were drawn on."""
    from anypet.dicom.source import find_source

    scan = live.scan
    assert scan.entry.path is not None
    return find_source(scan.entry.path, series=scan.pet.meta["series_uid"], frame=scan.reading.frame)


def _regions(live: Live, items: Items, grid: Volume) -> Regions:
    """The objects as regions on the grid of the series."""
    from anypet.dicom.regions import regions_on

    labels = _labels(live, items)
    if isinstance(labels, Volume):
        return regions_on(grid, labels)
    pet = live.scan.pet
    masks = {name: Volume(mask, pet.affine, "label", pet.meta) for name, mask in labels.items()}
    return regions_on(grid, masks)


def _labels(live: Live, items: Items) -> Volume | dict[str, npt.NDArray[np.bool_]]:
    """One label map, or where objects overlap a mask for each, which takes more memory."""
    labels = label_map(live.scan.pet, items)
    if np.count_nonzero(labels.array) == sum(item.voxels for item in items):
        return labels
    return {item.name: item.mask for item in items}


def _numbers(live: Live, item: SegmentedObject) -> dict[str, Any]:
    """The measures of a report."""
    measures = {name: value for name, value in item.measures.items() if name != "voxels"}
    return {**measures, "suv_peak": live.suv_peak(item.current)}
