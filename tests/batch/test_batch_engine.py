"""The driver with a Ray that is one process: what is retried, who is blamed, when a worker is replaced."""

import json
from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest
from fake_ray import Death, FakeRay
from toy_task import ToyTask, toy_cases

from anypet.batch import engine
from anypet.batch.engine import BatchOptions, run_batch
from anypet.batch.ledger import Ledger
from anypet.errors import AnyPETError


@pytest.fixture
def ray(monkeypatch):
    """A function that sets the Ray to be used."""

    def use(**given):
        fake = FakeRay(**given)

        @contextmanager
        def ray_for(address):
            yield fake

        monkeypatch.setattr(engine, "ray_for", ray_for)
        return fake

    def die(code=1):
        raise Death(f"exit code {code}")

    monkeypatch.setattr("os._exit", die)
    return use


def index(out):
    return {row["case"]: row for row in pq.read_table(out / "index.parquet").to_pylist()}


def diary(task):
    return open(task.diary).read().splitlines()


@pytest.fixture
def task(tmp_path):
    return ToyTask(str(tmp_path / "diary"))


def test_all_are_done_and_workers_hold_no_more_than_they_may(ray, task, tmp_path):
    fake = ray()
    cases = toy_cases(tmp_path / "in", ["abc"] * 7)
    found = list(run_batch(cases, task, tmp_path / "out", BatchOptions(workers=2)))
    assert sorted(one.name for one in found) == [case.name for case in cases]
    assert [one.left for one in found] == list(range(6, -1, -1))
    assert fake.most == 2
    assert fake.options["max_concurrency"] == 2
    assert fake.options["num_gpus"] == 0
    assert diary(task).count("load") == 2
    assert (tmp_path / "out" / "cases" / cases[0].name / "answer.txt").read_text() == "ABC"
    rows = index(tmp_path / "out")
    assert {row["status"] for row in rows.values()} == {"done"}
    first = rows[cases[0].name]
    assert (first["mtv_ml"], first["attempts"], first["outputs"]) == (3.0, 1, ["answer.txt"])
    assert not (tmp_path / "out" / ".work").exists()


def test_what_is_done_is_never_done_again(ray, task, tmp_path):
    ray()
    cases = toy_cases(tmp_path / "in", ["abc"] * 4)
    running = run_batch(cases, task, tmp_path / "out")
    first = next(running)
    running.close()
    assert [row["status"] for row in index(tmp_path / "out").values()].count("pending") >= 2
    rest = list(run_batch(cases, task, tmp_path / "out", BatchOptions(workers=2)))
    assert first.name not in {one.name for one in rest}
    assert sorted(line for line in diary(task) if line.startswith("wrote")) == sorted(
        f"wrote {case.name}" for case in cases
    )
    assert list(run_batch(cases, task, tmp_path / "out")) == []


def test_failures_are_apart_with_their_tracebacks(ray, task, tmp_path):
    ray()
    cases = toy_cases(tmp_path / "in", ["abc", "corrupt", "bug", "abc"])
    found = list(run_batch(cases, task, tmp_path / "out", BatchOptions(workers=2, retries=2)))
    assert {one.name for one in found if one.record is None} == {cases[1].name, cases[2].name}
    rows = index(tmp_path / "out")
    assert [rows[case.name]["status"] for case in cases] == ["done", "failed", "failed", "done"]
    assert rows[cases[1].name]["attempts"] == 3
    assert "the file is damaged" in rows[cases[1].name]["error"]
    assert rows[cases[2].name]["error"] == "KeyError: 'no such thing'"
    told = json.loads((tmp_path / "out" / "failed" / f"{cases[2].name}.json").read_text())
    assert len(told["attempts"]) == 3
    assert "in compute" in told["attempts"][0]["traceback"]
    assert diary(task).count(f"read {cases[1].name}") == 3


def test_a_mended_scan_is_done_when_asked_for(ray, task, tmp_path):
    ray()
    cases = toy_cases(tmp_path / "in", ["abc", "corrupt"])
    list(run_batch(cases, task, tmp_path / "out"))
    (tmp_path / "in" / "2.txt").write_text("mended")
    assert list(run_batch(cases, task, tmp_path / "out")) == []  # given up is given up
    (again,) = run_batch(cases, task, tmp_path / "out", BatchOptions(retry_failed=True))
    assert again.record["attempts"] == 1
    assert not list((tmp_path / "out" / "failed").iterdir())
    assert index(tmp_path / "out")[cases[1].name]["status"] == "done"


