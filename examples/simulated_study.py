"""A simulated patient as a DICOM study: PET and CT series to try everything on, no data needed.

    python examples/simulated_study.py study
    python examples/simulated_study.py after --seed 8    # the same patient, another scan

Writes the folder with one file a slice, and beside it the truth: `study_lesions.nii.gz`, and
`study_organs.nii.gz` with the organs' names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

import anypet
from anypet import Volume
from anypet.simulate import analytic_anatomy, simulate

WEIGHT_KG, DOSE_BQ, HALF_LIFE_S, UPTAKE_S = 70.0, 350e6, 6586.2, 3600
# SUV = activity concentration / (injected activity, decayed until the scan, per gram of the patient)
BQ_PER_ML_OF_SUV_1 = DOSE_BQ * 2 ** (-UPTAKE_S / HALF_LIFE_S) / (WEIGHT_KG * 1000)


def main(folder: Path, seed: int = 7, tracer: str = "FDG") -> None:
    """Simulates one patient; `seed` changes tracer uptake, noise and lesions."""
    study = simulate(analytic_anatomy(7), seed, tracer, most_lesions=6)
    folder.mkdir(parents=True, exist_ok=True)
    patient = Dataset()
    patient.PatientName, patient.PatientID = "Simulated^Patient", "SIM-7"
    patient.PatientBirthDate = "19600101"
    patient.PatientSex, patient.PatientWeight, patient.PatientSize = "M", WEIGHT_KG, 1.75
    patient.StudyInstanceUID, patient.FrameOfReferenceUID = generate_uid(), generate_uid()
    patient.StudyDate = patient.SeriesDate = patient.AcquisitionDate = "20260105"
    patient.StudyTime = patient.SeriesTime = patient.AcquisitionTime = "110000"
    patient.StudyDescription, patient.StudyID = "PET/CT simulated", "1"
    patient.AccessionNumber = patient.ReferringPhysicianName = patient.PositionReferenceIndicator = ""
    activity = study.pet.with_array(study.pet.array * BQ_PER_ML_OF_SUV_1, unit="Bq/mL")
    write_series(folder, activity, patient, "PT", 1)
    write_series(folder, study.ct, patient, "CT", 2)

    organs = np.zeros(study.pet.shape, dtype=np.uint8)
    for number, mask in enumerate(study.organs.values(), start=1):
        organs[mask] = number
    lesions = np.zeros(study.pet.shape, dtype=np.uint8)
    for mask in study.lesions:
        lesions[mask] = 1
    names = dict(enumerate(study.organs, start=1))
    truth = {"organs": (organs, names), "lesions": (lesions, {1: "lesion"})}
    for what, (labels, meaning) in truth.items():
        volume = Volume(labels, study.truth_affine, "label", {"names": meaning})
        anypet.write(volume, folder.parent / f"{folder.name}_{what}.nii.gz")
    print(f"{folder}: {study.tracer}, {len(study.lesions)} lesions, organs: {', '.join(study.organs)}")


def write_series(folder: Path, scan: Volume, patient: Dataset, modality: str, number: int) -> None:
    """One file a slice along k; the scan's i, j, k become columns, rows and slices."""
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine  # the affine leads to RAS, DICOM speaks LPS
    spacing = scan.spacing
    uid = generate_uid()
    slope = float(np.abs(scan.array).max()) / 32000 if modality == "PT" else 1.0
    stored = np.rint(scan.array / slope).astype("<i2")
    for k in range(scan.shape[2]):
        ds = new_slice(patient, modality, uid, number, k)
        ds.ImageOrientationPatient = [*(to_lps[:3, 0] / spacing[0]), *(to_lps[:3, 1] / spacing[1])]
        ds.ImagePositionPatient = list((to_lps @ [0, 0, k, 1])[:3])
        ds.PixelSpacing, ds.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.10g}", 0
        ds.Columns, ds.Rows = scan.shape[:2]
        ds.PixelData = np.ascontiguousarray(stored[:, :, k].T).tobytes()
        ds.save_as(folder / f"{modality}_{k:03d}.dcm", enforce_file_format=True)


def new_slice(patient: Dataset, modality: str, series: str, number: int, k: int) -> FileDataset:
    """A slice with all but its place and pixels."""
    meta = FileMetaDataset()
    pet = modality == "PT"
    meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage if pet else CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.update(patient)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.Manufacturer = modality, "Simulated"
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = series, number, k + 1
    ds.SeriesDescription, ds.ImageType = f"{modality} simulated", ["ORIGINAL", "PRIMARY"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    if pet:
        ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["NORM", "ATTN", "SCAT", "DECY"]
        nuclide, drug = Dataset(), Dataset()
        nuclide.CodeValue, nuclide.CodingSchemeDesignator = "C-111A1", "SRT"
        nuclide.CodeMeaning = "^18^Fluorine"
        drug.RadiopharmaceuticalStartTime, drug.RadionuclideTotalDose = "100000", DOSE_BQ
        drug.RadionuclideHalfLife, drug.RadionuclideCodeSequence = HALF_LIFE_S, Sequence([nuclide])
        drug.Radiopharmaceutical = "Fluorodeoxyglucose"
        ds.RadiopharmaceuticalInformationSequence = Sequence([drug])
    return ds


if __name__ == "__main__":
    words = argparse.ArgumentParser(description="Write a simulated patient as a DICOM study.")
    words.add_argument("folder", type=Path)
    words.add_argument("--seed", type=int, default=7)
    words.add_argument("--tracer", default="FDG")
    given = words.parse_args()
    main(given.folder, given.seed, given.tracer)
