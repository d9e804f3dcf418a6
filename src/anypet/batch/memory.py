"""How much memory a worker has, and its end when that is too much."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

EVERY_S = 0.05
_STATUS = Path("/proc/self/status")


def resident_bytes(peak: bool = False) -> int:
    """Physical memory of this process in bytes, now or at its highest; 0 where Linux's /proc is not there."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(wanted):
                return 1024 * int(line.split()[1])
    return 0


class MemoryWatch:
    """Looks at this process's memory twenty times a second, in a thread of its own.

    Args:
        limit: bytes; 0 for none.
        above: called once, with the bytes found, when there is more than that.
    """

    def __init__(self, limit: int, above: Callable[[int], None]) -> None:
        self.limit, self._above = limit, above
        self._stop = threading.Event()
        if limit:
            threading.Thread(target=self._look, name="memory", daemon=True).start()

    def stop(self) -> None:
        """Looks no more."""
        self._stop.set()

    def _look(self) -> None:
        while not self._stop.wait(EVERY_S):
            found = resident_bytes()
            if found > self.limit:
                self._above(found)
                return


def leave(code: int = 1) -> None:
    """Ends this process at once, whatever its other threads do."""
    os._exit(code)
