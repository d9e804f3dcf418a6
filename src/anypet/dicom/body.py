"""Body measures by which a SUV can be normalised, and the way from one SUV to another."""

from __future__ import annotations

from collections.abc import Callable

from anypet.errors import SUVError

Measure = Callable[[float, float, str], float]


def lbm_james(weight_kg: float, height_m: float, sex: str, *, male_factor: float = 120.0) -> float:
    """Lean body mass in kg after James (1976): M 1.10 W - 120 (W/H)^2, F 1.07 W - 148 (W/H)^2, H in cm.

    Args:
        weight_kg: body weight.
        height_m: height in metres.
        sex: "M", "F" or "O"; "O" gives the mean of both.
        male_factor: 120 is James's; 128 is the misprint that many scanners use (DICOM LBMJAMES128).

    Raises:
        SUVError: weight or height is not positive, the sex is unknown, or the formula turns negative, which
            it does for very heavy bodies: use Janmahasatian's.

    Source: James WPT, Research on obesity, HMSO 1976; DICOM PS3.3 C.8.9.1.1.3 for the two variants.
    """
    w, h = _checked(weight_kg, height_m)
    ratio = w / (100.0 * h)
    lbm = _by_sex(sex, 1.10 * w - male_factor * ratio**2, 1.07 * w - 148.0 * ratio**2)
    if lbm <= 0:
        raise SUVError(f"James's lean body mass is {lbm:.1f} kg at {w:g} kg and {h:g} m: use Janmahasatian's")
    return lbm


def lbm_james128(weight_kg: float, height_m: float, sex: str) -> float:
    """`lbm_james` with 128 for men: DICOM SUV Type LBMJAMES128."""
    return lbm_james(weight_kg, height_m, sex, male_factor=128.0)


def lbm_janmahasatian(weight_kg: float, height_m: float, sex: str) -> float:
    """Lean body mass in kg: M 9270 W / (6680 + 216 BMI), F 9270 W / (8780 + 244 BMI); "O" the mean.

    Source: Janmahasatian S et al., Clin Pharmacokinet 2005;44:1051; DICOM SUV Type LBMJANMA.
    """
    w, h = _checked(weight_kg, height_m)
    bmi = w / h**2
    return _by_sex(sex, 9270.0 * w / (6680.0 + 216.0 * bmi), 9270.0 * w / (8780.0 + 244.0 * bmi))


def ideal_body_weight(weight_kg: float, height_m: float, sex: str) -> float:
    """Ideal body weight in kg: M 48.0 + 1.06 (H - 152), F 45.5 + 0.91 (H - 152), H in cm; "O" the mean.

    Source: Sugawara Y et al., Radiology 1999;213:521; DICOM SUV Type IBW.
    """
    _, h = _checked(weight_kg, height_m)
    over = 100.0 * h - 152.0
    return _by_sex(sex, 48.0 + 1.06 * over, 45.5 + 0.91 * over)


def body_surface_area(weight_kg: float, height_m: float, sex: str = "O") -> float:
    """Body surface in m2: 0.007184 H^0.725 W^0.425, H in cm (the sex plays no part).

    Source: Du Bois D, Du Bois EF, Arch Intern Med 1916;17:863; DICOM Units CM2ML.
    """
    w, h = _checked(weight_kg, height_m)
    return 0.007184 * (100.0 * h) ** 0.725 * w**0.425


def suvlbm_factor(weight_kg: float, height_m: float, sex: str, formula: str = "janmahasatian") -> float:
    """What SUVbw is multiplied by to give SUVlbm (SUL): LBM / W.

    Args:
        formula: "janmahasatian" (the EANM's choice), "james" or "james128".
    """
    formulas: dict[str, Measure] = {
        "janmahasatian": lbm_janmahasatian,
        "james": lbm_james,
        "james128": lbm_james128,
    }
    if formula not in formulas:
        raise SUVError(f"unknown lean body mass formula {formula!r}: give one of {', '.join(formulas)}")
    return formulas[formula](weight_kg, height_m, sex) / weight_kg


def suvibw_factor(weight_kg: float, height_m: float, sex: str) -> float:
    """What SUVbw is multiplied by to give SUVibw: IBW / W."""
    return ideal_body_weight(weight_kg, height_m, sex) / weight_kg


def suvbsa_factor(weight_kg: float, height_m: float, sex: str = "O") -> float:
    """What SUVbw (g/mL) is multiplied by to give SUVbsa (cm2/mL): BSA in cm2 / W in g."""
    return body_surface_area(weight_kg, height_m, sex) * 1e4 / (weight_kg * 1e3)


def _checked(weight_kg: float, height_m: float) -> tuple[float, float]:
    if not weight_kg > 0:
        raise SUVError(f"a weight of {weight_kg:g} kg: expected a positive number of kilograms")
    if not 0.2 < height_m < 3.0:
        raise SUVError(f"a height of {height_m:g} m: expected metres, between 0.2 and 3")
    return weight_kg, height_m


def _by_sex(sex: str, male: float, female: float) -> float:
    sex = sex.strip().upper()[:1]
    if sex == "M":
        return male
    if sex == "F":
        return female
    if sex == "O":
        return (male + female) / 2
    raise SUVError("Patient's Sex (0010,0040) is empty or unknown: this measure needs M, F or O")
