"""Names of targets: one spelling for all systems and data, and which of them are tumours."""

from __future__ import annotations

LESIONS = ("lesion", "small lesion", "hidden lesion")  # kinds that one mask of all lesions stands for
_LESION_WORDS = (
    "lesion",
    "tumour",
    "tumor",
    "gtv",
    "metasta",
    "cancer",
    "carcinoma",
    "lymphoma",
    "sarcoma",
    "label",
)


def canonical(kind: str) -> str:
    """A target's name in one spelling: "Kidney-L", "kidney_left" and "left kidney" are the same."""
    words = kind.lower().replace("_", " ").replace("-", " ").split()
    words = [{"l": "left", "r": "right"}.get(word, word) for word in words]
    sides = [word for word in words if word in ("left", "right")]
    return " ".join([*sides, *(word for word in words if word not in sides)])


def is_tumour(kind: str) -> bool:
    """Whether a target is a tumour, not an organ, by its name."""
    return any(word in kind.lower() for word in _LESION_WORDS)
