"""Gathers what a report says: measures, checks, pictures and the header of a scan and its mask."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from pydicom.dataset import Dataset

from anypet._version import __version__
from anypet.planes import CORONAL, Upright, grey_limit
from anypet.quantify.measures import Measures, measure
from anypet.quantify.parts import Objects, Part, parts_of, split_into_lesions
from anypet.quantify.regions import Region
from anypet.quantify.suv import Patient, as_suv
from anypet.quantify.table import MeasureTable
from anypet.render import COLOURS
from anypet.report import heading
from anypet.report.content import Field, Picture, Report, Row, Table
from anypet.report.pictures import Marked, projections, slices
from anypet.report.quality import quality_flags
from anypet.text import SIDES, SYNONYMS
from anypet.volume import Volume

PAGE_MM = 186.0  # A4 less its margins
CARD_MM = 91.0
NUMBERED = 24
_ANATOMY = {word for text in (*SYNONYMS, *SYNONYMS.values(), *SIDES) for word in text.split()} | {
    "aorta", "spleen", "liver", "pancreas", "thyroid", "stomach", "oesophagus", "gallbladder", "fat",
    "muscle", "vessel", "ureter",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Source:
    """What a report is made of.

    Args:
        pet: (i, j, k) in a SUV.
        lesions: as for `parts_of`; where there is only one object, its connected components are the lesions.
        ct: HU on any grid, to be laid under the PET.
        organs: as for `parts_of`.
        liver: reference region in SUVbw, for the check and the ratio.
        header: of any slice of the PET.
        patient: weight, height and sex; by default what the scan says.
        tracer: goes before what the header says.
        made_by: model or reader that drew the lesions, and other fields to print.
        names: of the files, printed unless the report is anonymous.
    """

    pet: Volume
    lesions: Objects
    ct: Volume | None = None
    organs: Objects | None = None
    liver: Region | None = None
    header: Dataset | None = None
    patient: Patient | None = None
    tracer: str = ""
    made_by: tuple[Field, ...] = ()
    names: tuple[Field, ...] = ()


def make_report(source: Source, *, suv: str = "bw", anonymise: bool = False, most_slices: int = 6) -> Report:
    """A report on a scan and its lesions.

    Args:
        source: the scan, its lesions and what is known of both.
        suv: "bw", "lbm", ...: the SUV of every table.
        anonymise: leave out everything that could name the patient, see `heading`; lesions are called by
            their number, organs by names that are known as organs.
        most_slices: how many lesions are shown in slices, those of the highest TLG.

    Raises:
        AnyPETError: grids differ.
        SUVError: the scan is not in SUV, or the SUV wanted needs more of the patient.
    """
    patient = source.patient or Patient.of(source.pet)
    pet = as_suv(source.pet, suv, patient)
    lesions, split = _lesions(source.lesions, pet)
    table = measure(pet, lesions, suv=suv, patient=patient)
    marked = _marked(parts_of(lesions, pet), table.rows)
    header = source.header
    tracer = source.tracer or ("" if header is None else heading.tracer(header, anonymise))
    flags = quality_flags(
        pet, patient, header=header, tracer=tracer, liver=source.liver, has_ct=source.ct is not None,
        anonymise=anonymise,
    )  # fmt: skip
    key_slices, slices_note = _slices(pet, source.ct, table, marked, most_slices)
    return Report(
        title="PET report",
        who=heading.who(header, anonymise),
        patient=heading.patient_fields(header, patient, anonymise),
        examination=heading.examination_fields(header, pet, anonymise, source.tracer),
        key_values=_key_values(table),
        projections=_projections(pet, marked),
        lesions=_lesion_table(table, marked, source.liver, split, anonymise),
        organs=None if source.organs is None else _organ_table(pet, source.organs, suv, patient, anonymise),
        key_slices=key_slices,
        slices_note=slices_note,
        flags=flags,
        made_by=_made_by(source, table, anonymise),
        anonymous=anonymise,
    )


def _lesions(objects: Objects, pet: Volume) -> tuple[Objects, bool]:
    """The lesions, and whether they are the components of a single object."""
    parts = parts_of(objects, pet)
    if len(parts) != 1:
        return objects, False
    split = split_into_lesions(objects, pet)
    return (split, True) if len(split.meta["names"]) > 1 else (objects, False)


def _marked(parts: Sequence[Part], rows: Sequence[Measures]) -> list[Marked]:
    marked = []
    for number, (part, row) in enumerate(zip(parts, rows, strict=True), start=1):
        assert row.suv_max_mm is not None  # a part has a voxel
        colour = COLOURS[(number - 1) % len(COLOURS)]
        marked.append(Marked(number, colour, part.patch, row.suv_max_mm))
    return marked


def _key_values(table: MeasureTable) -> tuple[Field, ...]:
    total, unit = table.total, table.suv.unit
    values = [
        Field("Lesions", str(len(table.rows))),
        Field(f"{unit} max", _number(total.suv_max)),
        Field(f"{unit} peak", _number(total.suv_peak)),
        Field("Volume", f"{total.mtv_ml:.1f} mL"),
        Field("TLG", f"{total.tlg:.0f}" if total.tlg >= 100 else f"{total.tlg:.1f}"),
    ]
    if table.spread.dmax_mm is not None and table.spread.lesions > 1:
        values.append(Field("Dmax", f"{table.spread.dmax_mm / 10:.1f} cm"))
    return tuple(values)


def _projections(pet: Volume, marked: Sequence[Marked]) -> Picture:
    text = f"Maximum intensity projections in {pet.unit}, from the front and from the side."
    if len(marked) > NUMBERED:
        text += f" Numbers are written for the first {NUMBERED} of {len(marked)} lesions."
    return Picture(projections(pet, marked, PAGE_MM, NUMBERED), text)


def _lesion_table(
    table: MeasureTable, marked: Sequence[Marked], liver: Region | None, split: bool, anonymise: bool
) -> Table:
    unit = table.suv.unit
    columns = [
        ("Lesion", ""), ("SUVmax", ""), ("SUVpeak", ""), ("SUVmean", ""), ("SD", ""), ("Volume", "mL"),
        ("TLG", ""), ("Longest", "mm"),
    ]  # fmt: skip
    ratio = liver is not None and liver.unit == unit
    if ratio:
        columns.append(("max / liver", ""))

    def cells(name: str, row: Measures) -> tuple[str, ...]:
        values = [
            name, _number(row.suv_max), _number(row.suv_peak), _number(row.suv_mean), _number(row.suv_sd),
            f"{row.mtv_ml:.1f}", f"{row.tlg:.1f}", _number(row.longest_mm, 0) if row.label else "",
        ]  # fmt: skip
        if ratio:
            assert liver is not None
            values.append(_number(None if row.suv_max is None else row.suv_max / liver.mean, 1))
        return tuple(values)

    rows = tuple(
        Row(cells(f"Lesion {m.number}" if anonymise else _name(row), row), m.number, m.colour)
        for m, row in zip(marked, table.rows, strict=True)
    )
    spread = table.spread
    notes = [
        f"All values in {table.suv}. SUVpeak: highest mean of a 1 mL sphere with its centre in the lesion. "
        "Volume: metabolic tumour volume inside the outlines; TLG: SUVmean x volume; longest: largest "
        "diameter in 3D.",
        ("The connected components of the mask are the lesions. " if split else "")
        + f"{len(table.rows)} outlined; connected components ({spread.connectivity}-connected): "
        f"{spread.lesions}.",
    ]
    if liver is not None:
        notes.append(f"Liver: {liver.rule}; mean {liver.mean:.2f}, SD {liver.sd:.2f} {liver.unit}.")
    total = Row(cells("All", table.total)) if table.rows else None
    return Table(tuple(columns), rows, total, tuple(notes))


def _name(row: Measures) -> str:
    """The object's name; of a label map without names, that it is a lesion."""
    return f"Lesion {row.label}" if row.name == f"label {row.label}" else row.name


