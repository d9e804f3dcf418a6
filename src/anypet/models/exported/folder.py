"""Where exports lie, which weights they were made from, and whether they are used."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from anypet.devices import has_bfloat16, wants_bfloat16
from anypet.errors import AnyPETError, WeightsError
from anypet.models import registry
from anypet.models.exported.graph import Graph, Precision
from anypet.models.weights import sha256, verify

log = logging.getLogger(__name__)

Runtime = Literal["auto", "torch", "openvino"]
MANIFEST = "export.json"
VERSION = 1  # grows when what a family exports changes, so that older exports are made again
# family -> module with `pieces`, `put_in` and `probability`
FAMILIES = {
    "compact": "anypet.models.compact.pieces",
    "segany": "anypet.models.segany.pieces",
    "lesions": "anypet.lesions.pieces",
}
# when the torch network runs in bfloat16, and so its export
BFLOAT16: dict[str, Callable[[torch.device], bool]] = {
    "compact": wants_bfloat16,
    "segany": lambda device: False,
    "lesions": has_bfloat16,  # as it was trained
}


def runtime() -> Runtime:
    """What runs networks on the CPU: ANYPET_RUNTIME, else "auto": OpenVINO where there is an export.

    Raises:
        AnyPETError: ANYPET_RUNTIME names none, or OpenVINO, which is not installed.
    """
    told = os.environ.get("ANYPET_RUNTIME", "").lower() or "auto"
    if told not in ("auto", "torch", "openvino"):
        raise AnyPETError(f"ANYPET_RUNTIME is {told!r}; it must be auto, torch or openvino")
    if told == "openvino" and not installed():
        raise AnyPETError("ANYPET_RUNTIME is openvino, which is not installed: pip install 'anypet[fast]'")
    return told  # type: ignore[return-value]


def installed() -> bool:
    """Whether OpenVINO is there; it is not imported to tell."""
    return importlib.util.find_spec("openvino") is not None


def exports() -> Path:
    """Where exports are looked for: `exported` in the user's folder."""
    return registry.home() / "exported"


def folder_name(weights_sha256: str) -> str:
    """The folder of the weights with that SHA-256."""
    return weights_sha256[:16]


def attach(family: str, model: Any, weights: Path) -> bool:
    """Puts the export of a model's weights, if there is one, in the place of its torch network.

    Args:
        family: of `anypet.models.registry.FAMILIES`.
        model: as the family's `build` made it.
        weights: the file that it was made from.

    Returns:
        Whether OpenVINO runs it from now on. Other devices than the CPU always keep torch.

    Raises:
        WeightsError: the export is damaged, or ANYPET_RUNTIME asks for one that does not exist.
        AnyPETError: see `runtime`.
    """
    chosen = runtime()
    device = torch.device(getattr(model, "device", "cpu"))
    if chosen == "torch" or family not in FAMILIES or device.type != "cpu":
        return False
    if chosen == "auto" and not (installed() and exports().is_dir()):
        return False
    key = sha256(weights)
    folder = exports() / folder_name(key)
    if not (folder / MANIFEST).is_file():
        if chosen == "openvino":
            raise WeightsError(
                f"{weights} has no export in {exports()}: run `anypet models export`, or unset ANYPET_RUNTIME"
            )
        return False
    half = BFLOAT16[family](device)
    put_in(family, model, graphs(folder, key, "bf16" if half else "f32"))
    log.info("%s is run by OpenVINO from %s", weights.name, folder)
    return True


def put_in(family: str, model: Any, found: Mapping[str, Graph]) -> None:
    """Graphs by name in the place of a model's own modules."""
    importlib.import_module(FAMILIES[family]).put_in(model, found)


def graphs(folder: Path, weights_sha256: str, precision: Precision) -> dict[str, Graph]:
    """The graphs of an export by name, each file checked.

    Raises:
        WeightsError: a file is missing, damaged or unreadable, or the export is of other weights.
    """
    manifest = _manifest(folder)
    if manifest["weights"] != weights_sha256:
        raise WeightsError(
            f"{folder} was exported from other weights (SHA-256 {manifest['weights'][:16]}..., "
            f"expected {weights_sha256[:16]}...); export again"
        )
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"{path} is missing; export the model again, or set ANYPET_RUNTIME=torch")
        verify(path, digest)
    names = [name for name in manifest["files"] if name.endswith(".xml")]
    return {Path(name).stem: Graph(folder / name, precision) for name in names}


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version, weights = int(found["version"]), str(found["weights"])
        files = {Path(str(name)).name: str(digest) for name, digest in found["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not the manifest of an export ({error!r}); export again") from error
    if version != VERSION:
        raise WeightsError(f"{path} is of version {version}, expected {VERSION}; export the model again")
    return {"weights": weights, "files": files}
