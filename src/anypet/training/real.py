"""Real cases to train on: the public sarcoma patients, or a list of one's own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from anypet.clicks import bounding_box
from anypet.evaluation.cases import Case
from anypet.training.pool import FORMAT, PoolStudy, Target, read_study, write_study

# targets that may lie anywhere and either way round; organs may not
_ANYWHERE = re.compile(r"lesion|tumou?r|gtv|metasta|node|cancer|carcinoma|lymphoma|sarcoma|label", re.I)


def pooled_case(case: Case) -> PoolStudy:
    """A case as a study to cut patches from; in half precision, a whole body is about 50 MB in memory."""
    scan = case.load()
    objects = []
    for name, mask in scan.targets.items():
        box = bounding_box(np.asarray(mask), margin=1)
        if box is not None:
            occupancy = np.asarray(mask)[box].astype(np.float16)
            objects.append(Target(box, occupancy, bool(_ANYWHERE.search(name))))
    pet = scan.pet.with_array(scan.pet.array.astype(np.float16))
    return PoolStudy(
        pet, np.asarray(pet.affine), pet.shape, objects, high_quality=case.high_quality, kind="real"
    )


def real_studies(cases: Iterable[Case], cache: Path | None = None) -> list[PoolStudy]:
    """Cases that have a target, as studies.

    Args:
        cases: read one after the other.
        cache: folder where they are kept, compressed as the pool is, so that a thousand whole bodies need
            not fit in memory; None keeps them in memory. A case is read anew if its name or files' times
            change.
    """
    studies = []
    for case in cases:
        if cache is None:
            study = pooled_case(case)
        else:
            cache.mkdir(parents=True, exist_ok=True)
            name = hashlib.sha256(repr((FORMAT, case.identity)).encode()).hexdigest()[:20]
            path = cache / f"{name}.safetensors"
            if not path.exists():
                write_study(path, pooled_case(case))
            study = read_study(path)
        if study.objects:
            studies.append(study)
    return studies
