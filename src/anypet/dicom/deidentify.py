"""A header without the patient's identity, for derived objects that leave the house.

This is a minimum, not a confidentiality profile of DICOM PS3.15. Kept are sex, weight and height, on which
SUV depends; the dates, on which follow-up depends; and the UIDs, without which an object refers to nothing.
Whoever holds the original scan can therefore find it again. Everything else about patient, study and staff is
gone. Names of regions are written as they are.
"""

from __future__ import annotations

import hashlib

from pydicom.dataset import Dataset

_KEPT = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Modality",
    "SeriesNumber",
    "StudyDate",
    "StudyTime",
    "Manufacturer",
    "ManufacturerModelName",
    "PatientSex",
    "PatientSize",
    "PatientWeight",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ImageOrientationPatient",
    "ImagePositionPatient",
)
_EMPTIED = ("PatientBirthDate", "StudyID", "AccessionNumber", "ReferringPhysicianName")


def deidentified(header: Dataset) -> Dataset:
    """A new header with geometry, UIDs, dates and body measures of the old one, and a made-up patient.

    The patient's ID becomes "ANON-" and ten digits of a hash of the Study Instance UID: the same for all
    objects made from one study, and telling no more than that UID, which is kept.
    """
    bare = Dataset()
    for keyword in _KEPT:
        if keyword in header:
            bare.add(header[keyword])
    digest = hashlib.sha256(str(header.StudyInstanceUID).encode()).hexdigest()
    bare.PatientID = f"ANON-{digest[:10].upper()}"
    bare.PatientName = f"Anonymous^{digest[:10].upper()}"
    for keyword in _EMPTIED:
        setattr(bare, keyword, "")
    bare.PatientIdentityRemoved = "YES"
    bare.DeidentificationMethod = "patient replaced; dates, UIDs, sex, size and weight kept"
    return bare
