"""Deauville: proposals of the five-point score of residual lymphoma, from SUVs in place of the eye."""

from __future__ import annotations

import numpy as np

from anypet.errors import AnyPETError
from anypet.quantify.proposal import Proposal
from anypet.quantify.regions import Region
from anypet.quantify.table import MeasureTable

MARKEDLY = 2.0
RULE = (
    "1: no uptake above background. 2: at most the mediastinal blood pool. 3: more than that, at most the "
    "liver. 4: moderately more than the liver. 5: markedly more than the liver (2 to 3 times its SUVmax), "
    "or new lesions.",
    "SUVmax of the hottest lesion is compared with SUVmax of the regions; the score itself is a visual "
    "one. New uptake unlikely to be lymphoma is X, which only a reader can tell.",
)
SOURCE = "Barrington SF et al., Eur J Nucl Med Mol Imaging 2010;37:1824 and J Clin Oncol 2014;32:3048"
QPET = (0.95, 1.3, 2.0)
QPET_RULE = ("SUVpeak of the hottest lesion / liver SUVmean. Scores 3, 4 and 5 begin at 0.95, 1.3 and 2.0.",)
QPET_SOURCE = "Hasenclever D et al., Eur J Nucl Med Mol Imaging 2014;41:1301 (children with Hodgkin lymphoma)"


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
        (*RULE, f"Markedly: more than {markedly:g} times."),
        SOURCE,
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
        QPET_RULE,
        QPET_SOURCE,
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


def _same_unit(lesions: MeasureTable, *regions: Region) -> None:
    units = {lesions.suv.unit, *(region.unit for region in regions)}
    if len(units) != 1:
        raise AnyPETError(f"lesions and regions are in different SUVs: {', '.join(sorted(units))}")
