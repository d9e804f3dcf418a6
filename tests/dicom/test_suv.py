"""Each rule of the SUV conversion on its own."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from anypet.dicom import body
from anypet.dicom.suv import suv_factor
from anypet.errors import SUVError
from dicom_factory import DOSE, FACTOR, HALF_LIFE, WEIGHT, add_pet, drugging, setting


def pet(**attributes: Any) -> Dataset:
    ds = Dataset()
    ds.Modality, ds.PatientSex = "PT", "F"
    add_pet(ds)
    setting(**attributes)(ds, 0)
    return ds


def with_drug(ds: Dataset, **attributes: Any) -> Dataset:
    drugging(**attributes)(ds, 0)
    return ds


def test_start_uses_series_time() -> None:
    conversion = suv_factor(pet())
    assert conversion.factor == pytest.approx(FACTOR, rel=1e-12)
    assert conversion.constant
    assert "series date-time" in conversion.time_rule
    assert conversion.uptake_minutes == pytest.approx(60)
    assert conversion.warnings == ()
    assert json.loads(json.dumps(conversion.as_dict()))["factor"] == conversion.factor


def test_admin_needs_no_decay() -> None:
    conversion = suv_factor(with_drug(pet(DecayCorrection="ADMIN"), RadionuclideHalfLife=None))
    assert conversion.factor == pytest.approx(WEIGHT * 1000 / DOSE)


def test_none_corrects_each_slice() -> None:
    lam = math.log(2) / HALF_LIFE
    slices = [
        pet(DecayCorrection="NONE", CorrectedImage=["ATTN"], AcquisitionTime=t, ActualFrameDuration=300_000)
        for t in ("110000", "111000")
    ]
    conversion = suv_factor(slices)
    within = lam * 300 / (1 - math.exp(-lam * 300))
    expected = [WEIGHT * 1000 / DOSE * within * math.exp(lam * s) for s in (3600, 4200)]
    np.testing.assert_allclose(conversion.factors, expected, rtol=1e-12)
    assert not conversion.constant
    assert isinstance(conversion.as_dict()["factor"], list)


def private(ds: Dataset, group: int, creator: str, offset: int, vr: str, value: Any) -> Dataset:
    ds.private_block(group, creator, create=True).add_new(offset, vr, value)
    return ds


def test_ge_scan_time_goes_first() -> None:
    ds = private(
        pet(AcquisitionTime="113000", SeriesTime="120000"),
        0x0009,
        "GEMS_PETD_01",
        0x0D,
        "DT",
        "20240305110000.00",
    )
    conversion = suv_factor(ds)
    assert conversion.factor == pytest.approx(FACTOR)
    assert "(0009,100D)" in conversion.time_rule


def test_private_tags_survive_anonymisation() -> None:
    """No creator and VR UN: found by place, bytes decoded."""
    ds = pet(SeriesTime="120000", AcquisitionTime="113000")
    ds.add_new(0x0009100D, "UN", b"20240305110000.00 \0")
    assert suv_factor(ds).factor == pytest.approx(FACTOR)
    counts = pet(Units="CNTS")
    counts.add_new(0x70531000, "UN", b"0.0005 ")
    assert suv_factor(counts).factor == pytest.approx(0.0005)


def test_private_tags_in_another_block_or_of_another_creator() -> None:
    ds = pet(Units="CNTS")
    ds.add_new(0x70530011, "LO", "Philips PET Private Group")
    ds.add_new(0x70531100, "DS", "0.0007")
    assert suv_factor(ds).factor == pytest.approx(0.0007)
    foreign = pet(Units="CNTS")
    foreign.add_new(0x70530010, "LO", "SOMEBODY ELSE")
    foreign.add_new(0x70531000, "DS", "0.0007")
    with pytest.raises(SUVError, match="7053,1000"):
        suv_factor(foreign)


def test_ge_time_of_another_day_is_not_used() -> None:
    ds = private(pet(), 0x0009, "GEMS_PETD_01", 0x0D, "DT", "20190101110000")
    conversion = suv_factor(ds)
    assert conversion.factor == pytest.approx(FACTOR)
    assert any("more than a day" in w for w in conversion.warnings)


def test_siemens_time_where_the_series_is_late() -> None:
    ds = private(
        pet(SeriesTime="150000", AcquisitionTime="110000"),
        0x0071,
        "SIEMENS MED PT",
        0x22,
        "DT",
        "20240305105900",
    )
    assert "(0071,1022)" in suv_factor(ds).time_rule
    late = private(pet(SeriesTime="150000"), 0x0071, "SIEMENS MED PT", 0x22, "DT", "20240305150000")
    assert "earliest acquisition" in suv_factor(late).time_rule


def test_late_series_is_computed_back() -> None:
    """Bed two starts 10 min after bed one; both refer to the start of bed one."""
    beds = [
        pet(SeriesTime="150000", AcquisitionTime=t, ActualFrameDuration=300_000, FrameReferenceTime=f * 1000)
        for t, f in (("110000", 149.2), ("111000", 749.2))
    ]
    conversion = suv_factor(beds)
    assert "computed back" in conversion.time_rule
    assert conversion.factor == pytest.approx(FACTOR, rel=1e-4)


def test_late_series_without_frame_times_takes_the_earliest_acquisition() -> None:
    beds = [pet(SeriesTime="150000", AcquisitionTime=t) for t in ("111000", "110000", "112000")]
    assert suv_factor(beds).factor == pytest.approx(FACTOR)


def test_frame_times_that_contradict_each_other_are_not_used() -> None:
    """Some scanners stamp every slice with the same acquisition time and run on in Frame Reference Time."""
    beds = [
        pet(SeriesTime="150000", ActualFrameDuration=300_000, FrameReferenceTime=f * 1000)
        for f in (149.2, 749.2)
    ]
    conversion = suv_factor(beds)
    assert "earliest acquisition" in conversion.time_rule
    assert any("10.0 min apart" in w for w in conversion.warnings)


def test_each_bed_with_its_own_reference() -> None:
    """Acquisitions differ and Frame Reference Time is half a frame: each bed refers to its own start."""
    beds = [
        pet(SeriesTime="150000", AcquisitionTime=t, ActualFrameDuration=300_000, FrameReferenceTime=149_211.0)
        for t in ("110000", "112000")
    ]
    conversion = suv_factor(beds)
    np.testing.assert_allclose(conversion.factors, [FACTOR, FACTOR * 2 ** (1200 / HALF_LIFE)], rtol=1e-4)
    assert any("20.0 min apart" in w for w in conversion.warnings)


def test_disagreeing_reference_times_are_warned_of() -> None:
    ds = pet(ActualFrameDuration=300_000, FrameReferenceTime=1_500_000.0)
    assert any("differ by 22.5 min" in w for w in suv_factor(ds).warnings)


@pytest.mark.parametrize(
    ("series", "acquired", "injected"),
    [("003000", "003000", "233000"), ("001500", "001500", "231500")],
)
def test_midnight(series: str, acquired: str, injected: str) -> None:
    ds = with_drug(pet(SeriesTime=series, AcquisitionTime=acquired), RadiopharmaceuticalStartTime=injected)
    assert suv_factor(ds).factor == pytest.approx(FACTOR)


def test_date_time_goes_before_time() -> None:
    ds = with_drug(
        pet(), RadiopharmaceuticalStartDateTime="20240305100000.000000", RadiopharmaceuticalStartTime="080000"
    )
    assert suv_factor(ds).factor == pytest.approx(FACTOR)
    alone = with_drug(
        pet(), RadiopharmaceuticalStartDateTime="20240305100000", RadiopharmaceuticalStartTime=None
    )
    assert suv_factor(alone).factor == pytest.approx(FACTOR)
    empty = with_drug(pet(), RadiopharmaceuticalStartDateTime="")
    assert suv_factor(empty).factor == pytest.approx(FACTOR)


def test_time_zones() -> None:
    ds = with_drug(
        pet(TimezoneOffsetFromUTC="+0100"), RadiopharmaceuticalStartDateTime="20240305090000.00+0000"
    )
    assert suv_factor(ds).factor == pytest.approx(FACTOR)
    local = with_drug(pet(), RadiopharmaceuticalStartDateTime="20240305100000.00+0100")
    assert suv_factor(local).factor == pytest.approx(FACTOR)


def test_date_left_behind_by_deidentification() -> None:
    ds = with_drug(pet(), RadiopharmaceuticalStartDateTime="20160717100000")
    conversion = suv_factor(ds)
    assert conversion.factor == pytest.approx(FACTOR)
    assert any("does not fit the scan" in w for w in conversion.warnings)


def test_ge_injection_time_is_the_last_resort() -> None:
    ds = with_drug(pet(), RadiopharmaceuticalStartTime=None)
    private(ds, 0x0009, "GEMS_PETD_01", 0x3B, "DT", "20240305100000.00")
    conversion = suv_factor(ds)
    assert conversion.factor == pytest.approx(FACTOR)
    assert any("009,103B" in tag for tag in conversion.tags)


def test_acquisition_date_time_alone() -> None:
    ds = pet(
        AcquisitionDate=None, AcquisitionTime=None, SeriesTime="120000", AcquisitionDateTime="20240305110000"
    )
    assert suv_factor(ds).factor == pytest.approx(FACTOR)


def test_dose_in_megabecquerel_and_weight_in_grams() -> None:
    conversion = suv_factor(with_drug(pet(PatientWeight=70_000), RadionuclideTotalDose=370.0))
    assert conversion.factor == pytest.approx(FACTOR)
    assert any("taken as MBq" in w for w in conversion.warnings)
    assert any("taken as grams" in w for w in conversion.warnings)


@pytest.mark.parametrize(
    ("code", "meaning", "half_life"),
    [
        ("C-111A1", "18F", 6586.2),
        ("77004003", "^18^Fluorine", 6586.2),
        ("35337001", "^68^Gallium", 4057.7),
        ("C-131A3", "", 4057.7),
        ("", "Ga-68", 4057.7),
        ("", "[89Zr]", 282276.0),
        ("C-127A2", "", 45721.0),
    ],
)
def test_missing_half_life_comes_from_the_nuclide(code: str, meaning: str, half_life: float) -> None:
    ds = with_drug(pet(), RadionuclideHalfLife=None)
    nuclide = ds.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence[0]
    nuclide.CodeValue, nuclide.CodeMeaning = code, meaning
    expected = WEIGHT * 1000 / (DOSE * 2 ** (-3600 / half_life))
    assert suv_factor(ds).factor == pytest.approx(expected)


def test_half_life_that_contradicts_the_nuclide() -> None:
    ds = with_drug(pet(), RadionuclideHalfLife=4057.7)
    assert any("F-18 has" in w for w in suv_factor(ds).warnings)


def test_unusual_uptake_is_warned_of() -> None:
    ds = with_drug(pet(), RadiopharmaceuticalStartTime="104500")
    assert any("15 min after the injection" in w for w in suv_factor(ds).warnings)
    assert any(
        "outside 45 to 120" in w
        for w in suv_factor(with_drug(pet(Units="GML"), RadiopharmaceuticalStartTime="080000")).warnings
    )


GML = [
    ("", "F", 1.0),
    ("BW", "F", 1.0),
    ("LBM", "M", 70 / (1.10 * 70 - 120 * (70 / 165) ** 2)),
    ("LBM", "F", 70 / (1.07 * 70 - 148 * (70 / 165) ** 2)),
    ("LBMJAMES128", "M", 70 / (1.10 * 70 - 128 * (70 / 165) ** 2)),
    ("LBMJANMA", "M", (6680 + 216 * 70 / 1.65**2) / 9270),
    ("LBMJANMA", "F", (8780 + 244 * 70 / 1.65**2) / 9270),
    ("IBW", "M", 70 / (48 + 1.06 * 13)),
    ("IBW", "F", 70 / (45.5 + 0.91 * 13)),
    ("IBW", "O", 70 / ((48 + 1.06 * 13 + 45.5 + 0.91 * 13) / 2)),
]


@pytest.mark.parametrize(("kind", "sex", "expected"), GML)
def test_gml_types(kind: str, sex: str, expected: float) -> None:
    assert suv_factor(pet(Units="GML", SUVType=kind, PatientSex=sex)).factor == pytest.approx(expected)


def test_cm2ml() -> None:
    surface = 0.007184 * 165**0.725 * 70**0.425
    assert suv_factor(pet(Units="CM2ML")).factor == pytest.approx(70_000 / (surface * 1e4))


def test_height_in_centimetres() -> None:
    conversion = suv_factor(pet(Units="CM2ML", PatientSize=165))
    assert conversion.factor == pytest.approx(suv_factor(pet(Units="CM2ML")).factor)
    assert any("centimetres" in w for w in conversion.warnings)


def test_philips_counts_to_activity() -> None:
    ds = private(pet(Units="CNTS"), 0x7053, "Philips PET Private Group", 0x09, "DS", "0.5")
    private(ds, 0x7053, "Philips PET Private Group", 0x00, "DS", "0")
    assert suv_factor(ds).factor == pytest.approx(0.5 * FACTOR)


def test_uncorrected_with_explicit_word() -> None:
    conversion = suv_factor(pet(CorrectedImage=["DECY", "NORM"]), allow_uncorrected=True)
    assert conversion.factor == pytest.approx(FACTOR)
    assert any("ATTN" in w for w in conversion.warnings)


# what is wrong, the header, and the tag and the reason that the message must name
REFUSED = {
    "not PET": (pet(Modality="NM"), r"Modality \(0008,0060\) is 'NM'"),
    "no attenuation correction": (
        pet(CorrectedImage=["DECY"]),
        r"CorrectedImage \(0028,0051\).*without ATTN",
    ),
    "no corrections listed": (pet(CorrectedImage=None), r"\(0028,0051\) is missing"),
    "no decay correction": (pet(CorrectedImage=["ATTN"]), r"without DECY.*\(0054,1102\) is START"),
    "decay correction missing": (pet(DecayCorrection=None), r"\(0054,1102\) is missing"),
    "decay correction unknown": (pet(DecayCorrection="SOMETIMES"), "SOMETIMES: expected START"),
    "no units": (pet(Units=None), r"Units \(0054,1001\) is missing"),
    "counts a second": (pet(Units="CPS"), "CPS: counts a second"),
    "relative counts": (pet(Units="PROPCNTS"), "PROPCNTS: it gives no SUV"),
    "relative rate": (pet(Units="PROPCPS"), "PROPCPS"),
    "attenuation map": (pet(Units="1CM"), "1CM"),
    "counts without factors": (pet(Units="CNTS"), r"\(7053,1000\).*missing or 0"),
    "unknown SUV type": (pet(Units="GML", SUVType="BSA"), r"SUVType \(0054,1006\) is BSA"),
    "no weight": (pet(PatientWeight=None), r"PatientWeight \(0010,1030\) is missing"),
    "empty weight": (pet(PatientWeight=""), r"\(0010,1030\) is empty"),
    "zero weight": (pet(PatientWeight=0), r"\(0010,1030\) is 0"),
    "no height": (pet(Units="CM2ML", PatientSize=None), r"PatientSize \(0010,1020\) is missing"),
    "no sex": (pet(Units="GML", SUVType="LBM", PatientSex=""), r"Sex \(0010,0040\)"),
    "no drug": (pet(RadiopharmaceuticalInformationSequence=None), r"\(0054,0016\) is missing"),
    "no dose": (with_drug(pet(), RadionuclideTotalDose=None), r"TotalDose \(0018,1074\) is missing"),
    "zero dose": (with_drug(pet(), RadionuclideTotalDose=0), r"\(0018,1074\) is 0"),
    "negative dose": (with_drug(pet(), RadionuclideTotalDose=-370e6), r"\(0018,1074\) is -370"),
    "no injection time": (with_drug(pet(), RadiopharmaceuticalStartTime=None), "no injection time"),
    "injection after the scan": (
        with_drug(pet(), RadiopharmaceuticalStartTime="120000"),
        "lies after the start",
    ),
    "injection date-time after the scan": (
        with_drug(pet(), RadiopharmaceuticalStartDateTime="20240305120000"),
        r"\(0018,1078\) 2024-03-05 12:00:00 lies after",
    ),
    "injection date and time do not fit": (
        with_drug(pet(), RadiopharmaceuticalStartDateTime="20160717130000"),
        "does not fit the start",
    ),
    "no half-life and no nuclide": (
        with_drug(pet(), RadionuclideHalfLife=None, RadionuclideCodeSequence=None),
        r"HalfLife \(0018,1075\) is missing",
    ),
    "no times at all": (pet(SeriesTime=None, AcquisitionTime=None), r"AcquisitionTime \(0008,0032\)"),
    "no acquisition time for NONE": (
        pet(DecayCorrection="NONE", AcquisitionTime=None, ActualFrameDuration=1000),
        "NONE needs it",
    ),
    "no duration for NONE": (pet(DecayCorrection="NONE"), r"ActualFrameDuration \(0018,1242\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_headers(case: str) -> None:
    dataset, pattern = REFUSED[case]
    with pytest.raises(SUVError, match=pattern):
        suv_factor(dataset)


def test_mixed_units_and_no_slices_are_refused() -> None:
    with pytest.raises(SUVError, match="differs within the series"):
        suv_factor([pet(), pet(Units="GML")])
    with pytest.raises(SUVError, match="no DICOM slice"):
        suv_factor([])


def test_body_measures() -> None:
    assert body.lbm_james(80, 1.8, "M") == pytest.approx(1.10 * 80 - 120 * (80 / 180) ** 2)
    assert body.suvlbm_factor(80, 1.8, "M") == pytest.approx(body.lbm_janmahasatian(80, 1.8, "M") / 80)
    assert body.suvlbm_factor(80, 1.8, "M", "james128") < body.suvlbm_factor(80, 1.8, "M", "james")
    assert body.suvibw_factor(70, 1.65, "F") == pytest.approx((45.5 + 0.91 * 13) / 70)
    assert body.body_surface_area(70, 1.75) == pytest.approx(1.85, abs=0.01)
    with pytest.raises(SUVError, match="Janmahasatian"):
        body.lbm_james(250, 1.5, "F")
    with pytest.raises(SUVError, match="unknown lean body mass"):
        body.suvlbm_factor(70, 1.7, "F", "guess")
    with pytest.raises(SUVError, match="a height of 17 m"):
        body.body_surface_area(70, 17)
    with pytest.raises(SUVError, match="a weight of 0 kg"):
        body.suvbsa_factor(0, 1.7)
