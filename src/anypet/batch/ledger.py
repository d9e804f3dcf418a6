"""What a batch has done, on disk: each scan's folder appears whole or not at all, and never twice.

```
OUT/batch.json          settings and cases: what may be resumed
OUT/cases/NAME/         a finished scan: the task's files and record.json
OUT/failed/NAME.json    its attempts that failed, each with its traceback
OUT/index.parquet       one row a scan
OUT/.work/RUN/          where the running process's workers write; RUN is new for each run
```

A scan is finished by one rename, from the run's own folder into `cases/`. A new run first renames the folders
of all older runs away: from then on a worker that outlived its killed driver has nothing to rename, so it
cannot publish any more. That one rename is the fence; the lock only gives a second driver a clear message.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anypet._version import __version__
from anypet.batch.cases import BatchCase
from anypet.errors import AnyPETError
from anypet.files import write_whole

Json = dict[str, Any]
RECORD = "record.json"
_SHOWN = 3


class SupersededError(AnyPETError):
    """The run that a worker belongs to is over, or another has taken the output folder."""


@dataclass(frozen=True)
class Desk:
    """Where the workers of one run write; small, so that it travels to them.

    Args:
        root: the output folder, absolute.
        run: the run's name.
    """

    root: Path
    run: str

    def begin(self, name: str, ticket: int) -> Path:
        """A new, empty folder for one attempt at a scan.

        Args:
            name: of the case.
            ticket: different for every attempt of the run, so that no two write in one folder.

        Raises:
            SupersededError: the run's folder is not there.
        """
        scratch = self.scratch(name, ticket)
        try:
            scratch.mkdir()
        except FileNotFoundError:
            raise SupersededError(
                f"{self.root}: run {self.run} no longer has it: another run took over, "
                "or this machine does not share the folder with the one that started the batch"
            ) from None
        return scratch

    def scratch(self, name: str, ticket: int) -> Path:
        """The folder of an attempt."""
        return self.root / ".work" / self.run / f"{name}.{ticket}"

    def publish(self, name: str, ticket: int, record: Mapping[str, Any]) -> bool:
        """Moves an attempt's folder to its place, with its record -> whether it was the first to get there.

        Raises:
            SupersededError: the run's folder is no longer there.
        """
        scratch, place = self.scratch(name, ticket), self.root / "cases" / name
        try:
            write_whole(scratch / RECORD, json.dumps(record, indent=1) + "\n")
            for path in (*sorted(scratch.rglob("*")), scratch):
                _to_disk(path)  # else a power cut could leave a renamed folder of empty files
            os.rename(scratch, place)
        except (OSError, AnyPETError) as error:
            if (place / RECORD).is_file():
                shutil.rmtree(scratch, ignore_errors=True)
                return False
            if not scratch.is_dir():
                raise SupersededError(
                    f"{self.root}: run {self.run} no longer has it: another took over"
                ) from None
            raise AnyPETError(f"{place}: cannot be written: {error}") from error
        return True


class Ledger:
    """The output folder of a batch, held by the one process that drives it.

    Args:
        root: the folder; made if it is not there.
        settings: all that the results depend on, JSON.
        cases: what is to be done.
        resume: whether a batch that was begun here may be continued.

    Raises:
        AnyPETError: another process is at work here, other settings or cases were begun here, or the folder
            holds something else.
    """

    def __init__(
        self,
        root: Path | str,
        settings: Mapping[str, Any],
        cases: Sequence[BatchCase],
        *,
        resume: bool = True,
    ) -> None:
        self.root = Path(root).expanduser().absolute()
        self.cases = tuple(cases)
        if self.root.exists() and not self.root.is_dir():
            raise AnyPETError(f"{self.root} is a file; the output is a folder")
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.root)
        try:
            self._check(settings, resume)
            self.desk = self._take_over()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Ends the run: what its workers had not finished is gone, and the folder is free."""
        work = self.root / ".work"
        shutil.rmtree(work / self.desk.run, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: another run took over where locks do not work
            work.rmdir()
        self._lock.release()

    @property
    def is_held(self) -> bool:
        """Whether no other run has taken over since."""
        return (self.root / ".work" / self.desk.run).is_dir()

    def record(self, name: str) -> Json | None:
        """What was written when a scan was finished; None as long as it is not."""
        return _read(self.root / "cases" / name / RECORD)

    def records(self) -> dict[str, Json]:
        """The records of all finished scans, in the order of the cases."""
        found = ((case.name, self.record(case.name)) for case in self.cases)
        return {name: record for name, record in found if record is not None}

    def attempts(self, name: str) -> list[Json]:
        """The failed attempts at a scan, oldest first."""
        told = _read(self.root / "failed" / f"{name}.json")
        return [] if told is None else list(told["attempts"])

    def add_failure(self, name: str, attempt: Mapping[str, Any]) -> int:
        """Keeps a failed attempt -> how many there are now."""
        attempts = [*self.attempts(name), {**attempt, "run": self.desk.run}]
        (self.root / "failed").mkdir(exist_ok=True)
        text = json.dumps({"case": name, "attempts": attempts}, indent=1) + "\n"
        write_whole(self.root / "failed" / f"{name}.json", text)
        return len(attempts)

    def forget_failures(self, name: str) -> None:
        """A scan that failed may be tried as if it never had been."""
        (self.root / "failed" / f"{name}.json").unlink(missing_ok=True)

    def _check(self, settings: Mapping[str, Any], resume: bool) -> None:
        """Begins the batch, or makes sure that it is the one begun here."""
        asked: Json = json.loads(
            json.dumps(
                {"settings": {"anypet": __version__, **settings}, "cases": [c.as_json() for c in self.cases]}
            )
        )
        path = self.root / "batch.json"
        begun = _read(path)
        if begun is None:
            others = sorted(p.name for p in self.root.iterdir() if p.name not in (".lock", ".work"))
            if others:
                raise AnyPETError(
                    f"{self.root} holds {', '.join(others[:_SHOWN])} and no batch; give a new or empty folder"
                )
            (self.root / "cases").mkdir(exist_ok=True)
            write_whole(path, json.dumps(asked, indent=1) + "\n")
            return
        if not resume:
            raise AnyPETError(f"{self.root} holds a batch already; leave --resume on, or give another folder")
        changes = differences(begun, asked)
        if changes:
            raise AnyPETError(
                f"{self.root} holds another batch: {'; '.join(changes)}; "
                "give another folder, or the settings and the list that it was begun with"
            )

    def _take_over(self) -> Desk:
        """Revokes older runs, sweeps up after them, and makes this run's folder."""
        work = self.root / ".work"
        work.mkdir(exist_ok=True)
        run = uuid.uuid4().hex[:12]
        for old in list(work.iterdir()):
            gone = work / f"old-{uuid.uuid4().hex[:12]}"
            os.rename(old, gone)  # the fence, see above
            shutil.rmtree(gone, ignore_errors=True)
        (work / run).mkdir()
        (self.root / "cases").mkdir(exist_ok=True)
        return Desk(self.root, run)


def differences(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What is not the same in two contents of batch.json, a sentence each."""
    old, new = begun["settings"], asked["settings"]
    changes = [
        f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]
    before, now = ({case["name"]: case for case in one["cases"]} for one in (begun, asked))
    for word, names in (
        ("gone from the list", [n for n in before if n not in now]),
        ("new in the list", [n for n in now if n not in before]),
        ("changed in the list", [n for n in now if n in before and now[n] != before[n]]),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            changes.append(f"{word}: {', '.join(names[:_SHOWN])}{more}")
    return changes


def _locked(root: Path) -> Any:
    """A lock that the system takes back when this process dies, however it does."""
    from filelock import FileLock, Timeout

    lock = FileLock(root / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AnyPETError(f"another process is at work on {root}; wait for it, or end it first") from None
    return lock


def _read(path: Path) -> Json | None:
    try:
        content: Json = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise AnyPETError(f"{path} is damaged: {error}; delete it to have its part done again") from error
    return content


def _to_disk(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
