"""One worker a device: a thread that takes its clients' jobs in turn, and lets short ones into long ones."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from anypet.errors import AnyPETError

log = logging.getLogger(__name__)


class BusyError(AnyPETError):
    """A client has too many jobs waiting, or the server stops; try again later."""


@dataclass
class _Job:
    call: Callable[[], Any]
    future: Future[Any]
    long: bool = False
    waited: float = field(default_factory=time.monotonic)


class Worker:
    """Runs jobs one at a time on a thread of its own.

    Clients take turns, whoever waits; a client's jobs run in their order. A job that lasts calls `breathe`
    now and then, so that other clients' clicks need not wait for its end.

    Args:
        name: of the thread.
        most: jobs that may wait for one client.
        done: called after every job with the seconds it waited and the seconds it ran.
    """

    def __init__(
        self, name: str = "worker", most: int = 64, done: Callable[[float, float], None] | None = None
    ) -> None:
        self.most = most
        self._done = done
        self._queues: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._running: list[str] = []  # innermost last: what breathes is still running
        self._stop = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def submit(self, client: str, call: Callable[[], Any], *, long: bool = False) -> Future[Any]:
        """Queues a job for a client -> a future of what it returns.

        Args:
            client: whose turn it takes.
            call: the job.
            long: whether it may last; such a job is not begun while another one breathes.

        Raises:
            BusyError: the client has too many jobs waiting, or the worker has been stopped.
        """
        future: Future[Any] = Future()
        with self._wake:
            if self._stop:
                raise BusyError("the server is stopping; what was answered is saved")
            queue = self._queues.setdefault(client, deque())
            if len(queue) >= self.most:
                raise BusyError(
                    f"{len(queue)} requests of this session wait already; send them one after another"
                )
            queue.append(_Job(call, future, long))
            self._wake.notify()
        return future

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        with self._wake:
            return sum(len(queue) for queue in self._queues.values())

    def breathe(self) -> None:
        """Runs the short jobs that others wait for; called by a job that lasts, on the worker's thread.

        Jobs of clients that have a job running, this one among them, stay where they are.
        """
        while True:
            with self._wake:
                found = self._next(short=True)
            if found is None:
                return
            self._run(*found)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Ends the job that runs, refuses those that wait, and waits for the thread's end."""
        with self._wake:
            self._stop = True
            jobs = [job for queue in self._queues.values() for job in queue]
            self._queues.clear()
            self._wake.notify()
        for job in jobs:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(BusyError("the server is stopping; what was answered is saved"))
        self._thread.join(timeout_s)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called: a job that lasts should end."""
        return self._stop

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._stop and not self._queues:
                    self._wake.wait()
                if self._stop:
                    return
                found = self._next()
            if found is not None:
                self._run(*found)

    def _next(self, short: bool = False) -> tuple[str, _Job] | None:
        """The client whose turn it is and its oldest job; the client goes to the end of the line."""
        for client in self._queues:
            if client in self._running or (short and self._queues[client][0].long):
                continue
            queue = self._queues.pop(client)
            job = queue.popleft()
            if queue:
                self._queues[client] = queue
            return client, job
        return None

    def _run(self, client: str, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        began = time.monotonic()
        self._running.append(client)
        try:
            job.future.set_result(job.call())
        except BaseException as error:  # the worker outlives any job; the error goes to who waits for it
            job.future.set_exception(error)
        finally:
            self._running.pop()
            if self._done is not None:
                self._done(began - job.waited, time.monotonic() - began)
