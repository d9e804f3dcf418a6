"""How long each object took its reader: a clock for each, started and stopped by the page, and its table."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping
from typing import Any

Json = dict[str, Any]
KINDS = ("points", "scribbles", "boxes", "masks", "undos", "others")


class Timers:
    """Seconds of work and counts of prompts by object.

    A clock that runs when the server stops has run until the object's last prompt.

    Args:
        kept: what `state` gave before.
        now: seconds since the epoch.
    """

    def __init__(self, kept: Mapping[str, Any] | None = None, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._rows: dict[str, Json] = {}
        for name, row in (kept or {}).items():
            since, last = row["since"], row["last"]
            ran = max(0.0, last - since) if since is not None and last is not None else 0.0
            self._rows[name] = {**row, "seconds": row["seconds"] + ran, "since": None}

    def start(self, name: str) -> None:
        """Starts an object's clock and stops the others': one object is worked on at a time."""
        for other in self._rows:
            if other != name:
                self.stop(other)
        row = self._row(name)
        if row["since"] is None:
            row["since"] = self._now()

    def stop(self, name: str) -> None:
        """Stops an object's clock, if it runs."""
        row = self._row(name)
        if row["since"] is not None:
            row["seconds"] += self._now() - row["since"]
            row["since"] = None

    def count(self, name: str, kind: str) -> None:
        """Counts a prompt of one of `KINDS` on an object."""
        row = self._row(name)
        row[kind if kind in KINDS else "others"] += 1
        row["first"] = row["first"] or self._now()
        row["last"] = self._now()

    def renamed(self, name: str, new: str) -> None:
        """An object has another name from now on."""
        if name in self._rows:
            self._rows = {new if key == name else key: row for key, row in self._rows.items()}

    def seconds(self, name: str) -> float:
        """Seconds until now."""
        row = self._rows.get(name)
        if row is None:
            return 0.0
        return float(row["seconds"]) + (0.0 if row["since"] is None else self._now() - row["since"])

    def running(self, name: str) -> bool:
        """Whether the object's clock runs."""
        return name in self._rows and self._rows[name]["since"] is not None

    def state(self) -> Json:
        """Everything, for JSON."""
        return {name: dict(row) for name, row in self._rows.items()}

    def table(self, volumes_ml: Mapping[str, float]) -> str:
        """CSV (RFC 4180): a row an object; times are UTC, ISO 8601. Names that a spreadsheet would take for a
        formula get an apostrophe before them.
        """
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["object", "seconds", *KINDS, "first_prompt", "last_prompt", "volume_ml"])
        for name, row in self._rows.items():
            volume = f"{volumes_ml[name]:.3f}" if name in volumes_ml else ""
            times = [_iso(row["first"]), _iso(row["last"])]
            counts = [row[kind] for kind in KINDS]
            writer.writerow([plain(name), f"{self.seconds(name):.1f}", *counts, *times, volume])
        return out.getvalue()

    def _row(self, name: str) -> Json:
        empty = {"seconds": 0.0, "since": None, "first": None, "last": None, **dict.fromkeys(KINDS, 0)}
        return self._rows.setdefault(name, empty)


def plain(name: str) -> str:
    """A name that a spreadsheet does not compute (CWE-1236)."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name


def _iso(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
