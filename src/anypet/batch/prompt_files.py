"""What a reader clicked in one scan, as a JSON file: clicks and a box for each of several objects.

```
{"space": "voxel",
 "objects": {"liver":  {"positive": [[60, 55, 80]], "negative": [[60, 55, 40]]},
             "node 1": {"box": [[20, 30, 40], [26, 38, 44]], "positive": [[23, 34, 42]]}}}
```

`space` is "voxel" (indices from 0 in the file's order, the default) or "mm" (RAS). autoPET's files of tumour
and background clicks (`anypet.lesions.click_files`) are read too, as one object named "lesion".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from anypet.builders.files import read_json
from anypet.errors import PromptError
from anypet.lesions.click_files import read_clicks

if TYPE_CHECKING:
    from anypet.checks import Space
    from anypet.session import Session

Numbers = tuple[float, float, float]
_KEYS = ("positive", "negative", "box")


@dataclass(frozen=True)
class ObjectPrompts:
    """The prompts on one object.

    Args:
        name: of the object.
        positive, negative: points on it and beside it.
        box: two opposite corners, or None.
    """

    name: str
    positive: tuple[Numbers, ...] = ()
    negative: tuple[Numbers, ...] = ()
    box: tuple[Numbers, Numbers] | None = None


@dataclass(frozen=True)
class ScanPrompts:
    """The prompts on one scan.

    Args:
        objects: at least one, in the file's order.
        space: "voxel" or "mm", of all points and corners.
    """

    objects: tuple[ObjectPrompts, ...]
    space: Space = "voxel"

    def give(self, session: Session) -> None:
        """Makes each object in a session: its box, then positive clicks one by one, then negative ones.

        Raises:
            PromptError: a point or a box lies outside of the scan; names the object.
        """
        for item in self.objects:
            session.new_object(item.name)
            try:
                if item.box is not None:
                    session.add_box(*item.box, space=self.space)
                for positive, points in ((True, item.positive), (False, item.negative)):
                    for point in points:
                        session.add_point(point, positive, space=self.space)
            except PromptError as error:
                raise PromptError(f"object {item.name!r}: {error}") from error


def read_prompts(path: Path | str) -> ScanPrompts:
    """Reads a file of prompts in either form.

    Raises:
        PromptError: names the file, the place in it and what was expected there.
        AnyPETError: not a file of JSON.
    """
    path = Path(path)
    content = read_json(path)
    if "objects" not in content:
        clicks = read_clicks(path)
        if not clicks.tumour:
            raise PromptError(f'{path}: holds no "objects" and no tumour click; nothing says what is wanted')
        return ScanPrompts((ObjectPrompts("lesion", clicks.tumour, clicks.background),))
    space = content.get("space", "voxel")
    if space not in ("voxel", "mm"):
        raise PromptError(f'{path}: space is {space!r}, expected "voxel" or "mm"')
    objects = content["objects"]
    if not isinstance(objects, Mapping) or not objects:
        raise PromptError(f"{path}: objects is {objects!r}, expected names with their prompts")
    parsed = tuple(_object(str(name), item, f"{path}: {name!r}") for name, item in objects.items())
    return ScanPrompts(parsed, cast("Space", space))


def _object(name: str, item: Any, where: str) -> ObjectPrompts:
    if not isinstance(item, Mapping) or not set(item) <= set(_KEYS):
        raise PromptError(f"{where} is {item!r}, expected an object with {', '.join(_KEYS)}")
    positive, negative = (_points(item.get(kind), f"{where}, {kind}") for kind in _KEYS[:2])
    box = _points(item.get("box"), f"{where}, box")
    if box and len(box) != 2:
        raise PromptError(f"{where}, box: has {len(box)} corners, expected two opposite ones")
    if not positive and not box:
        raise PromptError(f"{where} has neither a positive click nor a box; nothing says what is wanted")
    return ObjectPrompts(name, positive, negative, (box[0], box[1]) if box else None)


def _points(value: Any, where: str) -> tuple[Numbers, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(_is_point(point) for point in value):
        raise PromptError(f"{where} is {value!r}, expected a list of [x, y, z]")
    return tuple((float(x), float(y), float(z)) for x, y, z in value)


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(v) in (int, float) for v in value)
