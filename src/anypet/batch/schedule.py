"""Which scan goes to which worker next: retries last, suspects alone, never more in hand than is being read.

A worker holds the scan that it computes and at most `ahead` more that it reads meanwhile: that is the
back-pressure. When a worker dies with several scans in hand nobody knows which one killed it, so none is
blamed, and each is tried again in a worker of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence


class Schedule:
    """The scans that are left.

    Args:
        names: in the order wanted.
        failures: failed attempts so far, of scans that have some.
        retries: attempts beyond the first.
        workers: how many there are.
        ahead: scans read beyond the one that is computed, in each worker.
    """

    def __init__(
        self,
        names: Sequence[str],
        failures: Mapping[str, int] | None = None,
        *,
        retries: int = 1,
        workers: int = 1,
        ahead: int = 1,
    ) -> None:
        self.retries, self.workers, self.ahead = retries, workers, ahead
        self._queue = deque(names)
        self._failures = dict(failures or {})
        self._alone: set[str] = set()
        self._held: dict[int, list[str]] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing is waiting and nothing is in hand."""
        return not self._queue and not any(self._held.values())

    def held(self, worker: int) -> tuple[str, ...]:
        """The scans that a worker has."""
        return tuple(self._held.get(worker, ()))

    def next_for(self, worker: int) -> str | None:
        """The scan that a worker is to take now, None if it is to wait; it then has it."""
        held = self._held.setdefault(worker, [])
        if len(held) > self.ahead or any(name in self._alone for name in held):
            return None
        if held and len(self._queue) < self.workers:
            return None  # the last scans are shared out one by one, not read ahead
        for name in self._queue:
            if not held or name not in self._alone:
                self._queue.remove(name)
                held.append(name)
                return name
        return None

    def done(self, worker: int, name: str) -> None:
        """A scan is finished, one way or the other."""
        self._held[worker].remove(name)
        self._alone.discard(name)

    def failed(self, worker: int, name: str, *, alone: bool = False) -> bool:
        """A scan failed -> whether it is given up; else it waits at the end of the queue.

        Args:
            worker, name: who had which scan.
            alone: it took its worker with it, so it is tried again without company.
        """
        self.done(worker, name)
        self._failures[name] = self._failures.get(name, 0) + 1
        given_up = self._failures[name] > self.retries
        if not given_up:
            self._queue.append(name)
            self._alone |= {name} if alone else set()
        return given_up

    def suspect(self, worker: int, name: str) -> None:
        """A scan's worker died while it held others too: it is tried again, alone and unblamed."""
        self.done(worker, name)
        self._alone.add(name)
        self._queue.append(name)
