"""Multi-frame (enhanced, legacy converted) objects as one classic header a frame: one code reads both."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from anypet.dicom.header import number
from anypet.errors import ReadError

# measurement units (UCUM) of Real World Value Mapping -> Units (0054,1001) and SUV Type (0054,1006)
_UCUM_UNITS = {
    "bq/ml": ("BQML", ""),
    "{suvbw}g/ml": ("GML", "BW"),
    "g/ml{suvbw}": ("GML", "BW"),
    "{suvlbm}g/ml": ("GML", "LBM"),
    "g/ml{suvlbm}": ("GML", "LBM"),
    "{suvibw}g/ml": ("GML", "IBW"),
    "g/ml{suvibw}": ("GML", "IBW"),
    "{suvbsa}cm2/ml": ("CM2ML", ""),
    "cm2/ml{suvbsa}": ("CM2ML", ""),
    "{counts}": ("CNTS", ""),
    "{counts}/s": ("CPS", ""),
}

# Enhanced PET says YES or NO in an attribute of its own where classic PET lists a word in Corrected Image.
_CORRECTIONS = {
    "AttenuationCorrected": "ATTN",
    "DecayCorrected": "DECY",
    "ScatterCorrected": "SCAT",
    "DeadTimeCorrected": "DTIM",
    "RandomsCorrected": "RAN",
    "SensitivityCalibrated": "NORM",
}


def is_multiframe(header: Dataset) -> bool:
    """Whether the frames are described by functional groups."""
    return "PerFrameFunctionalGroupsSequence" in header


def frame_headers(header: Dataset) -> list[Dataset]:
    """One classic-looking header a frame, in the order of the pixel data.

    The attributes of the shared and then of the frame's own functional groups are laid over those of the
    object; what enhanced PET names differently (units, corrections, times) is given its classic name too.

    Raises:
        ReadError: the number of functional groups and of frames differ.

    Source: DICOM PS3.3 C.7.6.16 (functional groups), A.56 (enhanced PET), A.71 (legacy converted).
    """
    groups = header.PerFrameFunctionalGroupsSequence
    expected = number(header, "NumberOfFrames")
    if expected is not None and int(expected) != len(groups):
        raise ReadError(
            f"Number of Frames (0028,0008) is {int(expected)}, but Per-Frame Functional Groups (5200,9230) "
            f"has {len(groups)} items: the file is damaged"
        )
    base = Dataset()
    base.update({e.tag: e for e in header if e.keyword not in _GROUPS})
    _lay_over(base, header.get("SharedFunctionalGroupsSequence") or ())
    frames = []
    for group in groups:
        frame = Dataset()
        frame.update({element.tag: element for element in base})
        _lay_over(frame, [group])
        _name_classically(frame)
        frames.append(frame)
    return frames


_GROUPS = {"SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelData"}


def _lay_over(target: Dataset, groups: Iterable[Dataset]) -> None:
    for group in groups:
        for macro in group:
            if macro.VR != "SQ" or not macro.value:
                continue
            if macro.keyword == "RealWorldValueMappingSequence":
                _real_world(target, macro.value)
                continue
            elements: dict[BaseTag, object] = {element.tag: element for element in macro.value[0]}
            target.update(elements)  # type: ignore[arg-type]


def _real_world(target: Dataset, items: Iterable[Dataset]) -> None:
    """Takes slope, intercept and units from the best mapping: Bq/mL before the SUVs, these before counts."""
    known = []
    for item in items:
        codes = item.get("MeasurementUnitsCodeSequence") or ()
        code = str(codes[0].get("CodeValue", "")).strip().lower() if codes else ""
        if code in _UCUM_UNITS and "RealWorldValueSlope" in item:
            known.append((list(_UCUM_UNITS).index(code), item))
    if not known:
        return
    rank, item = min(known, key=lambda pair: pair[0])
    units, suv_type = list(_UCUM_UNITS.values())[rank]
    _put(target, "Units", units)
    _put(target, "SUVType", suv_type)
    _put(target, "RescaleSlope", f"{float(item.RealWorldValueSlope):.10g}")
    _put(target, "RescaleIntercept", f"{float(item.get('RealWorldValueIntercept', 0.0)):.10g}")


def _put(target: Dataset, keyword: str, value: object) -> None:
    """Gives an attribute a value; assigning it would change the element that all frames share."""
    if keyword in target:
        del target[keyword]
    setattr(target, keyword, value)


def _name_classically(frame: Dataset) -> None:
    if frame.get("FrameAcquisitionDateTime"):
        _put(frame, "AcquisitionDateTime", frame.FrameAcquisitionDateTime)
    if frame.get("FrameAcquisitionDuration") is not None and "ActualFrameDuration" not in frame:
        _put(frame, "ActualFrameDuration", round(float(frame.FrameAcquisitionDuration)))
    if not frame.get("CorrectedImage"):
        done = [word for name, word in _CORRECTIONS.items() if str(frame.get(name) or "").upper() == "YES"]
        if done:
            _put(frame, "CorrectedImage", done)
    if not frame.get("DecayCorrection") and frame.get("DecayCorrected"):
        corrected = str(frame.DecayCorrected).upper() == "YES"
        _put(frame, "DecayCorrection", "START" if corrected else "NONE")
