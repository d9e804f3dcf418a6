"""The interactive protocol of autoPET IV: eleven steps with 0 to 10 clicks of either kind, and six numbers.

At step n a system gets the first n tumour and the first n background clicks of those stored for the case,
whatever it predicted before. The six numbers of a case are Dice, FPV and FNV (mL) at the last step and the
areas under them (trapezoid, one unit a step: of Dice 0 to 10). A case without a lesion has FPV alone; its
other numbers are NaN and left out of means. Beside the six: the lesions' F1 and DMM, by the same rules
(`anypet.evaluation.lesion_metrics`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from anypet.autopet.segmenter import Segmenter, segment
from anypet.errors import AnyPETError
from anypet.evaluation.lesion_metrics import DMM_IOU, Lesions, overlap_of
from anypet.evaluation.metrics import area_under_clicks
from anypet.evaluation.statistics import Interval, summarise
from anypet.lesions.click_files import LesionClicks
from anypet.volume import Volume

STEPS = 11
TRACED = ("dsc", "fpv", "fnv", "dmm", "f1")
OFFICIAL = ("dsc_last", "fpv_last", "fnv_last", "auc_dsc", "auc_fpv", "auc_fnv")
SCORES = (*OFFICIAL, "dmm_last", "auc_dmm", "f1_last", "auc_f1")


@dataclass(frozen=True, eq=False)
class ProtocolCase:
    """A scan with the truth and the clicks stored for it.

    Args:
        name: of the case.
        patient: whose it is; cases of one patient are not independent.
        pet: SUVbw.
        ct: HU on the grid of the PET, or None.
        truth: what is not 0 is lesion; on the grid of the PET.
        clicks: all of them; a step takes the first ones.
    """

    name: str
    patient: str
    pet: Volume
    ct: Volume | None
    truth: Volume
    clicks: LesionClicks


@dataclass(frozen=True)
class Measured:
    """Named values of one case.

    Args:
        case, patient: whose they are.
        values: name -> value, NaN where it is not defined.
    """

    case: str
    patient: str
    values: dict[str, float]

    @property
    def target(self) -> str:
        """All lesions of a case are one target."""
        return "lesions"


@dataclass(frozen=True)
class Step(Measured):
    """What one case measured at one step: dsc, fpv, fnv (mL), dmm, f1, and counts of lesions.

    Args:
        step: clicks of either kind given at most; 0 for none.
        seconds: what the segmenter took; NaN where masks were read from files.
    """

    step: int
    seconds: float


def run_case(
    case: ProtocolCase, segmenter: Segmenter, steps: int = STEPS, *, dmm_iou: float = DMM_IOU
) -> list[Step]:
    """Every step of the protocol on one case.

    Args:
        segmenter: called once a step, as a container is.
        steps: how many; the last gets `steps - 1` clicks of either kind.
        dmm_iou: least IoU of a match in DMM.

    Raises:
        AnyPETError: clicks outside of the scan, the truth on another grid, or no mask from the segmenter.
    """
    case.clicks.check_inside(case.pet.shape, f"the clicks of {case.name}")
    truth = Lesions.of(case.truth)
    rows = []
    for step in range(steps):
        began = time.perf_counter()
        mask = segment(segmenter, case.pet, case.ct, case.clicks.first(step))
        seconds = time.perf_counter() - began
        rows.append(_measure(case.name, case.patient, step, truth, mask, seconds, dmm_iou))
    return rows


def score_masks(
    name: str, patient: str, truth: Volume, masks: Iterable[Volume], *, dmm_iou: float = DMM_IOU
) -> list[Step]:
    """Every step of the protocol on one case whose masks are there already.

    Args:
        name, patient: of the case.
        truth: what is not 0 is lesion.
        masks: of steps 0, 1, 2, ..., on the same grid.
        dmm_iou: least IoU of a match in DMM.

    Raises:
        AnyPETError: a mask lies on another grid.
    """
    lesions = Lesions.of(truth)
    return [
        _measure(name, patient, step, lesions, mask, float("nan"), dmm_iou) for step, mask in enumerate(masks)
    ]


def _measure(
    case: str, patient: str, step: int, truth: Lesions, mask: Volume, seconds: float, dmm_iou: float
) -> Step:
    overlap = overlap_of(truth, Lesions.of(mask))
    any_overlap = overlap.detection()
    values = {
        "dsc": overlap.dice,
        "fpv": overlap.false_positive_volume,
        "fnv": overlap.false_negative_volume,
        "dmm": overlap.detection(dmm_iou).f1,
        "f1": any_overlap.f1,
        "lesions": any_overlap.lesions,
        "found": any_overlap.found,
        "false_positives": any_overlap.false,
    }
    return Step(case, patient, values, step, seconds)


def case_scores(rows: Iterable[Step], *, normalised: bool = False) -> list[Measured]:
    """The numbers of each case (`SCORES`): last values, and areas under the steps.

    Args:
        rows: of any number of cases, steps 0, 1, 2, ... of each.
        normalised: divide areas by the number of steps less one, so that they are mean heights.

    Raises:
        AnyPETError: a case has a step twice, lacks one, or has fewer than two.
    """
    by_case: dict[str, list[Step]] = {}
    for row in rows:
        by_case.setdefault(row.case, []).append(row)
    return [
        _case_score(sorted(members, key=lambda row: row.step), normalised) for members in by_case.values()
    ]


def _case_score(rows: Sequence[Step], normalised: bool) -> Measured:
    found = [row.step for row in rows]
    if found != list(range(len(rows))) or len(rows) < 2:
        raise AnyPETError(f"{rows[0].case} has steps {found}; expected 0, 1, 2, ... once each, two or more")
    curves = {name: [row.values[name] for row in rows] for name in TRACED}
    values = {f"{name}_last": curve[-1] for name, curve in curves.items()}
    values |= {
        f"auc_{name}": area_under_clicks(curve, normalised=normalised) for name, curve in curves.items()
    }
    return Measured(rows[0].case, rows[0].patient, {name: values[name] for name in SCORES})


@dataclass(frozen=True)
class Score:
    """One number over all cases.

    Args:
        name: of `SCORES`.
        mean: over the cases where it is defined: the challenge's figure; NaN where there is none.
        cases: how many those are.
        interval: mean over patients, 95 % bootstrap interval. Equal means where each patient has one case.
    """

    name: str
    mean: float
    cases: int
    interval: Interval


def summarise_scores(scores: Sequence[Measured]) -> list[Score]:
    """The numbers of the protocol over all cases, in the order of `SCORES`."""
    lines = []
    for name in SCORES:
        defined = [score.values[name] for score in scores if np.isfinite(score.values[name])]
        mean = float(np.mean(defined)) if defined else float("nan")
        interval = summarise(scores, lambda score: score.values[name])  # noqa: B023
        lines.append(Score(name, mean, len(defined), interval))
    return lines


def step_means(rows: Sequence[Step], name: str) -> list[Interval]:
    """Mean over patients, with its interval, of a value at steps 0, 1, 2, ..."""
    steps = sorted({row.step for row in rows})
    return [summarise([r for r in rows if r.step == step], lambda r: r.values[name]) for step in steps]
