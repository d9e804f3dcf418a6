"""PSMA PET: the total tumour volume, and RECIP 1.0 between two scans."""

from __future__ import annotations

import numpy as np

from anypet.errors import AnyPETError
from anypet.quantify.parts import Connectivity, Objects, lesions_of, parts_of, union
from anypet.quantify.proposal import Proposal
from anypet.quantify.threshold import Threshold, fixed, resegment
from anypet.volume import Volume

SUV = 3.0
RULE = ("Volume of all tumour of SUVbw 3 or more. PSMA-TL: SUVmean times PSMA-TV.",)
SOURCE = "SUV 3: DEEP-PSMA challenge 2025; for bone also qPSMA, Gafita A et al., J Nucl Med 2019;60:1277"
DECREASE, INCREASE = 0.30, 0.20
RECIP_RULE = (
    "CR: no PSMA uptake at follow-up. PR: volume down by at least 30 %, no new lesion. PD: volume up by at "
    "least 20 % and a new lesion. SD: else.",
)
RECIP_SOURCE = "Gafita A et al., J Nucl Med 2022;63:1651"
MEANINGS = {
    "RECIP-CR": "complete response",
    "RECIP-PR": "partial response",
    "RECIP-SD": "stable disease",
    "RECIP-PD": "progressive disease",
}


def psma_volume(
    pet: Volume, objects: Objects, threshold: Threshold | None = None, connectivity: Connectivity = 26
) -> Proposal:
    """PSMA-TV: the volume of all tumour that reaches a threshold, and its uptake.

    Args:
        pet: (i, j, k) SUVbw.
        objects: the tumours, drawn with a margin; physiologic uptake is not in them.
        threshold: in each object; SUV 3 by default.
        connectivity: which voxels make one lesion.

    Raises:
        AnyPETError: the scan is not in SUVbw, or the grids differ.
    """
    if pet.unit != "SUVbw":
        raise AnyPETError(f"PSMA-TV is defined in SUVbw, the scan is in {pet.unit}: use as_suv(pet, 'bw')")
    rule = threshold or fixed(SUV)
    kept = union(parts_of(resegment(pet, objects, rule), pet), pet.shape)
    values = pet.array[kept].astype(np.float64)
    volume = len(values) * pet.voxel_volume_ml
    mean = float(values.mean()) if len(values) else None
    return Proposal(
        "PSMA-TV",
        f"{volume:.1f} mL",
        "PSMA-positive total tumour volume",
        {
            "PSMA-TV, mL": volume,
            "PSMA-TL, SUV x mL": 0.0 if mean is None else mean * volume,
            "SUVmean": mean,
            "SUVmax": float(values.max()) if len(values) else None,
            "lesions": len(lesions_of(kept, connectivity)),
            "connectivity": connectivity,
            "SUV": pet.unit,
        },
        (f"{rule.text}. PSMA-TL: SUVmean times PSMA-TV.",),
        SOURCE if rule.name == f"{SUV:g}" else rule.source,
    )


def recip(baseline_ml: float, followup_ml: float, new_lesions: int) -> Proposal:
    """RECIP 1.0: the response of metastatic prostate cancer, from tumour volume and new lesions.

    Args:
        baseline_ml, followup_ml: PSMA-positive total tumour volume, measured by one rule.
        new_lesions: how many the follow-up has that the baseline does not.

    Raises:
        AnyPETError: the baseline has no volume, or a number is negative.
    """
    if not baseline_ml > 0 or followup_ml < 0 or new_lesions < 0:
        raise AnyPETError(
            f"RECIP needs a baseline volume above 0 and no negative numbers, got {baseline_ml:g} mL, "
            f"{followup_ml:g} mL and {new_lesions} new lesions"
        )
    change = (followup_ml - baseline_ml) / baseline_ml
    if followup_ml == 0 and not new_lesions:
        result = "RECIP-CR"
    elif change <= -DECREASE and not new_lesions:
        result = "RECIP-PR"
    elif change >= INCREASE and new_lesions:
        result = "RECIP-PD"
    else:
        result = "RECIP-SD"
    new = f"{new_lesions or 'no'} new lesion{'' if new_lesions == 1 else 's'}"
    return Proposal(
        "RECIP 1.0",
        result,
        f"{MEANINGS[result]}: volume {100 * change:+.0f} %, {new}",
        {
            "volume at baseline, mL": baseline_ml,
            "volume at follow-up, mL": followup_ml,
            "change, %": 100 * change,
            "new lesions": new_lesions,
        },
        RECIP_RULE,
        RECIP_SOURCE,
    )