def test_a_scan_that_kills_its_worker_is_found_and_no_other_is_blamed(ray, task, tmp_path):
    fake = ray()
    cases = toy_cases(tmp_path / "in", ["abc", "deadly", "abc", "abc", "abc"])
    list(run_batch(cases, task, tmp_path / "out", BatchOptions(workers=1, retries=1)))
    rows = index(tmp_path / "out")
    assert [rows[case.name]["status"] for case in cases] == ["done", "failed", "done", "done", "done"]
    assert [rows[case.name]["attempts"] for case in cases] == [1, 2, 1, 1, 1]
    assert "died at this scan" in rows[cases[1].name]["error"]
    assert "exit code 7" in rows[cases[1].name]["error"]
    assert len(fake.actors) == 4  # killed in company, then twice alone


def test_the_worker_says_why_it_left(ray, task, tmp_path, monkeypatch):
    fake = ray()
    monkeypatch.setattr("anypet.batch.memory.MemoryWatch._look", lambda self: None)

    def compute(self, networks, scan, case):
        fake.actors[-1].worker._give_up(3 * 10**9)  # as the watch's thread does

    monkeypatch.setattr(ToyTask, "compute", compute)
    cases = toy_cases(tmp_path / "in", ["abc"])
    (one,) = run_batch(cases, task, tmp_path / "out", BatchOptions(retries=0, memory_gb=2))
    assert one.record is None
    assert "needs more memory than the worker may have: 3.00 GB of 2.00 GB" in one.error


def test_an_answer_that_was_lost_is_no_second_attempt(ray, task, tmp_path):
    fake = ray(lose=(1, 3))
    cases = toy_cases(tmp_path / "in", ["abc"] * 4)
    found = list(run_batch(cases, task, tmp_path / "out", BatchOptions(workers=1, ahead=0)))
    assert sorted(one.name for one in found) == [case.name for case in cases]
    assert len(fake.actors) == 3
    for case in cases:
        assert diary(task).count(f"wrote {case.name}") == 1


def test_a_worker_that_keeps_too_much_is_replaced(ray, task, tmp_path, monkeypatch):
    fake = ray()
    monkeypatch.setattr("anypet.batch.worker.resident_bytes", lambda peak=False: 900_000_000)
    monkeypatch.setattr("anypet.batch.memory.MemoryWatch._look", lambda self: None)
    cases = toy_cases(tmp_path / "in", ["abc"] * 3)
    found = list(run_batch(cases, task, tmp_path / "out", BatchOptions(memory_gb=1, ahead=0)))
    assert len(found) == 3
    assert len(fake.actors) == 3  # a new one for each scan
    assert fake.options["memory"] == 10**9


def test_networks_that_do_not_load_stop_the_batch(ray, tmp_path):
    fake = ray()
    task = ToyTask(str(tmp_path / "diary"), broken="weights are damaged")
    cases = toy_cases(tmp_path / "in", ["abc"])
    with pytest.raises(AnyPETError, match=r"do not start: .*weights are damaged"):
        list(run_batch(cases, task, tmp_path / "out"))
    assert len(fake.actors) == 1
    assert index(tmp_path / "out")[cases[0].name]["status"] == "pending"


def test_workers_that_die_at_once_stop_the_batch(ray, task, tmp_path, monkeypatch):
    fake = ray()

    def load(self, device):
        raise Death("out of memory")

    monkeypatch.setattr(ToyTask, "load", load)
    with pytest.raises(AnyPETError, match=r"do not start: out of memory"):
        list(run_batch(toy_cases(tmp_path / "in", ["abc"]), task, tmp_path / "out"))
    assert len(fake.actors) == 3


def test_a_run_that_was_taken_over_stops(ray, task, tmp_path):
    ray()
    cases = toy_cases(tmp_path / "in", ["abc"] * 4)
    running = run_batch(cases, task, tmp_path / "out", BatchOptions(ahead=0))
    next(running)
    desk = next((tmp_path / "out" / ".work").iterdir())
    desk.rename(desk.with_name("old"))
    before = (tmp_path / "out" / "index.parquet").read_bytes()
    with pytest.raises(AnyPETError, match="another run took over"):
        list(running)
    assert (tmp_path / "out" / "index.parquet").read_bytes() == before  # it is the other's now


def test_other_settings_are_refused(ray, task, tmp_path):
    ray()
    cases = toy_cases(tmp_path / "in", ["abc"])
    Ledger(tmp_path / "out", task.settings(), cases).close()
    other = ToyTask(task.diary, model="toy sha256:1")
    with pytest.raises(AnyPETError, match="model was 'toy sha256:0', is 'toy sha256:1'"):
        list(run_batch(cases, other, tmp_path / "out"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "workers is 0, must be 1 or more"),
        ({"retries": -1}, "retries is -1"),
        ({"memory_gb": 0}, "more than 0"),
        ({"gpus_per_worker": 1.5}, "whole number"),
    ],
)
def test_options_that_make_no_sense(given, message):
    with pytest.raises(AnyPETError, match=message):
        BatchOptions(**given)
