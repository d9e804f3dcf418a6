"""Behind all protocols: finds the session, queues the step on its worker, keeps what it changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from filelock import FileLock, Timeout

from anypet.errors import AnyPETError
from anypet.server.jobs import CancelledError, Job, Jobs
from anypet.server.live import Live, Shown
from anypet.server.metrics import Metrics
from anypet.server.scans import Scan, ScanLibrary
from anypet.server.settings import Settings
from anypet.server.store import Store
from anypet.server.worker import BusyError, Worker
from anypet.session import Progress, Session

if TYPE_CHECKING:
    from anypet.models.base import PromptableModel

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Step(Generic[T]):
    """What came of a step.

    Args:
        live: the session.
        changed: the objects that changed.
        result: what the step returned.
        seconds: from the request to now, the wait included.
    """

    live: Live
    changed: list[Shown]
    result: T
    seconds: float


class Engine:
    """Scans, sessions, workers and jobs of a server.

    Args:
        settings: what the server was told.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(settings.state / "serve.lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise AnyPETError(f"{settings.state} is in use by another server; give --state FOLDER") from error
        self.library = ScanLibrary(settings.state, settings.folder, settings.limits, settings.unit)
        self.store = Store(
            settings.state, self.library, self._session,
            loaded=settings.loaded, idle_s=settings.idle_s, history_bytes=settings.history_bytes,
        )  # fmt: skip
        self.jobs = Jobs()
        self.metrics = Metrics(self)
        self.workers = [
            Worker(f"anypet {device}", done=self.metrics.ran) for device in settings.devices or ("cpu",)
        ]
        self._aside = ThreadPoolExecutor(2, "anypet aside")
        self._models: dict[int, PromptableModel] = {}
        self._nets: dict[int, Any] = {}

    # -- models ----------------------------------------------------------------------------------------------

    def _place(self, key: str) -> int:
        """Which worker a session belongs to: always the same."""
        return int(key[:8], 16) % len(self.workers)

    def worker(self, key: str) -> Worker:
        """The worker of a session."""
        return self.workers[self._place(key)]

    def model(self, place: int = 0) -> PromptableModel:
        """A worker's copy of the model; called on its thread."""
        if place not in self._models:
            given, device = self.settings.model, self.settings.devices[place]
            if isinstance(given, str):
                from anypet.models.registry import load_model

                given = load_model(given, weights=self.settings.weights, device=device)
            self._models[place] = given
        return self._models[place]

    def lesions(self, key: str) -> dict[str, Any]:
        """The arguments of the whole-body networks, loaded once a worker; called on its thread."""
        how = dict(self.settings.lesions)
        if "nets" not in how:
            place = self._place(key)
            if place not in self._nets:
                from anypet.lesions.pipeline import load_nets

                self._nets[place] = load_nets((), self.settings.devices[place])
            how["nets"] = self._nets[place]
        return how

    def _session(self, scan: Scan, key: str) -> Session:
        from anypet.planning import Policy

        policy = Policy(cache_bytes=self.settings.session_bytes)
        return Session(scan.pet, self.model(self._place(key)), policy=policy)

    # -- work ------------------------------------------------------------------------------------------------

    async def create(self, owner: str, scan: Scan, name: str = "", client: str = "rest") -> Live:
        """A new session on a scan."""
        key = self.store.new_id()
        call = self.worker(key).submit(key, lambda: self.store.create(key, owner, scan, name, client))
        return await asyncio.wrap_future(call)  # type: ignore[no-any-return]

    async def live(self, key: str, owner: str) -> Live:
        """A session to read from; loaded if it is not in memory.

        Raises:
            NotFoundError: not there, or somebody else's.
        """
        live = self.store.get(key, owner)
        return await self.call(key, owner, lambda live: live) if live is None else live

    async def call(self, key: str, owner: str, work: Callable[[Live], T]) -> T:
        """Runs something on the session's worker, and keeps what it changed.

        Raises:
            NotFoundError: not there, or somebody else's.
            BusyError: too many requests of this session wait.
            AnyPETError: whatever the session says.
        """
        return (await self.step(key, owner, work)).result

    async def step(
        self,
        key: str,
        owner: str,
        work: Callable[[Live], T],
        kind: str = "others",
    ) -> Step[T]:
        """As `call`, with what changed; `kind` is what the timers count it as."""
        began = time.monotonic()
        self.store.card(key, owner)
        future = self.worker(key).submit(key, lambda: self._work(key, owner, work, kind))
        live, changed, result = await asyncio.wrap_future(future)
        seconds = time.monotonic() - began
        if kind != "others":
            self.metrics.step(kind, seconds)
        return Step(live, changed, result, seconds)

    def _work(
        self,
        key: str,
        owner: str,
        work: Callable[[Live], T],
        kind: str,
    ) -> tuple[Live, list[Shown], T]:
        live = self.store.load(key, owner)
        if self.store.loaded > self.settings.loaded:
            self.sweep()
        try:
            result = work(live)
        except BaseException:
            live.commit()  # a step that failed half way: readers and the disk know what the session knows
            raise
        return live, live.commit(kind), result

    def begin(self, key: str, owner: str, kind: str, work: Callable[[Live, Progress], Any]) -> Job:
        """Queues long work on a session -> the job, whose result is JSON.

        Args:
            work: takes the session and a function to call with tiles done and planned; other sessions' clicks
                are let in there, and a cancelled job ends there.
        """
        self.store.card(key, owner)
        job, worker = self.jobs.begin(owner, kind, key), self.worker(key)

        def progress(done: int, planned: int) -> None:
            job.done, job.planned = done, planned
            if job.cancelled or worker.stopping:
                raise CancelledError("cancelled")
            worker.breathe()

        def run() -> Any:
            live, changed, result = self._work(key, owner, lambda live: work(live, progress), "others")
            return {**result, "objects": [live.tell(shown, changes=True) for shown in changed]}

        try:
            job.future = worker.submit(key, run, long=True)
        except BusyError:
            job.cancel()
            raise
        return job

    def begin_aside(self, owner: str, kind: str, work: Callable[[Progress], Any], session: str = "") -> Job:
        """Queues long work that needs no model and changes no session -> the job, whose result is JSON.

        Args:
            work: takes a function to call with what is done and planned; a cancelled job ends there.
        """
        job = self.jobs.begin(owner, kind, session)

        def progress(done: int, planned: int) -> None:
            job.done, job.planned = done, planned
            if job.cancelled or self.workers[0].stopping:
                raise CancelledError("cancelled")

        job.future = self._aside.submit(work, progress)
        return job

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Loads the models, so that the first click need not wait for them."""
        for place, worker in enumerate(self.workers):
            worker.submit("start", partial(self.model, place))

    def delete(self, key: str, owner: str) -> None:
        """Deletes a session with its history, once what runs on it has ended; not to be called on a worker.

        Raises:
            NotFoundError: not there, or somebody else's.
        """
        self.store.card(key, owner)
        self.jobs.cancel(key)
        self.worker(key).submit(key, lambda: self.store.delete(key, owner)).result()

    def sweep(self) -> None:
        """Lets go of sessions that are not in use."""
        for key in self.store.idle():
            with contextlib.suppress(BusyError):  # then it is in use
                self.worker(key).submit(key, partial(self._let_go, key))

    def _let_go(self, key: str) -> None:
        if key in self.store.idle():  # it may have been used while this waited
            self.store.release(key)

    def stop(self) -> None:
        """Ends the workers; what was answered is on disk."""
        for worker in self.workers:
            worker.stop()
        self._aside.shutdown(cancel_futures=True)
        self._lock.release()
