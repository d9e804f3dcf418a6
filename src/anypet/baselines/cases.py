"""Cases kept on disk for the processes of a benchmark: read or simulated once, then loaded by each system."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from anypet.evaluation.cases import Case, Scan, kind_of
from anypet.files import write_whole
from anypet.grids import resample
from anypet.io import AIR_HU
from anypet.volume import Volume


def kept(case: Case, folder: Path) -> Case:
    """The same case, its voxels in a file of the folder; written if it is not there yet.

    The CT, where there is one, is laid on the PET's grid first.

    Raises:
        AnyPETError: the case cannot be read.
    """
    path = folder / f"{_key(case)}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scan = case.load()
        arrays = {
            "pet": scan.pet.array,
            "affine": scan.pet.affine,
            "names": np.array(json.dumps([*scan.targets])),
        }
        arrays |= {f"target.{n}": np.packbits(mask) for n, mask in enumerate(scan.targets.values())}
        if case.ct is not None:
            arrays["ct"] = resample(case.ct(), scan.pet, outside=AIR_HU).array.astype(np.int16)
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        write_whole(path, file.getvalue())
    ct = None if case.ct is None else partial(_read_ct, path)
    return replace(case, loader=partial(_read, path), ct=ct)


def _key(case: Case) -> str:
    """Of a case and all that it comes from, where that is known."""
    source: object = case.identity
    function = ""
    if isinstance(case.loader, partial):
        function = case.loader.func.__name__
        source = (case.identity, function, case.loader.args)
    if function == "_load_simulated":
        from anypet.training.pool import fingerprint

        source = (source, fingerprint())
    if case.ct is not None:  # a list that has got a column `ct` since is read anew
        files = [v for v in getattr(case.ct, "args", ()) if isinstance(v, Path)]
        source = (source, "ct", *((file, file.stat().st_mtime_ns) for file in files))
    digest = hashlib.sha256(repr((case.group, case.name, source)).encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', case.name)[:60]}-{digest}"


def _read(path: Path) -> Scan:
    with np.load(path) as file:
        pet = Volume(file["pet"], file["affine"], "SUVbw")
        targets = {
            name: np.unpackbits(file[f"target.{n}"], count=pet.array.size).reshape(pet.shape).astype(bool)
            for n, name in enumerate(json.loads(str(file["names"])))
        }
    return Scan(pet, targets)


def _read_ct(path: Path) -> Volume:
    with np.load(path) as file:
        return Volume(file["ct"].astype(np.float32), file["affine"], "HU")


def pictured(
    cases: Sequence[Case], targets: Callable[[Scan], list[str]], most: int = 6
) -> dict[str, list[str]]:
    """Case name -> targets to draw: the first of each kind, `most` in all."""
    chosen: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for case in cases:
        for target in targets(case.load()):
            key = (case.group, kind_of(target))
            if key not in seen and len(seen) < most:
                seen.add(key)
                chosen.setdefault(case.name, []).append(target)
        if len(seen) >= most:
            break
    return chosen
