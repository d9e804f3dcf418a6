"""Work that takes longer than a click: begun, watched, cancelled, and its result fetched."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from anypet.errors import AnyPETError
from anypet.server.scans import NotFoundError

KEPT = 200


class CancelledError(AnyPETError):
    """The client does not want the result any more."""


@dataclass
class Job:
    """One piece of long work.

    Args:
        id, owner: who may ask for it.
        kind, session: what it does, and to which session.
        done, planned: progress, in tiles; 0 planned means that it is not known yet.
        future: of the result, JSON.
        cancelled: whether the client gave it up.
    """

    id: str
    owner: str
    kind: str
    session: str
    future: Future[Any]
    done: int = 0
    planned: int = 0
    cancelled: bool = False
    began: float = field(default_factory=time.monotonic)

    def told(self) -> dict[str, Any]:
        """The job for a client: state "running", "done", "failed" or "cancelled"."""
        told: dict[str, Any] = {
            "id": self.id, "kind": self.kind, "session": self.session, "state": "running",
            "done": self.done, "planned": self.planned, "seconds": round(time.monotonic() - self.began, 1),
        }  # fmt: skip
        if not self.future.done():
            return told
        if self.future.cancelled():
            return {**told, "state": "cancelled", "error": "cancelled"}
        error = self.future.exception()
        if error is None:
            return {**told, "state": "done", "result": self.future.result()}
        known = isinstance(error, AnyPETError)
        message = str(error) if known else "the server failed; its log says why"
        return {
            **told,
            "state": "cancelled" if isinstance(error, CancelledError) else "failed",
            "error": message,
        }

    def cancel(self) -> None:
        """Takes it out of the queue, or ends it at its next tile."""
        self.cancelled = True
        self.future.cancel()


class Jobs:
    """The jobs that were begun, the newest `KEPT` of them."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def begin(self, owner: str, kind: str, session: str) -> Job:
        """A job whose work is not queued yet."""
        job = Job(secrets.token_hex(16), owner, kind, session, Future())
        self._jobs[job.id] = job
        done = [key for key, known in self._jobs.items() if known.future.done()]
        for key in done[: max(0, len(self._jobs) - KEPT)]:
            del self._jobs[key]
        return job

    def cancel(self, session: str) -> None:
        """Cancels the jobs on a session."""
        for job in list(self._jobs.values()):
            if job.session == session:
                job.cancel()

    def get(self, key: str, owner: str) -> Job:
        """A job of this owner.

        Raises:
            NotFoundError: not there, or somebody else's.
        """
        job = self._jobs.get(key)
        if job is None or job.owner != owner:
            raise NotFoundError(f"there is no job {key[:40]!r}")
        return job

    @property
    def running(self) -> int:
        """Jobs that have not ended."""
        return sum(not job.future.done() for job in self._jobs.values())

    async def wait(self, job: Job, seconds: float) -> None:
        """Waits until a job has ended or moved on, or the time is over."""
        until, seen = time.monotonic() + seconds, job.done
        while time.monotonic() < until and not job.future.done() and job.done == seen:
            await asyncio.sleep(0.05)
