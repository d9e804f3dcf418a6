"""A system's job in a benchmark, what it gave, and how that is kept on disk for the next run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from anypet._version import __version__
from anypet.baselines.base import Kind, fingerprint
from anypet.baselines.registry import baseline
from anypet.clicks import BoolArray
from anypet.evaluation.cases import Case
from anypet.evaluation.protocol import Row, Settings
from anypet.files import write_whole

Mask = tuple[str, str, str, str]


@dataclass(frozen=True)
class Job:
    """One system with its weights, on all cases.

    Args:
        name: of the registry.
        weights: file or folder, None where none are needed.
        cases: loaders that survive pickling.
        settings: of the click protocol.
        pictures: case name -> targets whose masks are kept to be drawn.
        folder: where masks go.
        device, threads: of torch; 0 threads leave them as they are.
    """

    name: str
    weights: Path | None
    cases: tuple[Case, ...]
    settings: Settings
    pictures: Mapping[str, Sequence[str]]
    folder: Path
    device: str = "cpu"
    threads: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a job gave.

    Args:
        name: of the registry.
        kind: how it is prompted.
        rows: of all its systems; `seconds` of a system without clicks is for the whole target.
        masks: (system, case, target) -> file of its mask, as `packed_mask` writes it.
        failures: case -> why it was left out.
        refused: why nothing could be run; "" else.
        peak_mb: most memory that its process held, MB; NaN where the system does not tell.
        weights: name and SHA-256 of the weights.
    """

    name: str
    kind: Kind
    rows: list[Row] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    peak_mb: float = float("nan")
    weights: str = ""


def weights_file(job: Job) -> Path | None:
    """The file or folder of a job's weights: the one given, or the one that the registry holds."""
    model = baseline(job.name).options.get("model") or ("default" if job.name == "default" else None)
    if job.weights is None and model is not None:
        from anypet.models.registry import entry

        return entry(model).file
    return job.weights


def named_weights(weights: Path | None) -> str:
    """Name and SHA-256 of a file or folder; "" where there is none."""
    held = weights is not None and weights.exists()
    return f"{weights.name} sha256:{fingerprint(weights)}" if weights is not None and held else ""


def keep_mask(job: Job, system: str, case: str, target: str, mask: BoolArray) -> Mask:
    """Writes a mask to draw, packed; (system, case, target, file name)."""
    key = hashlib.sha256(repr((job.name, str(job.weights), system, case, target)).encode()).hexdigest()[:20]
    job.folder.mkdir(parents=True, exist_ok=True)
    write_whole(job.folder / f"{key}.bits", np.packbits(mask).tobytes())
    return system, case, target, f"{key}.bits"


def read_mask(file: Path, shape: tuple[int, int, int]) -> BoolArray:
    """A mask that a job kept."""
    bits = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)


def signature_of(job: Job) -> str:
    """Of all that a job's rows depend on."""
    cases = [(c.group, c.name, repr(getattr(c.loader, "args", c.identity))) for c in job.cases]
    settings = (
        job.settings.clicks,
        job.settings.seeds,
        job.settings.tolerance_mm,
        sorted(job.settings.targets),
    )
    weights = named_weights(weights_file(job))
    parts = (
        __version__,
        job.name,
        weights,
        cases,
        settings,
        sorted(job.pictures.items()),
        job.device,
        job.threads,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def write_outcome(file: Path, outcome: Outcome, signature: str) -> None:
    """Keeps an outcome for the next run of the same job."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps({"signature": signature, **asdict(outcome)}))


def earlier_outcome(file: Path, signature: str) -> Outcome | None:
    """The outcome of the same job run before; None if there is none."""
    try:
        held = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    if held.pop("signature", None) != signature:
        return None
    rows = [
        Row(**{**row, "voxel": tuple(row["voxel"]) if row["voxel"] else None}) for row in held.pop("rows")
    ]
    masks = [tuple(mask) for mask in held.pop("masks")]
    return Outcome(**held, rows=rows, masks=masks)
