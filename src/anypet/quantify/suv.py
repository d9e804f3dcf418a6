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
        """The patient of a scan's header; a height or sex given here goes before what the header says.

        As in reading, a weight above 1000 in the header is taken as grams, a height above 3 as centimetres.

        Raises:
            SUVError: another weight is given than the one that the scan's SUV was made with.
        """
        known = dict(volume.meta.get("patient") or {})
        weight, height = known.get("weight_kg") or None, known.get("height_m") or None
        weight = weight / 1000 if weight and weight > 1000 else weight
        height = height / 100 if height and height > 3 else height
        if weight and weight_kg is not None and abs(weight - weight_kg) > 0.005 * weight:
            raise SUVError(
                f"a weight of {weight_kg:g} kg is given, but the scan's SUV was made with the header's "
                f"{weight:g} kg (PatientWeight): correct the header"
            )
        return cls(
            weight if weight_kg is None else weight_kg,
            height if height_m is None else height_m,
            known.get("sex") if sex is None else sex,
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
