"""Which SUV a table is in: by body weight, lean body mass, ideal weight or body surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anypet.dicom import body
from anypet.errors import SUVError
from anypet.volume import Volume


@dataclass(frozen=True)
class Patient:
    """What the other SUVs and SDmax need to know of the patient; None where it is not known.

    Args:
        weight_kg: body weight.
        height_m: height in metres.
        sex: "M", "F" or "O"; "O" takes the mean of both formulas.
    """

    weight_kg: float | None = None
    height_m: float | None = None
    sex: str | None = None

    @classmethod
    def of(
        cls,
        volume: Volume,
        weight_kg: float | None = None,
        height_m: float | None = None,
        sex: str | None = None,
    ) -> Patient:
        """The patient of a scan's header; what is given here goes before what the header says."""
        known = dict(volume.meta.get("patient") or {})
        return cls(
            weight_kg if weight_kg is not None else known.get("weight_kg"),
            height_m if height_m is not None else known.get("height_m"),
            sex if sex is not None else known.get("sex"),
        )

    def body_surface_m2(self) -> float | None:
        """Body surface after Du Bois; None without weight and height."""
        if not self.weight_kg or not self.height_m:
            return None
        return body.body_surface_area(self.weight_kg, self.height_m)


Factor = Callable[[float, float, str], float]


@dataclass(frozen=True)
class SUVKind:
    """A way to normalise uptake.

    Args:
        name: as on the command line.
        unit: as in `Volume.unit`.
        long_name: what it divides by, and by which formula.
        measure: the unit of its values.
        factor: weight in kg, height in m and sex -> what SUVbw is multiplied by.
    """

    name: str
    unit: str
    long_name: str
    measure: str
    factor: Factor

    def __str__(self) -> str:
        return f"{self.unit} ({self.long_name}), {self.measure}"


KINDS: dict[str, SUVKind] = {
    kind.name: kind
    for kind in (
        SUVKind("bw", "SUVbw", "body weight", "g/mL", lambda w, h, s: 1.0),
        SUVKind("lbm", "SUVlbm", "lean body mass, Janmahasatian 2005", "g/mL", body.suvlbm_factor),
        SUVKind(
            "lbm-james",
            "SUVlbm-james",
            "lean body mass, James 1976",
            "g/mL",
            lambda w, h, s: body.suvlbm_factor(w, h, s, "james"),
        ),
        SUVKind("ibw", "SUVibw", "ideal body weight, Sugawara 1999", "g/mL", body.suvibw_factor),
        SUVKind("bsa", "SUVbsa", "body surface, Du Bois 1916", "cm2/mL", body.suvbsa_factor),
    )
}


def suv_kind(name: str) -> SUVKind:
    """The SUV of a name ("lbm") or of a unit ("SUVlbm").

    Raises:
        SUVError: there is none of that name.
    """
    for kind in KINDS.values():
        if name.strip().lower() in (kind.name, kind.unit.lower()):
            return kind
    raise SUVError(f"unknown SUV {name!r}: give one of {', '.join(KINDS)}")


def as_suv(pet: Volume, name: str, patient: Patient | None = None) -> Volume:
    """The scan in another SUV.

    Args:
        pet: (i, j, k) in any SUV.
        name: "bw", "lbm", "lbm-james", "ibw" or "bsa".
        patient: weight, height and sex; by default what the header said.

    Raises:
        SUVError: the scan is not in SUV, or what the conversion needs to know of the patient is missing.
    """
    wanted = suv_kind(name)
    if pet.unit == wanted.unit:
        return pet
    if pet.unit not in {kind.unit for kind in KINDS.values()}:
        raise SUVError(
            f"the scan is in {pet.unit or 'no known unit'}, not in SUV: read it from DICOM, or say its unit"
        )
    factor = _from_bw(wanted, patient or Patient.of(pet)) / _from_bw(
        suv_kind(pet.unit), patient or Patient.of(pet)
    )
    return pet.with_array(pet.array * pet.array.dtype.type(factor), wanted.unit)


def _from_bw(kind: SUVKind, patient: Patient) -> float:
    if kind.name == "bw":
        return 1.0
    missing = [
        f"{what} ({tag})"
        for what, tag, value in (
            ("weight", "PatientWeight", patient.weight_kg),
            ("height", "PatientSize", patient.height_m),
        )
        if not value
    ]
    if kind.name != "bsa" and not patient.sex:
        missing.append("sex (PatientSex)")
    if missing:
        raise SUVError(f"{kind.unit} needs the patient's {', '.join(missing)}: give what the header lacks")
    assert patient.weight_kg is not None
    assert patient.height_m is not None
    return kind.factor(patient.weight_kg, patient.height_m, patient.sex or "O")
