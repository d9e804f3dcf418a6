"""A session's journal: whatever a click changed becomes one line on disk before the click is answered.

journal.jsonl   a line a change: JSON, a tab, its CRC-32 in hex; a line that was cut off by a crash is dropped
arrays.bin      the masks, probabilities and logits that the lines point at

A line holds, of every object that changed, how many of its steps stay ("keep"), the new ones and the place in
its history ("cursor"); of a step's points those that the step before does not have. So nothing is predicted
again when the journal is read, and every step can still be undone.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from anypet.errors import ReadError
from anypet.objects import Patch, Prediction, SegmentedObject, Tile
from anypet.server.arrays import ArrayCache, ArrayFile, Ref, StoredPatch, StoredTile
from anypet.session import Session
from anypet.steps import decode_step, encode_step
from anypet.volume import Volume

Json = dict[str, Any]


@dataclass
class Restored:
    """What a journal holds.

    Args:
        objects: name -> object with its history, in order.
        selected: the object that prompts go to.
        extra: the latest value of every extra entry.
    """

    objects: dict[str, SegmentedObject] = field(default_factory=dict)
    selected: str = ""
    extra: Json = field(default_factory=dict)


class Journal:
    """Writes what changed in a session, and reads it back.

    Args:
        folder: of the session, and of no other.
        cache: for the arrays of the history.
    """

    def __init__(self, folder: Path, cache: ArrayCache) -> None:
        self.path = folder / "journal.jsonl"
        self.file = ArrayFile(folder / "arrays.bin", cache)
        self._steps: dict[str, list[Prediction]] = {}
        self._cursors: dict[str, int] = {}
        self._selected = ""
        self._extra: Json = {}
        self._refs: WeakKeyDictionary[Patch | Tile, Ref] = WeakKeyDictionary()

    def write(self, session: Session, extra: Mapping[str, Any]) -> list[str]:
        """Writes what changed since the last time; the session's new steps are read from disk from now on.

        Args:
            session: the one that this journal belongs to.
            extra: further JSON to keep; of its entries those that changed are written.

        Returns:
            The names of the objects whose steps or cursor changed, or that are new.

        Raises:
            OSError: the disk refuses.
        """
        changed = {name: item for name, item in session.objects.items() if self._differs(name, item)}
        record: Json = {}
        if changed:
            self._store(changed)
            record["objects"] = {name: self._object(name, item) for name, item in changed.items()}
        if list(session.objects) != list(self._steps):
            record["order"] = list(session.objects)
        if session.selected.name != self._selected:
            record["selected"] = session.selected.name
        new = {key: value for key, value in extra.items() if self._extra.get(key) != value}
        if new:
            record["extra"] = json.loads(json.dumps(new))
        if record:
            self._append(record)
            self._remember(session, record.get("extra", {}))
        return list(changed)

    def differs(self, session: Session) -> bool:
        """Whether an object's history has changed since the last time."""
        return any(self._differs(name, item) for name, item in session.objects.items())

    def _differs(self, name: str, item: SegmentedObject) -> bool:
        known = self._steps.get(name)
        return (
            known is None
            or item.cursor != self._cursors[name]
            or len(known) != len(item.steps)
            or any(a is not b for a, b in zip(known, item.steps, strict=True))
        )

    def _kept(self, name: str, item: SegmentedObject) -> int:
        known = self._steps.get(name, [])
        pairs = enumerate(zip(known, item.steps, strict=False))
        return next((n for n, (a, b) in pairs if a is not b), min(len(known), len(item.steps)))

    def _store(self, changed: Mapping[str, SegmentedObject]) -> None:
        """Puts the arrays of new steps into the file, and steps that read them there into the session."""
        owners: dict[Patch | Tile, None] = {}

        def collect(owner: Patch | Tile) -> None:
            if self._ref(owner) is None:
                owners[owner] = None

        for name, item in changed.items():
            for step in item.steps[self._kept(name, item) :]:
                encode_step(step, collect)
        if owners:
            arrays = [owner.values if isinstance(owner, Patch) else owner.logits for owner in owners]
            self._refs.update(zip(owners, self.file.append(arrays), strict=True))

    def _ref(self, owner: Patch | Tile) -> Ref | None:
        if isinstance(owner, StoredPatch | StoredTile) and owner.file is self.file:
            return owner.ref
        return self._refs.get(owner)

    def _object(self, name: str, item: SegmentedObject) -> Json:
        kept = self._kept(name, item)
        told = []
        for n in range(kept, len(item.steps)):
            step = item.steps[n]
            data = encode_step(step, self._ref)
            before = item.steps[n - 1].prompts.points if n else ()
            shared = len(before) if step.prompts.points[: len(before)] == before else 0
            data["points"] = {"keep": shared, "new": data["points"][shared:]}
            told.append(data)
            item.steps[n] = self._decode(data, before)
        return {"keep": kept, "cursor": item.cursor, "steps": told}

    def _decode(self, data: Mapping[str, Any], before: tuple[Any, ...]) -> Prediction:
        points = data["points"]
        old = [{"mm": list(p.mm), "positive": p.positive} for p in before[: points["keep"]]]
        return decode_step(
            {**data, "points": [*old, *points["new"]]},
            lambda start, ref: StoredPatch(start, self.file, Ref.of(ref)),
            lambda cell, ref, seed: StoredTile(cell, self.file, Ref.of(ref), seed),
        )

    def _append(self, record: Json) -> None:
        text = json.dumps(record, separators=(",", ":")).encode()
        with self.path.open("ab") as file:
            end = file.seek(0, os.SEEK_END)
            try:
                file.write(text + f"\t{zlib.crc32(text):08x}\n".encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # half a line would hide all lines after it
                os.truncate(self.path, end)
                raise

    def _remember(self, session: Session, extra: Json) -> None:
        self._steps = {name: list(item.steps) for name, item in session.objects.items()}
        self._cursors = {name: item.cursor for name, item in session.objects.items()}
        self._selected = session.selected.name
        self._extra |= extra

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, scan: Volume) -> Restored:
        """All that was written, on the scan that the session belongs to; a cut-off end is taken off the file.

        Raises:
            ReadError: a line within the journal is not what this version writes.
        """
        restored = Restored()
        try:
            for record in self._lines():
                self._apply(record, restored, scan)
            if restored.objects and restored.selected not in restored.objects:
                raise ValueError(f"the selected object {restored.selected!r} is not there")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ReadError(f"{self.path}: not a journal of this version, or damaged: {error}") from error
        self._steps = {name: list(item.steps) for name, item in restored.objects.items()}
        self._cursors = {name: item.cursor for name, item in restored.objects.items()}
        self._selected, self._extra = restored.selected, dict(restored.extra)
        return restored

    def _lines(self) -> Iterator[Json]:
        """The records up to the first line that is not whole; from there on the file is cut."""
        if not self.path.is_file():
            return
        good = 0
        with self.path.open("rb") as file:
            for line in file:
                text, _, check = line.rstrip(b"\n").rpartition(b"\t")
                if not line.endswith(b"\n") or f"{zlib.crc32(text):08x}".encode() != check:
                    break
                good += len(line)
                yield json.loads(text)
        if good < self.path.stat().st_size:
            os.truncate(self.path, good)

    def _apply(self, record: Json, restored: Restored, scan: Volume) -> None:
        for name, told in record.get("objects", {}).items():
            item = restored.objects.setdefault(name, SegmentedObject(name, scan, []))
            del item.steps[told["keep"] :]
            for data in told["steps"]:
                before = item.steps[-1].prompts.points if item.steps else ()
                item.steps.append(self._decode(data, before))
            item.cursor = int(told["cursor"])
            if not 0 <= item.cursor < len(item.steps):
                raise ValueError(f"object {name!r} has no step {item.cursor}")
        if "order" in record:
            restored.objects = {name: restored.objects[name] for name in record["order"]}
        restored.selected = record.get("selected", restored.selected)
        restored.extra |= record.get("extra", {})
