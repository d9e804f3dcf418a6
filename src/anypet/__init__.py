"""AnyPET: promptable 3D segmentation of PET.

Names are imported on first use, so that `import anypet` is quick and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from anypet._version import __version__

if TYPE_CHECKING:
    from anypet.client import connect
    from anypet.io import read, read_labels, read_study, write
    from anypet.session import Session
    from anypet.volume import Volume

_HOMES = {
    "Session": "anypet.session",
    "Volume": "anypet.volume",
    "connect": "anypet.client",
    "read": "anypet.io",
    "read_labels": "anypet.io",
    "read_study": "anypet.io",
    "write": "anypet.io",
}

__all__ = ["Session", "Volume", "__version__", "connect", "read", "read_labels", "read_study", "write"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'anypet' has no attribute {name!r}")
