"""Lymphoma: the total metabolic tumour volume, and proposals of a Deauville score."""

from __future__ import annotations

import numpy as np

from anypet.errors import AnyPETError
from anypet.quantify.parts import Connectivity, Objects, lesions_of, parts_of, union
from anypet.quantify.proposal import Proposal
from anypet.quantify.regions import Region
from anypet.quantify.table import MeasureTable
from anypet.quantify.threshold import Threshold, fixed, resegment
from anypet.volume import Volume

SUV, SMALLEST_ML = 4.0, 3.0
BENCHMARK = "Boellaard R et al., J Nucl Med 2024;65:1343 (international benchmark for TMTV)"
MARKEDLY = 2.0
QPET = (0.95, 1.3, 2.0)


def preselect(
    pet: Volume, suv: float = SUV, smallest_ml: float = SMALLEST_ML, connectivity: Connectivity = 26
) -> Volume:
    """Every region of a scan of at least a SUV and a volume, physiologic uptake included, as labels.

    The benchmark's first step; its second is that a reader removes what is not lymphoma.

    Args:
        pet: (i, j, k) SUVbw.
        suv: lowest SUV that counts.
        smallest_ml: regions below this volume are left out.
        connectivity: which voxels make one region.

    Returns:
        Labels on the scan's grid, numbered from the largest region.

    Raises:
        AnyPETError: the scan is not in SUVbw.
    """
    _need_bw(pet)
    array = np.zeros(pet.shape, np.uint16)
    names = {}
    for label, patch in enumerate(lesions_of(pet.array >= suv, connectivity), start=1):
        if int(np.count_nonzero(patch.values)) * pet.voxel_volume_ml < smallest_ml:
            break
        array[patch.slices][patch.values] = label
        names[label] = f"region {label}"
    return Volume(array, pet.affine, "label", {"names": names})


def total_metabolic_volume(
    pet: Volume,
    objects: Objects,
    threshold: Threshold | None = None,
    smallest_ml: float | None = None,
    connectivity: Connectivity = 26,
) -> Proposal:
    """TMTV: the volume of all lymphoma that reaches a threshold.

    Args:
        pet: (i, j, k) SUVbw.
        objects: the lesions, drawn with a margin or preselected; what is not lymphoma is not in them.
        threshold: in each object; SUV 4.0 by default.
        smallest_ml: components below this volume do not count; 3 mL with SUV 4.0, else none.
        connectivity: which voxels make one component.

    Raises:
        AnyPETError: the scan is not in SUVbw, or the grids differ.
    """
    _need_bw(pet)
    rule = threshold or fixed(SUV)
    if smallest_ml is None:
        smallest_ml = SMALLEST_ML if rule.name == f"{SUV:g}" else 0.0
    kept = union(parts_of(resegment(pet, objects, rule), pet), pet.shape)
    sizes = [
        int(np.count_nonzero(patch.values)) * pet.voxel_volume_ml for patch in lesions_of(kept, connectivity)
    ]
    counted = [size for size in sizes if size >= smallest_ml]
    total = sum(counted)
    return Proposal(
        "TMTV",
        f"{total:.1f} mL",
        f"total metabolic tumour volume of {len(counted)} lesions",
        {
            "TMTV, mL": total,
            "lesions counted": len(counted),
            "lesions below the smallest volume": len(sizes) - len(counted),
            "smallest volume, mL": smallest_ml,
            "connectivity": connectivity,
            "SUV": pet.unit,
        },
        (f"{rule.text}; components of at least {smallest_ml:g} mL ({connectivity}-connected).",),
        BENCHMARK if rule.name == f"{SUV:g}" and smallest_ml == SMALLEST_ML else rule.source,
    )


