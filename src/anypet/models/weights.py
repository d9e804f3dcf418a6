"""Weight files: read without running anything they contain, checked, and loaded key by key."""

from __future__ import annotations

import argparse
import collections
import hashlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from anypet.errors import WeightsError

# What the readers raise on a file that is cut short or is no weights file at all.
DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)

# Where trainers keep the network's weights inside a checkpoint, the first that is there.
CONTAINERS = ("model_state_dict", "state_dict", "model")

# What the published trainers put beside the weights: their arguments, the scheduler's milestones, and losses
# that are NumPy numbers. These types hold data only; anything else in a file is refused, not loaded.
_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
SAFE_TYPES: list[Any] = [
    argparse.Namespace,
    collections.Counter,
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    type(np.dtype(np.int64)),
    _NUMPY_SCALAR,
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # its name before NumPy 2
]


def sha256(path: str | Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: str | Path, expected: str) -> None:
    """Raises `WeightsError` unless the file's SHA-256 is `expected`."""
    found = sha256(path)
    if found != expected:
        raise WeightsError(
            f"{path} is damaged or was replaced: its SHA-256 is {found}, "
            f"expected {expected}; fetch or install it again"
        )


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Reads the weights in a file -> key -> tensor on the CPU, floating-point ones as float32.

    Takes .safetensors, a bare state dict saved by torch, or a training checkpoint that holds one as
    `model_state_dict`; a prefix `module.` on every key (data-parallel training) is dropped. The kind of file
    is told by its first bytes, not by its name.

    Raises:
        WeightsError: no such file, not a weights file, cut short, or it would run code when unpickled (it is
            not run).
    """
    return load_weights(path)[0]


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """`load_state_dict`, and the text metadata of a .safetensors file (empty for the others)."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}")
    with open(path, "rb") as file:
        head = file.read(9)
    # a safetensors file is 8 bytes of length and then a JSON object; torch writes a zip archive or a pickle
    metadata: dict[str, str] = {}
    if head[8:9] == b"{":
        tensors, metadata = _read_safetensors(path)
    else:
        tensors = _state_dict_in(read_checkpoint(path), path)
    return {key: _as_float32(tensor) for key, tensor in _without_prefix(tensors).items()}, metadata


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module, each tensor once: under the first of its names."""
    first: dict[tuple[int, int], str] = {}
    found = {}
    for key, tensor in module.state_dict().items():
        if first.setdefault((tensor.data_ptr(), tensor.numel()), key) == key:
            found[key] = tensor
    return found


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (*DAMAGE, SafetensorError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); fetch it again") from error


def read_checkpoint(path: Path) -> Any:
    """All that torch saved in a file, if it is tensors, plain values and `SAFE_TYPES` alone.

    Raises:
        WeightsError: it holds anything else (the message names it; it is not run), or is damaged.
    """
    try:
        # weights_only refuses every other type; before torch 2.6 it could be tricked (CVE-2025-32434)
        with torch.serialization.safe_globals(SAFE_TYPES):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[-1]
        for line in str(error).splitlines():
            if "GLOBAL" in line or "Unsupported" in line:
                reason = line.strip()
                break
        raise WeightsError(
            f"{path} was not loaded: it is damaged, or holds more than weights, "
            f"which could run code ({reason})"
        ) from error
    except (*DAMAGE, SafetensorError) as error:
        raise WeightsError(f"{path} is not a whole weights file ({error}); fetch it again") from error


def _state_dict_in(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for key in CONTAINERS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        if content and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
            return dict(content)
    raise WeightsError(
        f"{path} holds no state dict: expected tensors by name, or such a mapping as {CONTAINERS[0]}"
    )


def _without_prefix(state_dict: dict[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    if state_dict and all(key.startswith(prefix) for key in state_dict):
        return {key.removeprefix(prefix): tensor for key, tensor in state_dict.items()}
    return state_dict


def save_safetensors(
    state_dict: Mapping[str, Tensor],
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
    *,
    half: bool = False,
) -> None:
    """Writes weights and text metadata (architecture, licence, ...) as one file.

    Args:
        state_dict: key -> tensor.
        path: it is replaced in one step, so that no half-written file is ever found there.
        metadata: text by name; `load_weights` gives it back.
        half: store floating-point tensors as float16, half the size; they are loaded as float32.
    """
    path = Path(path)
    tensors = {
        key: (t.half() if half and t.is_floating_point() else t).detach().cpu().contiguous()
        for key, t in state_dict.items()
    }
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata=dict(metadata or {}))
    part.replace(path)


class uninitialised(TorchFunctionMode):  # noqa: N801, used as a function: `with uninitialised():`
    """Networks made in this context keep whatever their memory holds, for weights to replace all of it.

    Random weights for 100 million parameters cost half a second, and the meta device, which also avoids
    them, three times that for what it imports; this costs nothing.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def copy_with_metadata(source: str | Path, target: str | Path, changes: Mapping[str, str]) -> None:
    """Copies a .safetensors file, its tensors to the bit, with some of its text metadata set.

    Raises:
        WeightsError: the source is not a whole .safetensors file.
    """
    tensors, metadata = _read_safetensors(Path(source))
    save_safetensors(tensors, target, {**metadata, **changes})


def guess_family(state_dict: Mapping[str, Tensor]) -> str | None:
    """Which known network the keys look like ("segany", "SAM or MedSAM (2D)", ...); None if none."""
    pos = state_dict.get("image_encoder.pos_embed")
    if pos is not None and "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix" in state_dict:
        return "segany" if pos.ndim == 5 else "SAM or MedSAM (2D)"
    keys = list(state_dict)
    if any(key.startswith("sam_mask_decoder.") for key in keys):
        return "SAM 2"
    if any(key.startswith(("encoder.stages.", "decoder.stages.")) for key in keys):
        return "nnU-Net"
    return None


def check_fits(wanted: Mapping[str, Tensor], state_dict: Mapping[str, Tensor], family: str) -> None:
    """Raises `WeightsError` unless keys and shapes are the same; it names those that are not."""
    missing = [key for key in wanted if key not in state_dict]
    unexpected = [key for key in state_dict if key not in wanted]
    shapes = [
        f"{key} ({_shape(state_dict[key])}, expected {_shape(wanted[key])})"
        for key in wanted
        if key in state_dict and state_dict[key].shape != wanted[key].shape
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
    said = "; ".join(f"{len(keys)} {what}: {_few(keys)}" for what, keys in faults if keys)
    if said:
        other = guess_family(state_dict)
        hint = f"; the file looks like weights of {other}" if other and other != family else ""
        raise WeightsError(f"the weights do not fit {family}: {said}{hint}")


def load_strictly(network: nn.Module, state_dict: Mapping[str, Tensor], family: str | None = None) -> None:
    """Puts weights into a network if every key and shape fits.

    Args:
        network: it takes the tensors themselves, without a copy; it may have been made `uninitialised`.
        state_dict: key -> tensor.
        family: the network's own family, to tell when the weights are of another.

    Raises:
        WeightsError: names the keys that are missing, unexpected or of another shape.
    """
    check_fits(network.state_dict(), state_dict, family or type(network).__name__)
    network.load_state_dict(dict(state_dict), strict=True, assign=True)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _few(keys: Iterable[str], n: int = 5) -> str:
    listed = list(keys)
    return ", ".join(listed[:n]) + (f" and {len(listed) - n} more" if len(listed) > n else "")
