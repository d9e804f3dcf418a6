"""Lymphoma: the total metabolic tumour volume."""

from __future__ import annotations

import numpy as np

from anypet.errors import AnyPETError
from anypet.quantify.parts import Connectivity, Objects, lesions_of, parts_of, union
from anypet.quantify.proposal import Proposal
from anypet.quantify.threshold import Threshold, fixed, resegment
from anypet.volume import Volume

SUV, SMALLEST_ML = 4.0, 3.0
RULE = (
    "Volume of all lymphoma of SUVbw 4.0 or more, in connected components of 3 mL or more. What is "
    "physiologic is taken out by a reader.",
)
SOURCE = "Boellaard R et al., J Nucl Med 2024;65:1343 (international benchmark for TMTV)"


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
        SOURCE if rule.name == f"{SUV:g}" and smallest_ml == SMALLEST_ML else rule.source,
    )


def _need_bw(pet: Volume) -> None:
    if pet.unit != "SUVbw":
        raise AnyPETError(f"TMTV is defined in SUVbw, the scan is in {pet.unit}: use as_suv(pet, 'bw')")