def deauville(
    lesions: MeasureTable, liver: Region, blood_pool: Region, new_lesions: int = 0, markedly: float = MARKEDLY
) -> Proposal:
    """A Deauville score from the hottest residual lesion, by SUVmax against SUVmax.

    Args:
        lesions: measures of what is left; no row where nothing is above its surroundings.
        liver, blood_pool: the reference regions, in the same SUV.
        new_lesions: how many there are that are likely lymphoma.
        markedly: from how many times the liver's SUVmax score 5 begins, 2 to 3.

    Raises:
        AnyPETError: the SUVs differ.
    """
    _same_unit(lesions, liver, blood_pool)
    residual = lesions.total.suv_max if lesions.rows else None
    score, why = _score(residual, liver.maximum, blood_pool.maximum, markedly)
    if new_lesions:
        score, why = 5, "new lesions"
    warnings = []
    if blood_pool.maximum >= liver.maximum:
        warnings.append("the blood pool is not below the liver: compare with the liver alone")
    return Proposal(
        "Deauville score",
        str(score),
        why,
        {
            "SUV": lesions.suv.unit,
            "SUVmax of the hottest lesion": residual,
            "liver SUVmax": liver.maximum,
            "liver SUVmean": liver.mean,
            "liver": liver.rule,
            "blood pool SUVmax": blood_pool.maximum,
            "blood pool SUVmean": blood_pool.mean,
            "blood pool": blood_pool.rule,
            "new lesions": new_lesions,
        },
        (
            "1: no uptake above background. 2: at most the mediastinal blood pool. 3: more than that, at "
            "most the liver. 4: moderately more than the liver. 5: markedly more than the liver (here "
            f"{markedly:g} times its SUVmax), or new lesions.",
            "SUVmax of the lesion is compared with SUVmax of the regions. New uptake unlikely to be "
            "lymphoma is X, which only a reader can tell.",
        ),
        "Barrington SF et al., Eur J Nucl Med Mol Imaging 2010;37:1824 and J Clin Oncol 2014;32:3048",
        tuple(warnings),
    )


def qpet(lesions: MeasureTable, liver: Region, new_lesions: int = 0) -> Proposal:
    """The qPET ratio, SUVpeak of the hottest residual lesion over the liver's mean, and the score it means.

    Args:
        lesions, liver, new_lesions: as for `deauville`.

    Raises:
        AnyPETError: the SUVs differ, or the liver's mean is not positive.
    """
    _same_unit(lesions, liver)
    if not liver.mean > 0:
        raise AnyPETError(f"the liver's mean is {liver.mean:g}: expected a positive uptake")
    peak = lesions.total.suv_peak if lesions.rows else None
    ratio = None if peak is None else peak / liver.mean
    if new_lesions:
        score = "5"
    elif ratio is None:
        score = "1 or 2"
    else:
        score = ("1 or 2", "3", "4", "5")[int(np.searchsorted(QPET, ratio, side="right"))]
    return Proposal(
        "qPET",
        "none" if ratio is None else f"{ratio:.2f}",
        f"Deauville score {score}" + (" (new lesions)" if new_lesions else ""),
        {
            "SUV": lesions.suv.unit,
            "qPET": ratio,
            "Deauville score": score,
            "SUVpeak of the hottest lesion": peak,
            "liver SUVmean": liver.mean,
            "liver": liver.rule,
            "new lesions": new_lesions,
        },
        ("SUVpeak of the hottest lesion / liver SUVmean. Scores 3, 4 and 5 begin at 0.95, 1.3 and 2.0.",),
        "Hasenclever D et al., Eur J Nucl Med Mol Imaging 2014;41:1301 (children with Hodgkin lymphoma)",
    )


def _score(residual: float | None, liver: float, blood_pool: float, markedly: float) -> tuple[int, str]:
    if residual is None:
        return 1, "no lesion above its surroundings"
    if residual <= blood_pool:
        return 2, "at most the blood pool"
    if residual <= liver:
        return 3, "above the blood pool, at most the liver"
    if residual <= markedly * liver:
        return 4, "moderately above the liver"
    return 5, "markedly above the liver"


def _need_bw(pet: Volume) -> None:
    if pet.unit != "SUVbw":
        raise AnyPETError(f"TMTV is defined in SUVbw, the scan is in {pet.unit}: use as_suv(pet, 'bw')")


def _same_unit(lesions: MeasureTable, *regions: Region) -> None:
    units = {lesions.suv.unit, *(region.unit for region in regions)}
    if len(units) != 1:
        raise AnyPETError(f"lesions and regions are in different SUVs: {', '.join(sorted(units))}")
