"""Where organs are drawn on a body: a front view of head and trunk, the patient's right on the page's left.

Units are hundredths of the body's height above the soles, from the midline; a drawing, no anatomy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.interpolate import splev, splprep

FloatArray = npt.NDArray[np.float64]
Place = tuple[float, float]

FLOOR = 29.0  # the drawing ends at the thighs
TOP = 100.5

# the left half of the outline from the top of the head to the crotch; the right half mirrors it
_HEAD_TO_HAND = (
    (0, 100), (3.2, 99.3), (5.3, 97), (6, 93.6), (5.7, 90.6), (4.8, 87.8), (3.7, 86), (3.5, 84.2),
    (4.6, 82.6), (8.5, 81.6), (13, 80.8), (16.2, 78.8), (17.6, 75), (18.2, 69), (19, 62.5), (20.3, 55),
    (21.6, 48.5), (22.6, 44), (22.4, 40.2), (20.9, 38.4), (19.6, 40.4), (19, 44.4),
)  # fmt: skip
_HAND_TO_THIGH = (
    (18.2, 48.8), (16.8, 55), (15.6, 61.5), (14.7, 67.5), (14, 70.8), (13.3, 67.5), (12.5, 62), (12.2, 57),
    (12.9, 51.5), (14, 47), (14.4, 42), (13.9, 35.5), (13, 29),
)  # fmt: skip
_INNER_THIGH = ((1.3, 29), (0.9, 36.5), (0, 39.8))

# soft shapes behind the dots: centre, width, height, degrees anticlockwise
SHAPES: tuple[tuple[float, float, float, float, float], ...] = (
    (0, 95.4, 9.4, 7.6, 0),  # brain
    (6.4, 73.2, 7.6, 13.4, 8),  # lungs
    (-6.4, 73.2, 7.6, 13.4, -8),
    (2.7, 70.2, 6.4, 6.8, 30),  # heart
    (-4.8, 63.6, 12.4, 5.6, 14),  # liver
    (9.0, 63.8, 3.0, 5.0, -20),  # spleen
    (4.6, 62.6, 4.6, 6.0, -35),  # stomach
    (5.4, 57.4, 2.9, 5.4, -10),  # kidneys
    (-5.4, 57.4, 2.9, 5.4, 10),
    (0, 51.4, 12.4, 7.8, 0),  # bowel
    (0, 44.6, 4.6, 3.4, 0),  # bladder
)

# paired organs stand for the patient's left; the right mirrors them
_PAIRED: dict[str, Place] = {
    "salivary gland": (4.0, 89.4),
    "parotid": (4.2, 89.9),
    "submandibular": (2.8, 87.3),
    "lacrimal": (3.6, 94.4),
    "eye": (2.3, 93.4),
    "breast": (7.6, 68.6),
    "lung": (6.6, 75.2),
    "adrenal": (3.2, 61.2),
    "kidney": (5.4, 57.6),
    "ureter": (3.8, 51.6),
    "ovary": (3.6, 46.6),
    "femur": (9.2, 36.5),
    "hip": (9.2, 45.6),
    "scapula": (10.6, 76.0),
    "clavicle": (7.4, 79.6),
    "humerus": (16.2, 70.0),
    "gluteus": (10.8, 42.5),
    "iliopsoas": (6.0, 48.2),
    "autochthon": (3.2, 55.0),
    "testis": (1.6, 39.2),
}
_SINGLE: dict[str, Place] = {
    "brain": (0, 96.6),
    "cerebellum": (0, 91.4),
    "pituitary": (0, 93.2),
    "tonsil": (0, 87.2),
    "spinal cord": (0, 79.2),
    "thyroid": (0, 83.2),
    "trachea": (0, 80.8),
    "thymus": (-1.2, 76.6),
    "oesophagus": (-1.9, 72.6),
    "esophagus": (-1.9, 72.6),
    "heart": (2.9, 70.2),
    "aorta": (0.4, 67.6),
    "vessel": (0.4, 67.6),
    "blood pool": (0.4, 67.6),
    "vena cava": (-1.6, 66.0),
    "sternum": (0, 74.6),
    "rib": (-10.6, 67.0),
    "liver": (-6.2, 64.0),
    "gallbladder": (-4.2, 60.2),
    "spleen": (9.0, 63.8),
    "stomach": (4.9, 64.2),
    "pancreas": (1.6, 60.2),
    "duodenum": (-2.4, 58.2),
    "small bowel": (-1.8, 51.6),
    "bowel": (0, 51.6),
    "intestine": (0, 51.6),
    "colon": (7.4, 52.8),
    "rectum": (0, 43.6),
    "bladder": (0, 44.8),
    "uterus": (0, 47.0),
    "prostate": (0, 42.2),
    "sacrum": (0, 48.6),
    "vertebra": (0, 55.4),
    "marrow": (0, 55.4),
    "bone": (9.2, 36.5),
    "skull": (-3.6, 97.6),
    "muscle": (-9.4, 36.5),
    "fat": (-10.2, 52.6),
    "skin": (-17.4, 66.0),
}
_SIDES = {"left": 1.0, "l": 1.0, "right": -1.0, "r": -1.0}


def outline() -> FloatArray:
    """(M, 2) points of the body's outline, closed by joining the last to the first."""
    half = np.vstack([_smooth(_HEAD_TO_HAND + _HAND_TO_THIGH), _smooth(_INNER_THIGH, 30)])
    return np.vstack([half, (half * [-1, 1])[::-1]])


def _smooth(points: Sequence[Place], count: int = 240) -> FloatArray:
    """A curve through the points."""
    curve, _ = splprep(np.array(points, dtype=np.float64).T, s=0, k=min(3, len(points) - 1))
    return np.array(splev(np.linspace(0, 1, count), curve)).T


def place_of(organ: str) -> Place | None:
    """Where an organ is drawn; None for a name that holds no known organ.

    "left kidney", "kidney_left" and "Kidney (L)" are the same; the longest known name in it counts.
    """
    words = re.findall(r"[a-z]+", organ.lower())
    side = next((_SIDES[word] for word in words if word in _SIDES), None)
    name = " ".join(word for word in words if word not in _SIDES)
    known = [key for key in (*_PAIRED, *_SINGLE) if re.search(rf"\b{key}", name)]
    if not known:
        return None
    key = max(known, key=len)
    if key in _PAIRED:
        x, y = _PAIRED[key]
        return (x if side is None else side * x), y
    x, y = _SINGLE[key]
    return (x if side is None else side * abs(x)), y


def places(organs: Sequence[str]) -> FloatArray:
    """(P, 2) places of organs; unknown ones stand in a row under the body.

    Organs that would hide each other are moved apart sideways.
    """
    found = [place_of(organ) for organ in organs]
    strange = [n for n, place in enumerate(found) if place is None]
    spread = np.linspace(-12, 12, len(strange)) if len(strange) > 1 else np.zeros(1)
    result = np.array(
        [place if place is not None else (0.0, FLOOR - 4.0) for place in found], dtype=np.float64
    )
    result[strange, 0] = spread[: len(strange)]
    for _ in range(50):
        moved = False
        for a in range(len(result)):
            for b in range(a):
                gap = result[a] - result[b]
                if np.hypot(*gap) < 1.6:
                    step = 0.3 * (1 if gap[0] >= 0 else -1)
                    result[a, 0] += step
                    result[b, 0] -= step
                    moved = True
        if not moved:
            break
    return result
