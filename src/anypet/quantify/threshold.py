"""Thresholds inside a mask, as everyday practice draws a volume: 41 %, 50 %, a SUV, PERCIST, the liver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.objects import Patch
from anypet.quantify.parts import Objects, lesions_of, parts_of
from anypet.quantify.regions import Region
from anypet.volume import Volume

LIVER_SDS = 3.0


@dataclass(frozen=True)
class Threshold:
    """The lowest SUV that stays in an object.

    Args:
        name: short, as on the command line.
        text: the rule in words, with its numbers.
        source: who uses it.
        level: the object's values (N,) -> lowest SUV that stays.
        unit: the SUV that the rule's numbers are in; None where they are relative to the object.
    """

    name: str
    text: str
    source: str
    level: Callable[[npt.NDArray[Any]], float]
    unit: str | None = None


def of_maximum(share: float) -> Threshold:
    """A share of the object's own SUVmax, such as 0.41.

    Raises:
        AnyPETError: the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise AnyPETError(f"a threshold of {share:.0%} of SUVmax: expected more than 0 and less than 100 %")
    return Threshold(
        f"{100 * share:g}%",
        f"at least {100 * share:g} % of the object's SUVmax",
        "Boellaard R et al. (EANM), Eur J Nucl Med Mol Imaging 2015;42:328",
        lambda values: share * float(values.max()),
    )


def fixed(suv: float, unit: str = "SUVbw") -> Threshold:
    """A SUV.

    Raises:
        AnyPETError: it is not positive.
    """
    if not suv > 0:
        raise AnyPETError(f"a threshold of SUV {suv:g}: expected a positive number")
    source = (
        "Boellaard R et al., J Nucl Med 2024;65:1343 (lymphoma, with at least 3 mL)"
        if suv == 4
        else "the user"
    )
    return Threshold(f"{suv:g}", f"at least {unit} {suv:g}", source, lambda _: suv, unit)


def percist_level(reference: Region) -> float:
    """The SUL that PERCIST asks of a target: 1.5 x liver + 2 SD, or 2.0 x blood pool + 2 SD.

    Raises:
        AnyPETError: the region is neither liver nor blood pool.
    """
    factors = {"liver": 1.5, "blood pool": 2.0}
    if reference.name not in factors:
        raise AnyPETError(f"PERCIST takes the liver or the blood pool as reference, got the {reference.name}")
    return factors[reference.name] * reference.mean + 2 * reference.sd


def percist(reference: Region) -> Threshold:
    """PERCIST's level for a measurable target, as a threshold.

    Args:
        reference: the liver sphere, or the blood pool where the liver is diseased.
    """
    level = percist_level(reference)
    factor = "1.5" if reference.name == "liver" else "2.0"
    return Threshold(
        "percist",
        f"at least {factor} x {reference.name} mean + 2 SD = {reference.unit} {level:.2f}",
        "PERCIST 1.0: Wahl RL et al., J Nucl Med 2009;50 Suppl 1:122S",
        lambda _: level,
        reference.unit,
    )


def above_liver(liver: Region, sds: float = LIVER_SDS) -> Threshold:
    """The liver's mean and some standard deviations."""
    level = liver.mean + sds * liver.sd
    return Threshold(
        "liver",
        f"at least liver mean + {sds:g} SD = {liver.unit} {level:.2f}",
        "Zhou M et al., Oncotarget 2016;7:83544 (with 3 SD)",
        lambda _: level,
        liver.unit,
    )


def parse(text: str, reference: Region | None = None, unit: str = "SUVbw") -> Threshold:
    """The threshold of a word: "41%", "4.0", "percist" or "liver".

    Args:
        text: as typed.
        reference: liver or blood pool, for the last two.
        unit: the SUV in which a plain number is meant.

    Raises:
        AnyPETError: it is none of these, or the reference is missing.
    """
    word = text.strip().lower()
    if word in ("percist", "liver"):
        if reference is None:
            raise AnyPETError(
                f"the threshold {word!r} needs a reference region: give the liver's mask or centre"
            )
        return percist(reference) if word == "percist" else above_liver(reference)
    try:
        number = float(word.removesuffix("%"))
    except ValueError:
        raise AnyPETError(f"threshold {text!r}: give 41%, a SUV such as 4.0, percist or liver") from None
    return of_maximum(number / 100) if word.endswith("%") else fixed(number, unit)


def resegment(pet: Volume, objects: Objects, threshold: Threshold, *, hottest_only: bool = False) -> Objects:
    """The voxels of each object that reach a threshold.

    Args:
        pet: (i, j, k) in the SUV of the threshold.
        objects: labels on the PET's grid, or name -> (I, J, K) bool.
        threshold: of this module.
        hottest_only: of each object, keep only the 26-connected part that holds its hottest voxel.

    Returns:
        The same kind as `objects`; an object of which nothing stays is gone (from labels) or empty.

    Raises:
        AnyPETError: the grids or the SUVs differ.
    """
    if threshold.unit is not None and threshold.unit != pet.unit:
        raise AnyPETError(
            f"the threshold is in {threshold.unit}, the scan in {pet.unit}: convert one of them"
        )
    kept = [(part, _above(pet, part.patch, threshold, hottest_only)) for part in parts_of(objects, pet)]
    if isinstance(objects, Volume):
        array = np.zeros_like(objects.array)
        for part, patch in kept:
            array[patch.slices][patch.values] = part.label
        return objects.with_array(array)
    masks = {name: np.zeros(pet.shape, bool) for name in objects}
    for part, patch in kept:
        masks[part.name][patch.slices] = patch.values
    return masks


def _above(pet: Volume, patch: Patch, threshold: Threshold, hottest_only: bool) -> Patch:
    values = pet.array[patch.slices]
    mask = patch.values & (values >= threshold.level(values[patch.values]))
    if hottest_only and mask.any():
        hottest = np.unravel_index(int(np.argmax(np.where(mask, values, -np.inf))), mask.shape)
        for lesion in lesions_of(mask):
            whole = lesion.on_grid((mask.shape[0], mask.shape[1], mask.shape[2]))
            if whole[hottest]:
                mask = whole
    return Patch(patch.start, mask)
