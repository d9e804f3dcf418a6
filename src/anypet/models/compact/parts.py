"""The parts of a body that the compact network names while it segments."""

from __future__ import annotations

# index = value in the network's logits and in training's part maps
PARTS = (
    "air",
    "spleen",
    "left kidney",
    "right kidney",
    "liver",
    "urinary bladder",
    "left lung",
    "right lung",
    "brain",
    "heart",
    "stomach",
    "prostate",
    "left salivary gland",
    "right salivary gland",
    "fat",
    "muscle",
    "cortical bone",
    "marrow",
    "vessel",
    "bowel",
    "ureter",
    "lesion",
)
ORGAN_PARTS = range(1, 14)
LESION = PARTS.index("lesion")
