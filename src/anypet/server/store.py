"""The sessions of the server: all of them on disk, those in use in memory.

A session is a folder: session.json (whose it is, on which scan, with which model) and its journal.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anypet.errors import AnyPETError
from anypet.files import write_whole
from anypet.server.arrays import ArrayCache
from anypet.server.journal import Journal
from anypet.server.live import Live
from anypet.server.scans import NotFoundError, Scan, ScanLibrary
from anypet.session import Session

log = logging.getLogger(__name__)
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Card:
    """What session.json says.

    Args:
        id: 32 hex digits, not to be guessed.
        owner, name: whose it is, and what people call it.
        scan, sha256: the scan's id, and its voxels' SHA-256: a session belongs to them.
        model: registry name.
        client: what made it: "rest", "nninteractive", "monailabel".
        created: seconds since the epoch.
    """

    id: str
    owner: str
    name: str
    scan: str
    sha256: str
    model: str
    client: str
    created: float


class Store:
    """Sessions by id.

    Args:
        state: folder of the server.
        library: where their scans are.
        make: a new session on a scan, for the session's id.
        loaded: sessions in memory at most.
        idle_s: seconds after which an unused one is let go.
        history_bytes: memory for the arrays of all histories.
    """

    def __init__(
        self,
        state: Path,
        library: ScanLibrary,
        make: Callable[[Scan, str], Session],
        *,
        loaded: int = 16,
        idle_s: float = 1800.0,
        history_bytes: int = 256 * 2**20,
    ) -> None:
        self.root = state / "sessions"
        self.root.mkdir(parents=True, exist_ok=True)
        self.library = library
        self.cache = ArrayCache(history_bytes)
        self._make = make
        self._most, self._idle_s = loaded, idle_s
        self._cards: dict[str, Card] = {}
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._lock = threading.RLock()
        for path in self.root.iterdir():
            self._index(path)

    def _index(self, path: Path) -> None:
        try:
            card = Card(**json.loads((path / "session.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s: not a session of this version, left alone: %s", path, error)
            return
        if _ID.fullmatch(path.name) and card.id == path.name:
            self._cards[card.id] = card

    # -- which there are -------------------------------------------------------------------------------------

    def cards(self, owner: str) -> list[Card]:
        """The owner's sessions, newest first."""
        with self._lock:
            own = [card for card in self._cards.values() if card.owner == owner]
        return sorted(own, key=lambda card: -card.created)

    def card(self, key: str, owner: str) -> Card:
        """One of them.

        Raises:
            NotFoundError: not there, or somebody else's.
        """
        card = self._cards.get(key)
        if card is None or card.owner != owner:
            raise NotFoundError(f"there is no session {key[:40]!r}")
        return card

    @property
    def loaded(self) -> int:
        """Sessions in memory."""
        return len(self._live)

    @property
    def count(self) -> int:
        """Sessions on disk."""
        return len(self._cards)

    @property
    def nbytes(self) -> int:
        """Memory for embeddings, maps and histories."""
        with self._lock:
            return self.cache.nbytes + sum(live.session.nbytes for live in self._live.values())

    # -- making, opening, closing ----------------------------------------------------------------------------

    @staticmethod
    def new_id() -> str:
        """An id that nobody guesses."""
        return secrets.token_hex(16)

    def create(self, key: str, owner: str, scan: Scan, name: str = "", client: str = "rest") -> Live:
        """A new session on a scan, under a new id; on disk at once."""
        session = self._make(scan, key)
        card = Card(
            key,
            owner,
            name or scan.entry.name,
            scan.entry.id,
            scan.sha256,
            session.model_name,
            client,
            time.time(),
        )
        folder = self.root / key
        folder.mkdir()
        live = Live(key, owner, card.name, scan, session, Journal(folder, self.cache), {})
        live.commit()
        write_whole(folder / "session.json", json.dumps(asdict(card)))
        with self._lock:
            self._cards[key] = card
            self._live[key] = live
        return live

    def get(self, key: str, owner: str) -> Live | None:
        """A session that is in memory, or None.

        Raises:
            NotFoundError: not there, or somebody else's.
        """
        self.card(key, owner)
        with self._lock:
            live = self._live.get(key)
            if live is not None:
                self._live.move_to_end(key)
                live.used = time.monotonic()
            return live

    def load(self, key: str, owner: str) -> Live:
        """A session, read from its journal if it is not in memory.

        Raises:
            NotFoundError: not there, or somebody else's.
            AnyPETError: its scan is gone or has changed, or the journal is damaged.
        """
        live = self.get(key, owner)
        if live is not None:
            return live
        card = self._cards[key]
        scan = self.library.open(card.scan, owner)
        if scan.sha256 != card.sha256:
            raise AnyPETError(
                f"session {card.name!r} was made on other voxels than {scan.entry.name!r} has now; "
                "put the old file back, or begin a new session"
            )
        journal = Journal(self.root / key, self.cache)
        restored = journal.read(scan.pet)
        session = self._make(scan, key)
        if restored.objects:
            session.restore(restored.objects, restored.selected)
        live = Live(key, owner, card.name, scan, session, journal, restored.extra)
        with self._lock:
            self._live[key] = live
        return live

    def delete(self, key: str, owner: str) -> None:
        """Deletes a session with its history.

        Raises:
            NotFoundError: not there, or somebody else's.
        """
        self.card(key, owner)
        with self._lock:
            del self._cards[key]
        self.release(key)
        shutil.rmtree(self.root / key, ignore_errors=True)

    def release(self, key: str) -> None:
        """Lets a session go from memory; it is on disk."""
        with self._lock:
            self._live.pop(key, None)
        self.cache.forget(self.root / key / "arrays.bin")

    def idle(self) -> list[str]:
        """The sessions to let go: unused for long, or the least recently used ones of too many."""
        now = time.monotonic()
        with self._lock:
            known = list(self._live.values())
        old = [live.id for live in known if now - live.used > self._idle_s]
        rest = [live.id for live in known if live.id not in old]
        return old + rest[: max(0, len(rest) - self._most)]

    def told(self, card: Card) -> dict[str, Any]:
        """A session for a list."""
        return {**asdict(card), "loaded": card.id in self._live}
