"""Tumour and background clicks of one scan, and the two JSON spellings in which autoPET IV stores them.

| spelling | content |
|---|---|
| `plain` (training data) | `{"tumor": [[x, y, z], ...], "background": [[x, y, z], ...]}` |
| `gc` (Grand Challenge) | `{"points": [{"point": [x, y, z], "name": "tumor"}, ...], ...}` |

x, y, z are voxel indices from 0 in the file's own order, (i, j, k) here, as nibabel and SimpleITK's index
give them: neither millimetres nor the reversed index of an array that SimpleITK gave.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anypet.builders.files import read_json
from anypet.clicks import Voxel
from anypet.errors import PromptError
from anypet.files import write_whole

Spelling = Literal["plain", "gc"]
KINDS = ("tumor", "background")


@dataclass(frozen=True)
class LesionClicks:
    """What a reader clicked in one scan, oldest first.

    Args:
        tumour: voxels (i, j, k) in lesions.
        background: voxels (i, j, k) of uptake that is no lesion.
    """

    tumour: tuple[Voxel, ...] = ()
    background: tuple[Voxel, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tumour or self.background)

    def first(self, count: int) -> LesionClicks:
        """The first `count` clicks of either kind; fewer where there are no more."""
        if count < 0:
            raise PromptError(f"a number of clicks is 0 or more, got {count}")
        return LesionClicks(self.tumour[:count], self.background[:count])

    def check_inside(self, shape: tuple[int, int, int], source: str = "the clicks") -> None:
        """Refuses clicks outside of a grid of this shape.

        Raises:
            PromptError: names the click, and whether it looks like (z, y, x).
        """
        for kind, voxels in zip(KINDS, (self.tumour, self.background), strict=True):
            for number, voxel in enumerate(voxels):
                if _inside(voxel, shape):
                    continue
                hint = (
                    "; reversed it would be inside: is it (z, y, x)?" if _inside(voxel[::-1], shape) else ""
                )
                raise PromptError(
                    f"{source}: {kind} click {number}, voxel {voxel}, lies outside of the scan's "
                    f"{' x '.join(map(str, shape))} voxels (x, y, z){hint}"
                )

    def as_json(self, spelling: Spelling = "plain") -> dict[str, Any]:
        """The content of a clicks file."""
        named = dict(zip(KINDS, (self.tumour, self.background), strict=True))
        if spelling == "plain":
            return {kind: [list(voxel) for voxel in voxels] for kind, voxels in named.items()}
        if spelling != "gc":
            raise PromptError(f"clicks are spelt plain or gc, got {spelling!r}")
        points = [{"point": list(v), "name": kind} for kind, voxels in named.items() for v in voxels]
        return {"version": {"major": 1, "minor": 0}, "type": "Multiple points", "points": points}


def _inside(voxel: Voxel, shape: tuple[int, int, int]) -> bool:
    return all(0 <= v < n for v, n in zip(voxel, shape, strict=True))


def read_clicks(path: Path | str) -> LesionClicks:
    """Reads a clicks file in either spelling; an empty file holds no clicks.

    Raises:
        PromptError: names the file, the place in it and what was expected there.
        AnyPETError: not a file of JSON.
    """
    path = Path(path)
    if path.is_file() and not path.read_bytes().strip():
        return LesionClicks()
    return parse_clicks(read_json(path), str(path))


def write_clicks(clicks: LesionClicks, path: Path | str, spelling: Spelling = "plain") -> Path:
    """Writes a clicks file.

    Raises:
        PromptError: an unknown spelling.
        AnyPETError: no such folder, or the disk refuses.
    """
    return write_whole(Path(path), json.dumps(clicks.as_json(spelling)) + "\n")


def parse_clicks(content: dict[str, Any], source: str = "clicks") -> LesionClicks:
    """The clicks that the content of a clicks file means.

    Args:
        content: of either spelling; a kind of click that is not there is an empty list.
        source: named in errors.

    Raises:
        PromptError: neither spelling, an unknown kind of click, or a point that is no voxel.
    """
    if "points" in content:
        points = _list(content, "points", source)
        named = [_named(point, f"{source}: points[{n}]") for n, point in enumerate(points)]
    elif not content or set(content) & set(KINDS):
        unknown = sorted(set(content) - set(KINDS))
        if unknown:
            raise PromptError(
                f"{source}: unknown kind of click {unknown[0]!r}; known are tumor and background"
            )
        named = [
            (kind, _voxel(value, f"{source}: {kind}[{n}]"))
            for kind in KINDS
            for n, value in enumerate(_list(content, kind, source))
        ]
    else:
        raise PromptError(
            f'{source}: holds {", ".join(sorted(content))}; expected "tumor" and "background", or "points"'
        )
    tumour, background = (tuple(voxel for name, voxel in named if name == kind) for kind in KINDS)
    return LesionClicks(tumour, background)


def _list(content: dict[str, Any], key: str, source: str) -> list[Any]:
    value = content.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise PromptError(f"{source}: {key} is {value!r}, expected a list")
    return value


def _named(point: Any, where: str) -> tuple[str, Voxel]:
    """Kind and voxel of a point in Grand Challenge's spelling."""
    if not isinstance(point, dict) or not {"point", "name"} <= set(point):
        raise PromptError(f'{where} is {point!r}, expected {{"point": [x, y, z], "name": "tumor"}}')
    if point["name"] not in KINDS:
        raise PromptError(f'{where}: the name is {point["name"]!r}, expected "tumor" or "background"')
    return point["name"], _voxel(point["point"], where)


def _voxel(value: Any, where: str) -> Voxel:
    if not isinstance(value, list) or len(value) != 3 or not all(map(_is_index, value)):
        raise PromptError(
            f"{where} is {value!r}, expected three whole numbers from 0 up: voxels [x, y, z], not millimetres"
        )
    i, j, k = (int(n) for n in value)
    return i, j, k


def _is_index(number: Any) -> bool:
    """Whether a JSON value is a whole number from 0 up; 7.0 is one, true is not."""
    whole = type(number) is int or (type(number) is float and number.is_integer())
    return whole and number >= 0
