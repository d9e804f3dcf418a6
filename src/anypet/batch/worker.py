"""A worker: it loads the networks once, then does scan after scan. An ordinary class; Ray makes actors of it.

Two threads call `do`: while one computes, the other reads the next scan or writes the last one. One at a time
computes, so a worker never holds more scans than it has threads.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import platform
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anypet._version import __version__
from anypet.batch.cases import BatchCase
from anypet.batch.ledger import Desk, SupersededError
from anypet.batch.memory import MemoryWatch, leave, resident_bytes
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.batch.tasks import Task

LAST_WORDS = "died.json"
_LIVELY = 0.8  # of the memory bound; a worker that keeps more than this between scans is replaced


@dataclass(frozen=True)
class Report:
    """What a worker says of one attempt at a scan.

    Args:
        name: of the case.
        record: what was written beside the files, None if the attempt failed.
        error: one line; "" if it did not fail.
        traceback: of the error.
        seconds: of the attempt, waiting included.
        superseded: the run is over, nothing more is to be done in it.
        worn: the worker should be replaced: it keeps too much memory, or its GPU may be in a bad state.
        peak_mb: the highest memory of the worker so far, MB.
        node: the worker's machine.
    """

    name: str
    record: dict[str, Any] | None = None
    error: str = ""
    traceback: str = ""
    seconds: float = 0.0
    superseded: bool = False
    worn: bool = False
    peak_mb: int = 0
    node: str = ""

    def as_failure(self) -> dict[str, Any]:
        """For the list of failed attempts."""
        return {
            "error": self.error, "traceback": self.traceback, "seconds": round(self.seconds, 2),
            "node": self.node, "when": now(),
        }  # fmt: skip


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker works; nothing here changes results.

    Args:
        device: "cpu" or "cuda".
        threads: of the processor, for the networks.
        memory_bytes: its bound, 0 for none.
        version: of the AnyPET that drives the batch.
    """

    device: str = "cpu"
    threads: int = 1
    memory_bytes: int = 0
    version: str = field(default=__version__)


class Worker:
    """See the module.

    Args:
        desk: where it writes.
        task: what it does.
        settings: how.

    Raises:
        AnyPETError: this machine has another version of AnyPET, or the networks cannot be loaded.
    """

    def __init__(self, desk: Desk, task: Task, settings: WorkerSettings) -> None:
        if settings.version != __version__:
            raise AnyPETError(
                f"{platform.node()} has AnyPET {__version__}, the batch is driven by {settings.version}; "
                "install the same on all machines"
            )
        self.desk, self.task, self.settings = desk, task, settings
        with share_of_threads(settings.threads):
            self._networks = task.load(settings.device)
        self._computing = threading.Lock()
        self._at_work: dict[str, int] = {}  # case -> ticket
        self._watch = MemoryWatch(settings.memory_bytes, self._give_up)

    def ready(self) -> str:
        """The name of this machine, once the networks are loaded."""
        return platform.node()

    def do(self, case: BatchCase, ticket: int, attempts: int) -> Report:
        """One attempt at a scan; an error of whatever kind is reported, not raised.

        Args:
            case: the scan.
            ticket: of the attempt, see `Desk.begin`.
            attempts: which attempt it is, from 1.
        """
        started = time.monotonic()
        self._at_work[case.name] = ticket
        record, error, trace, superseded, worn = None, "", "", False, False
        try:
            with warnings_of_this_thread() as warnings:
                record = self._done(case, ticket, attempts, started, warnings)
        except SupersededError as one:
            error, superseded = str(one), True
        except Exception as one:  # a batch of thousands goes on whatever one scan does
            known = isinstance(one, AnyPETError)
            error = str(one) if known else f"{type(one).__name__}: {one}"
            # a fault on a GPU may spoil whatever this process does there from now on
            worn = not known and self.settings.device != "cpu"
            trace = traceback.format_exc()
        finally:
            del self._at_work[case.name]
        if record is None:  # half a result takes no room
            shutil.rmtree(self.desk.scratch(case.name, ticket), ignore_errors=True)
        gc.collect()
        bound = self.settings.memory_bytes
        worn = worn or (bound > 0 and resident_bytes() > _LIVELY * bound)
        return Report(
            case.name, record, error.strip() or ("failed" if record is None else ""), trace,
            time.monotonic() - started, superseded, worn, _peak_mb(),
            platform.node(),
        )  # fmt: skip

    def _done(
        self, case: BatchCase, ticket: int, attempts: int, started: float, warnings: list[str]
    ) -> dict[str, Any] | None:
        """Reads, computes, writes and publishes -> the record, None if another attempt was quicker."""
        folder = self.desk.begin(case.name, ticket)
        scan = self.task.read(case)
        was_read = time.monotonic()
        with self._computing:
            begun = time.monotonic()
            found = self.task.compute(self._networks, scan, case)
            computed = time.monotonic()
        done = self.task.write(found, scan, case, folder)
        seconds = {
            "read": was_read - started, "wait": begun - was_read, "compute": computed - begun,
            "write": time.monotonic() - computed,
        }  # fmt: skip
        record = {
            "case": case.name, "patient": case.patient, "image": case.image, "status": "done",
            "seconds": round(sum(seconds.values()) - seconds["wait"], 3),
            "phases": {name: round(value, 3) for name, value in seconds.items()},
            "attempts": attempts, "outputs": sorted(p.name for p in folder.iterdir()),
            "measures": done.measures, "tracer": done.tracer, "model": self.task.model,
            "version": __version__, "warnings": warnings, "run": self.desk.run, "node": platform.node(),
            "device": self.settings.device, "peak_mb": _peak_mb(), "finished": now(),
        }  # fmt: skip
        return record if self.desk.publish(case.name, ticket, record) else None

    def _give_up(self, found: int) -> None:
        """Says why in the folders of the scans at hand, then ends the process."""
        bound = self.settings.memory_bytes
        error = f"needs more memory than the worker may have: {found / 1e9:.2f} GB of {bound / 1e9:.2f} GB"
        for name, ticket in list(self._at_work.items()):
            place = self.desk.scratch(name, ticket)
            if place.is_dir():
                (place / LAST_WORDS).write_text(json.dumps({"error": error, "peak_mb": found // 10**6}))
        leave()


@contextmanager
def warnings_of_this_thread() -> Iterator[list[str]]:
    """Collects what the library logs as a warning in this thread: what it had to guess about this scan."""
    found: list[str] = []
    thread = threading.get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                found.append(record.getMessage())

    handler = Collector(logging.WARNING)
    log = logging.getLogger("anypet")
    log.addHandler(handler)
    try:
        yield found
    finally:
        log.removeHandler(handler)


def now() -> str:
    """The time in ISO format, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _peak_mb() -> int:
    return resident_bytes(peak=True) // 10**6


@contextmanager
def share_of_threads(threads: int) -> Iterator[None]:
    """No more threads than the worker's share of the machine, or the workers fight for it.

    Libraries that are loaded inside, or later, read the environment; torch may have been loaded before.
    """
    os.environ["OMP_NUM_THREADS"] = os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
