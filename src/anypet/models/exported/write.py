"""Exporting a model: its pieces as files, checked against the torch network before they get their name."""

from __future__ import annotations

import copy
import importlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from anypet.errors import AnyPETError, WeightsError
from anypet.models import registry
from anypet.models.exported.folder import FAMILIES, MANIFEST, VERSION, exports, folder_name, graphs, installed
from anypet.models.exported.graph import openvino
from anypet.models.weights import sha256

TOLERANCE = 1e-3  # of probability, float32


class Exported(NamedTuple):
    """Where an export lies, and the largest difference of a probability from torch's, in float32."""

    folder: Path
    difference: float


def export(name: str, to: str | Path | None = None, *, weights: str | Path | None = None) -> Exported:
    """Exports a model to OpenVINO.

    The folder is named after the SHA-256 of the weights. In the user's folder (the default) it is found when
    these weights are loaded again; one written elsewhere is found once it has been copied there.

    Args:
        name: of `registry.available()`, a promptable or a lesion network.
        to: the folder that gets the export's folder; `ANYPET_HOME/exported` if left out.
        weights: a file to use instead of the registered one.

    Raises:
        AnyPETError: OpenVINO is not installed, or the disk refuses.
        WeightsError: no such model or weights, nothing in it to export, or what OpenVINO computes differs
            from torch by more than `TOLERANCE` of probability; then nothing is left behind.
    """
    if not installed():
        raise AnyPETError("exporting needs OpenVINO: pip install 'anypet[fast]'")
    found = registry.entry(name)
    if found.family not in FAMILIES:
        raise WeightsError(
            f"{name} is of the family {found.family}, which is quick as it is: nothing to export"
        )
    file, state, metadata = registry.load_named(name, weights)
    family = importlib.import_module(FAMILIES[found.family])
    model = family.build(state, {**metadata, "name": name})
    key = sha256(file)
    folder = (exports() if to is None else Path(to).expanduser()) / folder_name(key)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        files = [path for piece in family.pieces(model) for path in piece.save(part)]
        _write_manifest(part, key, name, {path.name: sha256(path) for path in files})
        difference = _difference(family, model, part, key)
        if not difference <= TOLERANCE:  # NaN too
            raise WeightsError(
                f"{name}: OpenVINO's probabilities differ from torch's by {difference:.2g}, "
                f"more than {TOLERANCE:g}; nothing was exported"
            )
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    except OSError as error:
        raise AnyPETError(f"{folder}: the export cannot be written: {error}; give another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(folder, difference)


def _write_manifest(folder: Path, key: str, name: str, files: dict[str, str]) -> None:
    told = {
        "version": VERSION,
        "model": name,
        "weights": key,
        "openvino": openvino().__version__,
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _difference(family: Any, model: Any, folder: Path, key: str) -> float:
    """The largest difference of a probability between the torch model and its export, in float32."""
    plain = family.probability(model)
    fast = copy.deepcopy(model)
    family.put_in(fast, graphs(folder, key, "f32"))
    return float((family.probability(fast) - plain).abs().max())
