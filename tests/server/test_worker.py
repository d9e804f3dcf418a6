"""Turns, short jobs in long ones, and ends of workers and jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from anypet.errors import AnyPETError
from anypet.server.jobs import CancelledError, Jobs
from anypet.server.scans import NotFoundError
from anypet.server.worker import BusyError, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    one = Worker(most=5)
    yield one
    one.stop()


class Gate:
    """A job that runs until it is let go."""

    def __init__(self) -> None:
        self.running, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.running.set()
        assert self.go.wait(10)
        return "gate"


def blocked(worker: Worker) -> Gate:
    gate = Gate()
    worker.submit("gate", gate)
    assert gate.running.wait(10)
    return gate


def test_clients_take_turns_and_keep_their_own_order(worker: Worker) -> None:
    gate, order = blocked(worker), []
    futures = [
        worker.submit(client, lambda client=client, n=n: order.append((client, n)))
        for client, count in [("greedy", 4), ("b", 2), ("c", 1)]
        for n in range(count)
    ]
    assert worker.waiting == 7
    gate.go.set()
    for future in futures:
        future.result(10)
    assert order == [
        ("greedy", 0), ("b", 0), ("c", 0), ("greedy", 1), ("b", 1), ("greedy", 2), ("greedy", 3)
    ]  # fmt: skip


def test_one_job_runs_at_a_time(worker: Worker) -> None:
    inside, most = [0], [0]

    def job() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        inside[0] -= 1

    futures = [worker.submit(str(n % 7), job) for n in range(30)]
    for future in futures:
        future.result(10)
    assert most[0] == 1


def test_a_long_job_lets_short_ones_of_others_through(worker: Worker) -> None:
    gate, order = Gate(), []

    def long() -> None:
        gate()
        worker.breathe()
        order.append("long")

    first = worker.submit("a", long, long=True)
    assert gate.running.wait(10)
    rest: list[Future[Any]] = [
        worker.submit("a", lambda: order.append("a again")),
        worker.submit("b", lambda: order.append("b")),
        worker.submit("c", lambda: order.append("another long"), long=True),
        worker.submit("c", lambda: order.append("c behind its long job")),
        worker.submit("b", lambda: order.append("b again")),
    ]
    gate.go.set()
    for future in [first, *rest]:
        future.result(10)
    assert order[:3] == ["b", "b again", "long"]
    assert order.index("a again") > order.index("long")
    assert order.index("c behind its long job") > order.index("another long") > order.index("long")


def test_errors_go_to_who_asked_and_the_worker_lives_on(worker: Worker) -> None:
    def fail() -> None:
        raise AnyPETError("no")

    with pytest.raises(AnyPETError, match="no"):
        worker.submit("a", fail).result(10)
    with pytest.raises(SystemExit):
        worker.submit("a", lambda: exec("raise SystemExit")).result(10)
    assert worker.submit("a", lambda: 3).result(10) == 3


def test_too_many_waiting_jobs_of_one_client_are_refused(worker: Worker) -> None:
    gate = blocked(worker)
    for _ in range(5):
        worker.submit("a", lambda: None)
    with pytest.raises(BusyError, match="5 requests"):
        worker.submit("a", lambda: None)
    other = worker.submit("b", lambda: "b")
    gate.go.set()
    assert other.result(10) == "b"


def test_a_job_that_was_given_up_is_not_run(worker: Worker) -> None:
    gate, ran = blocked(worker), []
    job = worker.submit("a", lambda: ran.append(1))
    assert job.cancel()
    gate.go.set()
    worker.submit("a", lambda: None).result(10)
    assert ran == []


def test_stopping_ends_the_job_in_hand_and_refuses_the_rest() -> None:
    worker = Worker()
    gate = blocked(worker)
    waiting, given_up = worker.submit("a", lambda: None), worker.submit("b", lambda: None)
    assert given_up.cancel()
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    with pytest.raises(BusyError, match="stopping"):
        waiting.result(10)
    assert worker.stopping
    gate.go.set()
    stopper.join(10)
    assert not stopper.is_alive()
    with pytest.raises(BusyError):
        worker.submit("a", lambda: None)


def test_what_is_told_of_a_job() -> None:
    jobs = Jobs()
    job = jobs.begin("anna", "lesions", "s")
    assert job.told()["state"] == "running"
    assert jobs.running == 1
    for owner, key in [("bo", job.id), ("anna", "x")]:
        with pytest.raises(NotFoundError):
            jobs.get(key, owner)
    job.future.set_result({"lesions": 2})
    assert jobs.get(job.id, "anna").told()["result"] == {"lesions": 2}
    for error, state, text in [
        (CancelledError("cancelled"), "cancelled", "cancelled"),
        (AnyPETError("no weights"), "failed", "no weights"),
        (RuntimeError("secret path"), "failed", "log"),
    ]:
        job = jobs.begin("anna", "lesions", "s")
        job.future.set_exception(error)
        assert job.told()["state"] == state
        assert text in job.told()["error"]
        assert "secret" not in job.told()["error"]
    job = jobs.begin("anna", "lesions", "s")
    job.cancel()
    assert job.told()["state"] == "cancelled"


def test_old_jobs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anypet.server.jobs.KEPT", 3)
    jobs = Jobs()
    first = jobs.begin("anna", "text", "s")
    running = jobs.begin("anna", "text", "s")
    first.future.set_result({})
    for _ in range(3):
        jobs.begin("anna", "text", "s").future.set_result({})
    assert jobs.get(running.id, "anna") is running
    with pytest.raises(NotFoundError):
        jobs.get(first.id, "anna")
