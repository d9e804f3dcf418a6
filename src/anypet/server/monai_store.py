"""MONAI Label's datastore and sessions: images are the server's scans, labels lie beside, uploads expire."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from anypet.errors import AnyPETError
from anypet.files import write_whole
from anypet.formats import save
from anypet.server.client_images import check_plausible
from anypet.server.engine import Engine
from anypet.server.monai_infer import label_array
from anypet.server.scans import Entry, NotFoundError, Reading, Scan

Json = dict[str, Any]
FINAL = "final"
EXPIRY_S = 86_400
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Datastore:
    """Images, labels and uploaded sessions of one server.

    Args:
        engine: with the scans.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.library = engine.library
        self.root = engine.settings.state / "labels"

    # -- images ----------------------------------------------------------------------------------------------

    def find(self, image: str, owner: str) -> Entry:
        """The scan with this id, name, or series or study UID.

        Raises:
            NotFoundError: none has it.
        """
        entries = self.library.entries(owner)
        for entry in entries:
            if image in (entry.id, entry.name):
                return entry
        for entry in sorted(entries, key=lambda entry: not self.library.is_open(entry.id)):
            if image and image in self.library.uids(entry):
                return entry
        raise NotFoundError(f"there is no image {image[:120]!r}")

    def scan(self, entry: Entry, owner: str) -> Scan:
        """An image, open; one without a unit is taken for SUVbw if it can be that."""
        unit = self.engine.settings.client_unit if entry.kind == "upload" else None
        try:
            return self.library.open(entry.id, owner)
        except AnyPETError:
            if unit is None or entry.path is None or entry.path.is_dir():
                raise
        scan = self.library.open(entry.id, owner, Reading(unit))
        check_plausible(scan.pet.array)
        return scan

    def objects(self, owner: str) -> Json:
        """Everything, as `GET /datastore/?output=all` tells it."""
        return {
            entry.id: {
                "image": {"ext": ".nii.gz", "info": {"name": entry.name}},
                "labels": {tag: {"ext": ".nii.gz", "info": info} for tag, info in self.labels(entry).items()},
            }
            for entry in self.library.entries(owner)
        }

    def stats(self, owner: str) -> Json:
        """Counts, as `/info/` tells them."""
        tags: dict[str, int] = {}
        entries = self.library.entries(owner)
        found = [self.labels(entry) for entry in entries]
        for labels in found:
            for tag in labels:
                tags[tag] = tags.get(tag, 0) + 1
        return {
            "total": len(entries),
            "completed": sum(FINAL in labels for labels in found),
            "label_tags": tags,
        }

    # -- labels ----------------------------------------------------------------------------------------------

    def labels(self, entry: Entry) -> dict[str, Json]:
        """The labels of an image, by tag."""
        folder = self.root / entry.id
        found = sorted(folder.glob("*.json")) if folder.is_dir() else []
        return {path.stem: json.loads(path.read_text()) for path in found}

    def label(self, entry: Entry, tag: str) -> Path:
        """A label's file.

        Raises:
            NotFoundError: there is none with this tag.
        """
        if not _TAG.fullmatch(tag) or tag not in self.labels(entry):
            raise NotFoundError(f"image {entry.name!r} has no label {tag[:64]!r}")
        return self.root / entry.id / f"{tag}.nii.gz"

    def save_label(self, entry: Entry, owner: str, tag: str, path: Path, info: Json) -> None:
        """Keeps a label map of an image; one with this tag is replaced.

        Raises:
            AnyPETError: the tag cannot be a name, or the label does not fit the image.
        """
        if not _TAG.fullmatch(tag):
            raise AnyPETError(f"a tag is letters, digits, '_', '.' or '-', got {tag[:64]!r}")
        scan = self.scan(entry, owner)
        labels = label_array(path, scan.pet)
        folder = self.root / entry.id
        folder.mkdir(parents=True, exist_ok=True)
        save(scan.pet.with_array(labels, "label"), folder / f"{tag}.nii.gz")
        write_whole(folder / f"{tag}.json", json.dumps({"ts": int(time.time()), "params": info}))

    def remove_label(self, entry: Entry, tag: str) -> None:
        """Deletes a label."""
        self.label(entry, tag).unlink()
        (self.root / entry.id / f"{tag}.json").unlink()

    # -- sessions --------------------------------------------------------------------------------------------

    def begin(self, entry: Entry, expiry: int) -> Json:
        """An upload becomes a session that ends when it was not used for `expiry` seconds."""
        now = int(time.time())
        kept = {"create_ts": now, "expiry": min(expiry, EXPIRY_S) if expiry > 0 else EXPIRY_S}
        write_whole(self._mark(entry.id), json.dumps(kept))
        return self.session(entry)

    def session(self, entry: Entry) -> Json:
        """What is told of a session.

        Raises:
            NotFoundError: the upload is none.
        """
        try:
            kept = json.loads(self._mark(entry.id).read_text())
        except OSError as error:
            raise NotFoundError(f"there is no session {entry.id!r}") from error
        return {
            "name": entry.id, "path": "", "image": entry.name, "meta": {}, **kept,
            "last_access_ts": int(self._mark(entry.id).stat().st_mtime),
        }  # fmt: skip

    def used(self, entry: Entry) -> None:
        """A session is in use."""
        if self._mark(entry.id).is_file():
            self._mark(entry.id).touch()

    def end(self, entry: Entry, owner: str) -> None:
        """Deletes a session with its image and what was clicked on it."""
        for card in self.engine.store.cards(owner):
            if card.scan == entry.id:
                self.engine.delete(card.id, owner)
        self.library.remove(entry.id, owner)

    def sweep(self, owners: set[str]) -> None:
        """Deletes the sessions that have expired."""
        for owner in owners:
            for entry in self.library.entries(owner):
                if entry.kind != "upload" or entry.owner != owner or not self._mark(entry.id).is_file():
                    continue
                told = self.session(entry)
                if time.time() - told["last_access_ts"] > told["expiry"]:
                    self.end(entry, owner)

    def _mark(self, key: str) -> Path:
        return self.library.root / key / "session.json"
