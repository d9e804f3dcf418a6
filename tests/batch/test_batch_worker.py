"""One worker in this process: what it reports, what it records, how it minds its memory."""

import logging
import mmap
import os
import threading
import time

import pytest
from toy_task import ToyTask, toy_cases

from anypet.batch import worker as module
from anypet.batch.ledger import Ledger
from anypet.batch.memory import MemoryWatch, resident_bytes
from anypet.batch.worker import Worker, WorkerSettings, share_of_threads
from anypet.errors import AnyPETError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A worker, its cases and their ledger."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # a worker sets these two; they come back after the test
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    cases = toy_cases(tmp_path / "in", ["abc", "corrupt", "bug"])
    task = ToyTask(str(tmp_path / "diary"))
    ledger = Ledger(tmp_path / "out", task.settings(), cases)
    return Worker(ledger.desk, task, WorkerSettings()), cases, ledger


def test_a_scan_is_recorded_with_all_that_an_index_needs(place):
    worker, cases, ledger = place
    assert worker.ready()
    report = worker.do(cases[0], 1, 2)
    assert report.record == ledger.record(cases[0].name)
    record = report.record
    assert record["outputs"] == ["answer.txt"]
    assert record["attempts"] == 2
    assert record["measures"]["mtv_ml"] == 3.0
    assert record["model"] == "toy sha256:0"
    assert set(record["phases"]) == {"read", "wait", "compute", "write"}
    busy = sum(seconds for phase, seconds in record["phases"].items() if phase != "wait")
    assert record["seconds"] == pytest.approx(busy, abs=0.01)
    assert record["run"] == ledger.desk.run
    assert report.error == ""


def test_errors_are_reported_not_raised(place):
    worker, cases, ledger = place
    corrupt, bug = worker.do(cases[1], 1, 1), worker.do(cases[2], 2, 1)
    assert corrupt.error.endswith("the file is damaged")
    assert "Traceback" in corrupt.traceback
    assert "ReadError" in corrupt.traceback
    assert bug.error == "KeyError: 'no such thing'"
    assert set(bug.as_failure()) == {"error", "traceback", "seconds", "node", "when"}
    assert ledger.records() == {}
    assert not list((ledger.root / ".work" / ledger.desk.run).iterdir())  # half results take no room


def test_the_slower_of_two_attempts_reports_no_record(place):
    worker, cases, ledger = place
    first = worker.do(cases[0], 1, 1)
    assert worker.do(cases[0], 2, 1).record is None
    assert ledger.record(cases[0].name) == first.record


def test_a_worker_of_an_older_run_is_told_so(place):
    worker, cases, ledger = place
    ledger.close()
    report = worker.do(cases[0], 1, 1)
    assert report.superseded
    assert not report.record
    assert not (ledger.root / "cases" / cases[0].name).exists()


def test_warnings_belong_to_the_scan_that_gave_them(place, monkeypatch):
    worker, cases, _ = place
    log = logging.getLogger("anypet.io")
    other = threading.Thread(target=lambda: log.warning("of another scan"))

    def read(self, case):
        log.warning("the header has no orientation")
        other.start()
        other.join()
        return "abc"

    monkeypatch.setattr(ToyTask, "read", read)
    assert worker.do(cases[0], 1, 1).record["warnings"] == ["the header has no orientation"]
    assert logging.getLogger("anypet").handlers == []


def test_one_computes_while_another_reads(place, monkeypatch):
    worker, cases, _ = place
    reading, computing, both = threading.Event(), [], []

    def read(self, case):
        if case is cases[1]:
            reading.set()
        return case.name

    def compute(self, networks, scan, case):
        computing.append(case.name)
        both.append(len(computing))
        assert reading.wait(20)  # the other scan is read while this one is computed
        computing.remove(case.name)
        return scan

    monkeypatch.setattr(ToyTask, "read", read)
    monkeypatch.setattr(ToyTask, "compute", compute)
    reports = []
    threads = [threading.Thread(target=lambda n=n: reports.append(worker.do(cases[n], n, 1))) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(reports) == 2
    assert all(report.record for report in reports)
    assert both == [1, 1]


def test_another_version_is_refused(place):
    worker, _, ledger = place
    with pytest.raises(AnyPETError, match=r"the batch is driven by 99.0; install the same"):
        Worker(ledger.desk, worker.task, WorkerSettings(version="99.0"))


def test_threads_are_limited_for_libraries_loaded_and_to_come(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "7")
    before = torch.get_num_threads()
    try:
        with share_of_threads(3):
            assert os.environ["OMP_NUM_THREADS"] == "3"
        assert torch.get_num_threads() == 3
        assert os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "3"
    finally:
        torch.set_num_threads(before)


def test_memory_is_that_of_this_process():
    before = resident_bytes()
    with mmap.mmap(-1, 60_000_000) as hoard:  # new pages, where bytearray may reuse what was freed
        for page in range(0, len(hoard), mmap.PAGESIZE):
            hoard[page] = 1
        assert resident_bytes() - before > 40_000_000
    assert resident_bytes(peak=True) >= resident_bytes()


def test_no_proc_no_memory(monkeypatch, tmp_path):
    monkeypatch.setattr("anypet.batch.memory._STATUS", tmp_path / "none")
    assert resident_bytes() == 0


def test_the_watch_calls_once():
    found, called = [], threading.Event()

    def above(size):
        found.append(size)
        called.set()

    MemoryWatch(1, above)
    assert called.wait(20)
    time.sleep(0.2)
    assert len(found) == 1
    assert found[0] > 1_000_000
    idle = MemoryWatch(10**15, found.append)
    idle.stop()
    MemoryWatch(0, found.append)
    assert len(found) == 1


def test_last_words_are_of_all_scans_at_hand(place, monkeypatch):
    worker, cases, ledger = place
    left = []
    monkeypatch.setattr(module, "leave", lambda: left.append(True))
    ledger.desk.begin(cases[0].name, 5)
    worker._at_work = {cases[0].name: 5, cases[1].name: 6}  # the second has not begun to write
    object.__setattr__(worker.settings, "memory_bytes", 2 * 10**9)
    worker._give_up(3 * 10**9)
    assert left == [True]
    told = (ledger.desk.scratch(cases[0].name, 5) / "died.json").read_text()
    assert "3.00 GB of 2.00 GB" in told


def test_an_unknown_fault_on_a_gpu_ends_the_worker(place):
    worker, cases, _ = place
    for device, worn in (("cuda", [True, False]), ("cpu", [False, False])):
        object.__setattr__(worker.settings, "device", device)
        found = [worker.do(case, 20 + n, 1) for n, case in enumerate((cases[2], cases[1]))]
        assert [report.worn for report in found] == worn


def test_a_worker_that_keeps_too_much_says_so(place, monkeypatch):
    worker, cases, _ = place
    monkeypatch.setattr(module, "resident_bytes", lambda peak=False: 850)
    for bound, worn in ((1000, True), (1100, False), (0, False)):
        object.__setattr__(worker.settings, "memory_bytes", bound)
        assert worker.do(cases[2], 10 + bound, 1).worn is worn
