"""The lesion pipeline inside a session: lesions and organs of the whole scan become the session's objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anypet.clicks import inside_distance
from anypet.errors import AnyPETError
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.depth import Depth
from anypet.lesions.finder import LesionFinder, LesionResult
from anypet.lesions.pipeline import prepare
from anypet.objects import Patch, Prediction, SegmentedObject
from anypet.prompts import Prompts
from anypet.text import LESIONS, understand
from anypet.volume import Volume

if TYPE_CHECKING:
    from anypet.session import Session

BoolArray = npt.NDArray[np.bool_]
NAME = "lesion"
# Organs that stay as the organ head finds them: scattered ones are no one object to the promptable model, and
# the others lost by being handed to it (eight validation scans, `benchmarks/words.py --split validation`).
AS_FOUND = ("skeleton", "bowel", "brain", "liver", "heart", "left lung", "right lung")


class WholeBody:
    """What the lesion networks made of a session's scan.

    Args:
        session: whose objects it makes.
        ct: of the same patient, or None.
        how: further arguments of `anypet.lesions.pipeline.prepare`.
    """

    def __init__(self, session: Session, ct: Volume | None = None, **how: Any) -> None:
        self.session = session
        self.finder: LesionFinder = prepare(session.scan, ct, **{"organs": True, **how})
        self.result: LesionResult | None = None
        self._names: list[str] = []

    def look(
        self, time_limit_s: float, mirror: int = 0, progress: Callable[[int, int], None] | None = None
    ) -> LesionResult:
        """A sweep over the scan, once; later calls give the same."""
        if self.result is None:
            self.result = self.finder.sweep(LesionClicks(), Depth(time_limit_s, mirror), progress)
        return self.result

    def lesions(self) -> None:
        """Makes or brings up to date one object for each lesion, "lesion 1" being the largest.

        A lesion that overlaps an object made earlier stays that object; objects whose lesion is gone get an
        empty mask. Each change is a step of its object, so it can be undone.
        """
        assert self.result is not None
        instances = self.result.instances
        left = [name for name in self._names if name in self.session.objects]
        for number in range(1, int(instances.max()) + 1):
            mask = instances == number
            name = self._match(mask, left)
            if name is None:
                name = self._new_name()
                self.session.new_object(name)
                self._names.append(name)
            else:
                left.remove(name)
            self._show(self.session.objects[name], mask)
        for name in left:
            item = self.session.objects[name]
            if item.voxels:
                item.push(Prediction())

    def found(self) -> dict[str, BoolArray]:
        """Name and mask of each lesion's object that is not empty."""
        items = {name: self.session.objects[name] for name in self._names if name in self.session.objects}
        return {name: item.mask for name, item in items.items() if item.voxels}

    def click(self, voxel: tuple[int, int, int], tumour: bool) -> LesionResult:
        """One more click on the whole: only its surroundings are looked at again; objects follow."""
        self.result = self.finder.click(voxel, tumour)
        self.lesions()
        return self.result

    def renamed(self, name: str, new: str) -> None:
        """A lesion's object has another name from now on."""
        self._names = [new if one == name else one for one in self._names]

    @property
    def nbytes(self) -> int:
        """Memory held by the scan on the networks' grid and by the result, about."""
        found = self.result
        return self.finder.nbytes + (0 if found is None else found.mask.nbytes + found.instances.nbytes)

    def _match(self, mask: BoolArray, names: list[str]) -> str | None:
        """The object that shares most voxels with a mask, or None."""
        best, most = None, 0
        for name in names:
            patch = self.session.objects[name].current.mask
            shared = int((mask[patch.slices] & patch.values).sum()) if patch.values.size else 0
            if shared > most:
                best, most = name, shared
        return best

    def _new_name(self) -> str:
        number = 1
        while f"{NAME} {number}" in self.session.objects or f"{NAME} {number}" in self._names:
            number += 1
        return f"{NAME} {number}"

    def _show(self, item: SegmentedObject, mask: BoolArray) -> None:
        """Sets an object's mask, unless it is that already."""
        assert self.result is not None
        patch = Patch.tight(mask, mask)
        now = item.current.mask
        if now.start == patch.start and np.array_equal(now.values, patch.values):
            return
        probability = np.where(patch.values, self.result.probability[patch.slices], 0).astype(np.float16)
        item.push(Prediction(item.prompts, patch, patch, Patch(patch.start, probability)))


def add_text(session: Session, whole: WholeBody, text: str) -> dict[str, BoolArray]:
    """Segments what a text names -> name and mask of each; each becomes an object.

    An organ is found by the organ head, then handed to the promptable model as a mask with a click in its
    middle, if that makes it better (`AS_FOUND` are those that stay as they were found). "all lesions" makes
    one object for each.

    Raises:
        PromptError: a word is not known, or the organ is not in the scan.
    """
    found: dict[str, BoolArray] = {}
    assert whole.result is not None
    for name in understand(text, whole.finder.config.organs):
        if name == LESIONS:
            whole.lesions()
            found |= whole.found()
            continue
        mask = whole.result.organ(name)
        try:
            session.new_object(name)
        except AnyPETError:
            session.select(name)
            session.reset()
        patch = Patch.tight(mask, mask)
        session.selected.push(Prediction(Prompts(), patch, patch))
        found[name] = session.mask
        if name not in AS_FOUND:
            depth = inside_distance(mask, session.scan.spacing)
            middle = np.unravel_index(int(depth.argmax()), depth.shape)
            found[name] = session.add_point([int(v) for v in middle])
    return found
