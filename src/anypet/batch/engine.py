"""The driver of a batch: gives scans to Ray's workers, keeps what comes back, replaces workers that die."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anypet.batch.cases import BatchCase
from anypet.batch.cluster import placement, ray_for
from anypet.batch.index import write_index
from anypet.batch.ledger import Json, Ledger
from anypet.batch.schedule import Schedule
from anypet.batch.tasks import Task
from anypet.batch.worker import LAST_WORDS, Report, Worker, WorkerSettings, now
from anypet.errors import AnyPETError

log = logging.getLogger(__name__)
_INDEX_EVERY_S = 60.0
_STARTS = 3  # times in a row that a worker may die before it is ready


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is run; nothing here changes results, so a batch may be resumed with others.

    Args:
        workers: processes, each with the networks loaded once.
        gpus_per_worker: below 1 several share a GPU; 0 for the processor.
        address: of a Ray cluster; None for this machine alone.
        memory_gb: bound of each worker (10^9 bytes); None for none.
        retries: attempts at a scan beyond the first.
        ahead: scans that a worker reads while it computes one.
        retry_failed: try scans again that earlier runs gave up.
        resume: whether a batch begun in the same folder may be continued.

    Raises:
        AnyPETError: a number makes no sense.
    """

    workers: int = 1
    gpus_per_worker: float = 0.0
    address: str | None = None
    memory_gb: float | None = None
    retries: int = 1
    ahead: int = 1
    retry_failed: bool = False
    resume: bool = True

    def __post_init__(self) -> None:
        least = {"workers": 1, "gpus_per_worker": 0, "retries": 0, "ahead": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise AnyPETError(f"{name} is {getattr(self, name)}, must be {low} or more")
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise AnyPETError(f"memory_gb is {self.memory_gb}, must be more than 0")
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise AnyPETError(f"gpus_per_worker is {self.gpus_per_worker}; above 1 it must be a whole number")

    @property
    def memory_bytes(self) -> int:
        """The bound in bytes, 0 for none."""
        return int(1e9 * (self.memory_gb or 0))


@dataclass(frozen=True)
class Outcome:
    """One scan that is finished or given up.

    Args:
        name: of the case.
        record: content of its record.json, None if it was given up.
        error: why it was given up, "" if it was not.
        left: scans of the batch that are neither finished nor given up.
    """

    name: str
    record: Json | None
    error: str
    left: int


def run_batch(
    cases: Sequence[BatchCase], task: Task, output: Path | str, options: BatchOptions | None = None
) -> Iterator[Outcome]:
    """Does a task on every case, yielding each as it is finished; those finished earlier are left alone.

    The folder is as `anypet.batch.ledger` describes. Stopping in the middle, by an exception, by closing the
    iterator or by killing the process, loses the scans in work and nothing else.

    Raises:
        AnyPETError: the folder holds another batch or belongs to another process, Ray or the workers do not
            start, or another run took the folder over.
    """
    options = options or BatchOptions()
    ledger = Ledger(output, task.settings(), cases, resume=options.resume)
    try:
        driver = _Driver(ledger, task, options)
        write_index(ledger, driver.records)
        if not driver.schedule.is_over:
            with ray_for(options.address) as ray:
                yield from driver.run(ray)
    finally:
        try:
            if ledger.is_held:
                write_index(ledger)
        finally:
            ledger.close()


@dataclass(eq=False)
class _Hand:
    """One of the places for workers, and the actor that fills it now."""

    number: int
    actor: Any = None
    ready: bool = False
    worn: bool = False
    calls: dict[Any, tuple[str, int]] = field(default_factory=dict)  # Ray's reference -> case, ticket


class _Driver:
    """The loop of `run_batch`."""

    def __init__(self, ledger: Ledger, task: Task, options: BatchOptions) -> None:
        self.ledger, self.task, self.options = ledger, task, options
        self.cases = {case.name: case for case in ledger.cases}
        self.records = ledger.records()
        self.failures: dict[str, int] = {}
        for name in self.cases:
            if options.retry_failed and name not in self.records:
                ledger.forget_failures(name)
            self.failures[name] = len(ledger.attempts(name))
        todo = [n for n in self.cases if n not in self.records and self.failures[n] <= options.retries]
        workers = max(1, min(options.workers, len(todo)))
        self.left = len(todo)
        self.schedule = Schedule(
            todo, self.failures, retries=options.retries, workers=workers, ahead=options.ahead
        )
        self.hands = [_Hand(number) for number in range(workers)]
        self.tickets = 0
        self.deaths = 0  # before being ready, in a row
        self.indexed = time.monotonic()

    def run(self, ray: Any) -> Iterator[Outcome]:
        """Until nothing is left; a `finally` of the caller disconnects Ray, which ends the actors."""
        self.ray = ray
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        o = self.options
        threads = placement(nodes, len(self.hands), o.gpus_per_worker, o.memory_bytes)
        device = "cuda" if o.gpus_per_worker else "cpu"
        settings = WorkerSettings(device, threads, o.memory_bytes)
        resources: dict[str, Any] = {"num_cpus": threads, "num_gpus": o.gpus_per_worker}
        if o.memory_bytes:
            resources["memory"] = o.memory_bytes
        made = ray.remote(Worker).options(
            **resources, max_concurrency=o.ahead + 1, max_restarts=0, max_task_retries=0
        )
        desk, task = self.ledger.desk, ray.put(self.task)
        self.new_actor = lambda: made.remote(desk, task, settings)
        for hand in self.hands:
            self._fill(hand)
        while not self.schedule.is_over:
            self._give_out()
            waiting = [ref for hand in self.hands for ref in hand.calls]
            ready, _ = ray.wait(waiting, num_returns=1, timeout=5.0)
            if not ready and not self.ledger.is_held:
                raise AnyPETError(f"{self.ledger.root}: another run took over; this one stops")
            for ref in ready:
                hand = next(one for one in self.hands if ref in one.calls)
                yield from self._answer(hand, ref)
            if time.monotonic() - self.indexed > _INDEX_EVERY_S:
                write_index(self.ledger, self.records)
                self.indexed = time.monotonic()

    def _fill(self, hand: _Hand) -> None:
        """Puts a new worker in a place."""
        hand.actor, hand.ready, hand.worn = self.new_actor(), False, False
        hand.calls = {hand.actor.ready.remote(): ("", 0)}

    def _give_out(self) -> None:
        """Every worker takes one scan before any takes a second."""
        for _ in range(self.options.ahead + 1):
            for hand in self.hands:
                if not hand.ready or hand.worn:
                    continue
                name = self.schedule.next_for(hand.number)
                if name is not None:
                    self.tickets += 1
                    attempt = self.failures[name] + 1
                    ref = hand.actor.do.remote(self.cases[name], self.tickets, attempt)
                    hand.calls[ref] = (name, self.tickets)

    def _answer(self, hand: _Hand, ref: Any) -> Iterator[Outcome]:
        """What came back for one call."""
        name, _ = hand.calls[ref]
        try:
            report = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            yield from self._mourn(hand, error)
            return
        del hand.calls[ref]
        if not name:
            hand.ready, self.deaths = True, 0
            log.info("worker %d is ready on %s", hand.number, report)
            return
        yield from self._take(hand, report)
        if hand.worn and not hand.calls and not self.schedule.is_over:
            log.info("worker %d is replaced", hand.number)
            self.ray.kill(hand.actor)
            self._fill(hand)

    def _take(self, hand: _Hand, report: Report, alone: bool = False) -> Iterator[Outcome]:
        """The report on one attempt."""
        if report.superseded:
            raise AnyPETError(report.error)
        hand.worn = hand.worn or report.worn
        record = report.record or self.ledger.record(report.name)
        if record is not None:
            self.schedule.done(hand.number, report.name)
            self.ledger.forget_failures(report.name)
            self.records[report.name] = record
        else:
            self.failures[report.name] = self.ledger.add_failure(report.name, report.as_failure())
            log.info("%s failed: %s", report.name, report.error)
            if not self.schedule.failed(hand.number, report.name, alone=alone):
                return
        self.left -= 1
        yield Outcome(report.name, record, "" if record else report.error, self.left)

    def _mourn(self, hand: _Hand, error: Exception) -> Iterator[Outcome]:
        """A worker died, or cannot be reached: what it had finished counts, the rest is tried again."""
        self.ray.kill(hand.actor)
        calls, was_ready = dict(hand.calls), hand.ready
        lost: list[tuple[str, int]] = []
        for ref, (name, ticket) in calls.items():
            if not name:
                continue
            try:
                yield from self._take(hand, self.ray.get(ref, timeout=10.0))
            except self.ray.exceptions.RayError:
                if self.ledger.record(name) is not None:  # published, only the answer was lost
                    yield from self._take(hand, Report(name))
                else:
                    lost.append((name, ticket))
        for name, ticket in lost:
            if len(lost) > 1:
                self.schedule.suspect(hand.number, name)
            else:
                yield from self._take(hand, self._last_words(name, ticket, error), alone=True)
        if not was_ready:
            self.deaths += 1
            # an exception while the networks were loaded would come again
            if self.deaths >= _STARTS or getattr(error, "actor_init_failed", False):
                raise AnyPETError(f"the workers do not start: {_cause(error)}") from error
        self._fill(hand)

    def _last_words(self, name: str, ticket: int, error: Exception) -> Report:
        """Why a worker died with one scan at hand, as far as can be known."""
        place = self.ledger.desk.scratch(name, ticket) / LAST_WORDS
        try:
            told = json.loads(place.read_text())["error"]
        except (OSError, ValueError, KeyError):
            told = f"the worker died at this scan: {_cause(error)}"
        return Report(name, error=told, traceback=f"{now()} {error}")


def _cause(error: Exception) -> str:
    """The last line of what Ray says, which is the error itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