def _organ_table(pet: Volume, organs: Objects, suv: str, patient: Patient, anonymise: bool) -> Table:
    found = measure(pet, organs, suv=suv, patient=patient)
    columns = (("Organ", ""), ("SUVmean", ""), ("SD", ""), ("SUVmax", ""), ("Volume", "mL"))
    rows = tuple(
        Row((
            row.name if not anonymise or is_anatomy(row.name) else f"Organ {row.label}",
            _number(row.suv_mean), _number(row.suv_sd), _number(row.suv_max), f"{row.mtv_ml:.0f}",
        ))
        for row in found.rows
    )  # fmt: skip
    return Table(columns, rows, None, (f"All values in {found.suv}.",))


def is_anatomy(name: str) -> bool:
    """Whether every word of a name is one of an organ or a side, so that it cannot be a person's."""
    words = name.lower().replace("_", " ").replace(",", " ").split()
    return bool(words) and all(w in _ANATOMY or w.removesuffix("s") in _ANATOMY for w in words)


def _slices(
    pet: Volume, ct: Volume | None, table: MeasureTable, marked: Sequence[Marked], most: int
) -> tuple[tuple[Picture, ...], str]:
    """The slices of the lesions of the highest TLG, in the order of their numbers, and what they show."""
    vmax = grey_limit(Upright(pet).array.max(axis=CORONAL.along))
    how = "PET over CT, colours" if ct is not None else "PET, greys"
    note = f"Axial and coronal through the hottest voxel; {how} from 0 to {vmax:.3g} {pet.unit}."
    if len(marked) > most:
        note += f" The {most} lesions of the highest TLG of {len(marked)}."
    largest = sorted(zip(marked, table.rows, strict=True), key=lambda pair: -pair[1].tlg)[:most]
    pictures = []
    for each, row in sorted(largest, key=lambda pair: pair[0].number):
        place = ", ".join(
            f"{sides[at < 0]} {abs(at):.0f}"
            for sides, at in zip(("RL", "AP", "SI"), each.hottest_mm, strict=True)
        )
        text = f"SUVmax {_number(row.suv_max)} at {place} mm; {row.mtv_ml:.1f} mL"
        picture = slices(pet, ct, each, marked, vmax, CARD_MM)
        pictures.append(Picture(picture, text, each.number, each.colour))
    return tuple(pictures), note


def _made_by(source: Source, table: MeasureTable, anonymise: bool) -> tuple[Field, ...]:
    fields = [*source.made_by]
    if not anonymise:
        fields += [*source.names, Field("Report written", f"{date.today():%d %B %Y}".lstrip("0"))]
    fields += [
        Field("Program", f"AnyPET {__version__}, Python {platform.python_version()}, NumPy {np.__version__}"),
        Field("SUV", str(table.suv)),
        Field("Orientation", "radiological: the patient's right is on the left of the page"),
    ]
    return tuple(fields)


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
