"""A session that is served: what each step changed, its measures, its journal, and a picture for readers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from anypet.objects import Patch, Prediction, SegmentedObject
from anypet.server.boxes import changed_box, encode_mask
from anypet.server.journal import Journal
from anypet.server.scans import NotFoundError, Scan
from anypet.server.timers import Timers
from anypet.session import Session

Json = dict[str, Any]
# Okabe and Ito's palette, without black and with its yellow darkened for light backgrounds
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#c9b400", "#8c6bb1")


@dataclass(frozen=True, eq=False)
class Shown:
    """An object as it was after the last step; it never changes.

    Args:
        name: of the object.
        revision: grows with every change of prompts or mask; a reader with the revision before can apply
            `changed` to its mask.
        before: that revision.
        step: what counts now.
        steps, cursor: length of the history, and the place in it.
        measures: see `anypet.objects.SegmentedObject.measures`; None where there is none.
        changed: the box of voxels that changed, or None.
    """

    name: str
    revision: int
    before: int
    step: Prediction
    steps: int
    cursor: int
    measures: Mapping[str, float | None]
    changed: Patch | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A session as readers see it while the next step is at work."""

    objects: Mapping[str, Shown] = field(default_factory=dict)
    selected: str = ""
    looks: Mapping[str, Json] = field(default_factory=dict)


class Live:
    """A session in memory.

    `picture` and what reads it (`items`, `told`, `tell`, `table`, `suv_peak`) are for every thread, the rest
    is for the thread of its worker.

    Args:
        id, owner, name: of the session.
        scan: what it is on.
        session: fresh, or with the objects that the journal held.
        journal: where it is kept.
        extra: what the journal held besides.
    """

    def __init__(
        self,
        key: str,
        owner: str,
        name: str,
        scan: Scan,
        session: Session,
        journal: Journal,
        extra: Json,
    ) -> None:
        self.id, self.owner, self.name = key, owner, name
        self.scan, self.session, self.journal = scan, session, journal
        self.timers = Timers(extra.get("timers"))
        self.looks: dict[str, Json] = dict(extra.get("looks", {}))
        self.used = time.monotonic()
        self.picture = Picture()
        self._peaks: WeakKeyDictionary[Prediction, float] = WeakKeyDictionary()
        self._revision = int(extra.get("revision", 0))
        self._show(list(session.objects))

    # -- steps -----------------------------------------------------------------------------------------------

    def commit(self, kind: str = "others") -> list[Shown]:
        """Writes what the last call of the session changed, and shows it -> the objects that changed.

        Args:
            kind: of the prompt, one of `timers.KINDS`, counted for the selected object where it changed.
        """
        self.used = time.monotonic()
        items = self.session.objects
        for name in items:
            if name not in self.looks:
                self.looks[name] = {"colour": COLOURS[len(self.looks) % len(COLOURS)], "hidden": False}
        selected = self.session.selected
        seen = self.picture.objects.get(selected.name)
        if seen is None or seen.step is not selected.current:
            self.timers.count(selected.name, kind)
        self._revision += self.journal.differs(self.session)
        extra = {"timers": self.timers.state(), "looks": self.looks, "revision": self._revision}
        changed = self.journal.write(self.session, extra)
        self._show(changed)
        return [self.picture.objects[name] for name in changed]

    def _show(self, changed: list[str]) -> None:
        old = self.picture.objects
        shown = {
            name: self._shown(item, old.get(name)) if name in changed or name not in old else old[name]
            for name, item in self.session.objects.items()
        }
        self.picture = Picture(shown, self.session.selected.name, {k: dict(v) for k, v in self.looks.items()})

    def _shown(self, item: SegmentedObject, before: Shown | None) -> Shown:
        mask = item.current.mask
        old = Patch.empty(bool) if before is None else before.step.mask
        measures = {k: (float(v) if math.isfinite(v) else None) for k, v in item.measures.items()}
        return Shown(
            item.name, self._revision, 0 if before is None else before.revision, item.current,
            len(item.steps), item.cursor, measures, changed_box(old, mask),
        )  # fmt: skip

    def rename(self, name: str, new: str) -> None:
        """Another name for an object, its colour and its clock."""
        self.session.rename(name, new)
        self.timers.renamed(name, new)
        self.looks = {new if key == name else key: look for key, look in self.looks.items()}

    def look(self, name: str, **values: Any) -> None:
        """Sets an object's colour or whether it is hidden."""
        self.session.select(name)
        self.looks.setdefault(name, {}).update(values)

    # -- for readers -----------------------------------------------------------------------------------------

    def items(self, names: Sequence[str] = ()) -> list[SegmentedObject]:
        """Objects as they were after the last step, without their history.

        Args:
            names: which; none means all.

        Raises:
            NotFoundError: there is no such object.
        """
        objects = self.picture.objects
        missing = [name for name in names if name not in objects]
        if missing:
            raise NotFoundError(f"there is no object {missing[0][:120]!r}")
        return [SegmentedObject(name, self.scan.pet, [objects[name].step]) for name in names or objects]

    def suv_peak(self, step: Prediction) -> float:
        """SUVpeak of a step's mask, 1 mL sphere with its centre inside; NaN without a voxel.

        It takes longer than a click should, so it is not among the measures of an answer, and is kept.
        """
        if step not in self._peaks:
            from anypet.quantify.peak import PeakFinder

            found = step.mask.values.any()
            self._peaks[step] = PeakFinder(self.scan.pet).find(step.mask).value if found else math.nan
        return self._peaks[step]

    def table(self) -> list[Json]:
        """The measures of every object that has a voxel, SUVpeak among them."""
        shown = [one for one in self.picture.objects.values() if one.measures["voxels"]]
        return [
            {
                "name": one.name,
                "revision": one.revision,
                "measures": {**one.measures, "suv_peak": self.suv_peak(one.step)},
            }
            for one in shown
        ]

    # -- for JSON --------------------------------------------------------------------------------------------

    def told(self) -> Json:
        """The session without its masks."""
        picture = self.picture
        return {
            "id": self.id,
            "name": self.name,
            "scan": self.scan.entry.id,
            "selected": picture.selected,
            "objects": [self.tell(shown, picture) for shown in picture.objects.values()],
        }

    def tell(self, shown: Shown, picture: Picture | None = None, *, changes: bool = False) -> Json:
        """An object, with the box that changed if asked for."""
        look = (picture or self.picture).looks.get(shown.name, {})
        told = {
            "name": shown.name,
            **look,
            "revision": shown.revision,
            "can_undo": shown.cursor > 0,
            "can_redo": shown.cursor + 1 < shown.steps,
            "prompts": self._prompts(shown.step),
            "measures": dict(shown.measures),
            "seconds": round(self.timers.seconds(shown.name), 1),
            "timing": self.timers.running(shown.name),
        }
        if changes:
            told["before"] = shown.before
            told["changed"] = None if shown.changed is None else encode_mask(shown.changed)
        return told

    def _prompts(self, step: Prediction) -> Json:
        pet = self.scan.pet
        points = [
            {"mm": list(p.mm), "voxel": np.round(pet.to_voxel(p.mm), 3).tolist(), "positive": p.positive}
            for p in step.prompts.points
        ]
        boxes = [{"lo_mm": list(b.lo_mm), "hi_mm": list(b.hi_mm)} for b in step.prompts.boxes]
        return {"points": points, "boxes": boxes, "mask": step.prior is not None}
