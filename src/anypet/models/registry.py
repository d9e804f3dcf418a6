"""The models that AnyPET knows by name, where their weights are, and how they are loaded.

Nothing here imports torch until a model is loaded.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anypet.errors import WeightsError

if TYPE_CHECKING:
    import torch

    from anypet.models.base import PromptableModel

PACKAGED = Path(__file__).parents[1] / "weights"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

# family -> one line; each promptable one is a package `anypet.models.<family>` with a function
# `build(state_dict, metadata, device) -> PromptableModel`, the others belong to `anypet.lesions`
PROMPTABLE = ("compact", "segany")
FAMILIES = {
    "compact": "AnyPET's own network, small enough for a laptop",
    "segany": "SegAnyPET / SAM-Med3D, a 3D vision transformer",
    "lesions": "the two-headed residual-encoder U-Net of whole-body scans",
    "tracer": "the discriminator of FDG and PSMA",
}


@dataclass(frozen=True)
class Published:
    """Where weights are published: a repository of the Hugging Face Hub, a file, its SHA-256 if known."""

    repo: str
    file: str
    sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """A model by name.

    Args:
        name: what `load_model` takes.
        family: the package under `anypet.models` that builds it.
        summary: one line for a list.
        licence: of the weights, as far as their publisher says.
        published: where they can be fetched, if anywhere.
        file: the weights on this machine, None until they are fetched or added.
        sha256: of that file.
        source: where that file came from.
        packaged: whether its weights come with the package; its name cannot be given to others.
    """

    name: str
    family: str
    summary: str
    licence: str
    published: Published | None = None
    file: Path | None = None
    sha256: str | None = None
    source: str | None = None
    packaged: bool = False

    @property
    def ready(self) -> bool:
        """Whether `load_model(name)` needs nothing more."""
        return self.file is not None and self.file.is_file()


_UNSTATED = (
    "none stated by the publisher when last looked at (2026-03): ask the authors before use or sharing"
)
_APACHE = "Apache-2.0, as the model card says"

# The SegAnyPET files are named in the README of github.com/YichiZhang98/SegAnyPET, which links to the Hub
# repository of the same name; the SAM-Med3D file and its SHA-256 stand on its page in the Hub repository
# blueyo0/SAM-Med3D (the first SAM-Med3D weights are on a file-sharing site only, so they are added by hand).
_KNOWN = (
    Entry(
        "default",
        "compact",
        "AnyPET compact, packaged: organs and lesions, any tracer, any CPU",
        "Apache-2.0",
        packaged=True,
    ),
    Entry(
        "default-lesion",
        "compact",
        "AnyPET compact, packaged: fine-tuned on lesions",
        "Apache-2.0",
        packaged=True,
    ),
    Entry(
        "lesions",
        "lesions",
        "whole-body lesions and organs of FDG and PSMA scans, packaged",
        "Apache-2.0",
        packaged=True,
    ),
    Entry("tracer", "tracer", "FDG or PSMA, from a projection, packaged", "Apache-2.0", packaged=True),
    Entry(
        "segany-vit-b",
        "segany",
        "SegAnyPET v1 (ICCV 2025): organs",
        _UNSTATED,
        Published("YichiZhang98/SegAnyPET", "seganypet_v1.pth"),
    ),
    Entry(
        "segany-vit-b-v2",
        "segany",
        "SegAnyPET v2 (2026): organs and lesions",
        _UNSTATED,
        Published("YichiZhang98/SegAnyPET", "seganypet_v2.pth"),
    ),
    Entry(
        "segany-vit-b-lesion",
        "segany",
        "SegAnyPET-Lesion (2026): v2 fine-tuned on lesions",
        _UNSTATED,
        Published("YichiZhang98/SegAnyPET", "seganypet_lesion.pth"),
    ),
    Entry("sam-med3d", "segany", "SAM-Med3D (2023): CT and MR; add its file by hand", _APACHE),
    Entry(
        "sam-med3d-turbo",
        "segany",
        "SAM-Med3D-turbo (2024): CT and MR, 44 datasets",
        _APACHE,
        Published(
            "blueyo0/SAM-Med3D",
            "sam_med3d_turbo.pth",
            "899a46d04d3b70f723282ceb489149373558bf0aaba389a346f5ab57da5cdd3c",
        ),
    ),
)


def home() -> Path:
    """The per-user folder: ANYPET_HOME, or the platform's place for an application's data."""
    if chosen := os.environ.get("ANYPET_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "anypet"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "anypet"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "anypet"


def available() -> list[Entry]:
    """All models known here: those that AnyPET names, then those that the user added, by name."""
    index = _read_index()
    known = [_with_file(entry, index.pop(entry.name, None)) for entry in _KNOWN]
    own = [
        _with_file(Entry(name, record["family"], "added by the user", record["licence"]), record)
        for name, record in sorted(index.items())
    ]
    return known + own


def entry(name: str) -> Entry:
    """The model of that name.

    Raises:
        WeightsError: there is none; the message lists those there are.
    """
    entries = {e.name: e for e in available()}
    if name not in entries:
        raise WeightsError(f"no model is called {name!r}; known: {', '.join(entries)}")
    return entries[name]


def load_model(
    name: str = "default", *, weights: str | Path | None = None, device: str | torch.device = "cpu"
) -> PromptableModel:
    """Loads a model, in evaluation mode; on the CPU OpenVINO runs it where these weights were exported.

    Args:
        name: of `available()`.
        weights: a file to use instead of the registered one.
        device: "cpu", "cuda", "mps", ...

    Raises:
        WeightsError: unknown name, no weights yet, a damaged file, or weights of another network.
    """
    from anypet.models.exported.folder import attach

    found = entry(name)
    if found.family not in PROMPTABLE:
        raise WeightsError(f"{name} takes no prompts; `anypet lesions` and find_lesions use it")
    weights, state_dict, metadata = load_named(name, weights)
    family = importlib.import_module(f"anypet.models.{found.family}")
    try:
        model: PromptableModel = family.build(state_dict, {**metadata, "name": name}, device)
    except WeightsError as error:
        raise WeightsError(f"{weights}: {error}") from error
    attach(found.family, model, weights)
    return model


def load_named(
    name: str, weights: str | Path | None = None
) -> tuple[Path, dict[str, torch.Tensor], dict[str, str]]:
    """The weights of a model: their file, tensors and metadata; those of a packaged model are verified.

    Args:
        name: of `available()`.
        weights: a file to use instead of the registered one.

    Raises:
        WeightsError: unknown name, no weights yet, or a damaged file.
    """
    from anypet.models.weights import load_weights, verify

    found = entry(name)
    if weights is None:
        weights = _ready_file(found)
        if found.sha256 is not None:
            verify(weights, found.sha256)
    return (Path(weights), *load_weights(weights))


def add(
    name: str,
    file: str | Path,
    *,
    family: str | None = None,
    licence: str = "not stated",
    source: str | None = None,
) -> Entry:
    """Copies a weights file into the user's folder and gives it a name.

    Args:
        name: of a known model (its weights), or a new one: small letters, digits, dot, dash, underscore.
        file: .pth, .pt or .safetensors.
        family: of `FAMILIES`; told from the name or the file's keys if left out.
        licence: a note for `available()`.
        source: where it came from, for the index; the file's name if left out.

    Raises:
        WeightsError: unusable name, unreadable file, or unknown family.
    """
    from anypet.models.weights import guess_family, load_weights

    known = check_name(name)
    state_dict, metadata = load_weights(file)
    told = family or (known.family if known else None) or metadata.get("family") or guess_family(state_dict)
    if told not in FAMILIES:
        raise WeightsError(f"{file}: the family is {told or 'not clear'}; give one of: {', '.join(FAMILIES)}")
    if known is not None and told != known.family:
        raise WeightsError(f"{name} is of the family {known.family}, not {told}; choose another name")
    target = weights_folder(name) / Path(file).name
    if Path(file).resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        shutil.copyfile(file, part)
        part.replace(target)
    return register(name, target, family=told, licence=licence, source=source or Path(file).name)


def register(name: str, file: Path, *, family: str, licence: str, source: str) -> Entry:
    """Writes a file that lies in the user's folder into the index; the last step of `add` and of `fetch`."""
    from anypet.models.weights import sha256

    index = _read_index()
    index[name] = {
        "family": family,
        "file": file.relative_to(home()).as_posix(),
        "sha256": sha256(file),
        "licence": licence,
        "source": source,
    }
    path = _index_path()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps({"version": 1, "weights": index}, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
    return entry(name)


def check_name(name: str) -> Entry | None:
    """The known model of that name, None for a new one; `WeightsError` if weights cannot go by it."""
    known = next((e for e in _KNOWN if e.name == name), None)
    if known and known.packaged:
        raise WeightsError(f"{name!r} is a packaged model; choose another name for your weights")
    if not NAME.fullmatch(name):
        raise WeightsError(
            f"{name!r} is no usable name: use small letters, digits, dots, dashes and underscores"
        )
    return known


def weights_folder(name: str) -> Path:
    """Where the weights of that name lie in the user's folder."""
    return home() / "weights" / name


def weights_file(source: str | Path) -> Path:
    """The file of a weights path, or of the model of that name.

    Raises:
        WeightsError: it is neither a file nor the name of a model whose weights are at hand.
    """
    path = Path(source)
    return path if path.suffix or path.is_file() else _ready_file(entry(str(source)))


def as_json(found: Entry) -> dict[str, object]:
    """An entry for machines: its fields, the file as text, and whether it is ready."""
    return {**asdict(found), "file": str(found.file) if found.file else None, "ready": found.ready}


def _ready_file(found: Entry) -> Path:
    if found.ready and found.file is not None:
        return found.file
    if found.file is not None:
        raise WeightsError(
            f"the weights of {found.name} should be at {found.file}, but are not; add them again"
        )
    if found.packaged:
        raise WeightsError(f"the packaged weights are missing from {PACKAGED}; install AnyPET again")
    fetch = f"`anypet models fetch {found.name}` or " if found.published else ""
    raise WeightsError(
        f"{found.name} has no weights yet: {fetch}`anypet models add {found.name} FILE`, or pass weights=FILE"
    )


def _with_file(known: Entry, record: dict[str, str] | None) -> Entry:
    if known.packaged:
        return _packaged(known)
    if record is None:
        return known
    return replace(
        known,
        file=home() / record["file"],
        sha256=record["sha256"],
        licence=record["licence"],
        source=record["source"],
    )


def _packaged(known: Entry) -> Entry:
    file, checksums = PACKAGED / f"{known.name}.safetensors", PACKAGED / "checksums.json"
    if not file.is_file():
        return known
    # weights without a checksum are as suspect as weights with a wrong one: "" matches no file
    sums = json.loads(checksums.read_text(encoding="utf-8")) if checksums.is_file() else {}
    return replace(known, file=file, sha256=sums.get(file.name, ""), source="packaged")


def _index_path() -> Path:
    return home() / "models.json"


def _read_index() -> dict[str, dict[str, str]]:
    path = _index_path()
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))["weights"]
        fields = ("family", "file", "sha256", "licence", "source")
        return {str(name): {field: str(record[field]) for field in fields} for name, record in index.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is not a model index ({error!r}); mend it, or delete it and add again"
        ) from error
