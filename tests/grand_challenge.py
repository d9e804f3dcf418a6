"""A folder laid out as Grand Challenge lays it, written by SimpleITK and not by the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

SIZE = (14, 11, 9)  # x, y, z
CT_NAME = "af3b6605-c2b9-4067-8af5-8b85aafb2ae3"
PET_NAME = "0d1c2b3a-0000-4067-8af5-8b85aafb2ae3"


def image(array_zyx: np.ndarray, origin: tuple[float, ...] = (-200.5, -180.25, 12.0)) -> sitk.Image:
    made = sitk.GetImageFromArray(array_zyx)
    made.SetSpacing((2.03642, 2.03642, 3.0))
    made.SetOrigin(origin)
    made.SetDirection((1, 0, 0, 0, 0.9986, -0.0529, 0, 0.0529, 0.9986))
    return made


def lay_out(root: Path, points: list[dict[str, Any]] | None = None) -> sitk.Image:
    """Writes CT, PET and, unless None, the clicks; gives the PET, whose value tells x, y and z apart."""
    z, y, x = np.mgrid[: SIZE[2], : SIZE[1], : SIZE[0]]
    pet = image((x + 0.01 * y + 0.0001 * z).astype(np.float32))
    for kind, name, content in (
        ("pet", PET_NAME, pet),
        ("ct", CT_NAME, image(np.full(SIZE[::-1], 40, np.int16))),
    ):
        (root / "images" / kind).mkdir(parents=True)
        sitk.WriteImage(content, str(root / "images" / kind / f"{name}.mha"), True)
    if points is not None:
        content = {"version": {"major": 1, "minor": 0}, "type": "Multiple points", "points": points}
        (root / "lesion-clicks.json").write_text(json.dumps(content))
    return pet
