"""Who gets which scan: every scan once, no worker more than it may hold, no innocent scan blamed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.batch.schedule import Schedule


def names(count):
    return [f"s{n}" for n in range(count)]


def test_a_worker_holds_one_and_what_it_reads_ahead():
    schedule = Schedule(names(10), workers=2, ahead=1)
    assert [schedule.next_for(0) for _ in range(3)] == ["s0", "s1", None]
    assert schedule.held(0) == ("s0", "s1")
    schedule.done(0, "s0")
    assert schedule.next_for(0) == "s2"


def test_the_last_scans_are_shared_out():
    schedule = Schedule(names(3), workers=2, ahead=1)
    assert [schedule.next_for(0), schedule.next_for(1)] == ["s0", "s1"]
    assert schedule.next_for(0) is None  # s2 goes to whoever is free first
    schedule.done(1, "s1")
    assert schedule.next_for(1) == "s2"


def test_a_failed_scan_waits_for_the_others():
    schedule = Schedule(names(3), {"s0": 0}, retries=1, ahead=0)
    assert schedule.next_for(0) == "s0"
    assert not schedule.failed(0, "s0")
    assert [_one(schedule), _one(schedule)] == ["s1", "s2"]
    assert schedule.next_for(0) == "s0"
    assert schedule.failed(0, "s0")
    assert schedule.is_over


def test_failures_of_earlier_runs_count():
    schedule = Schedule(names(1), {"s0": 1}, retries=1)
    schedule.next_for(0)
    assert schedule.failed(0, "s0")


def test_suspects_are_tried_alone():
    schedule = Schedule(names(4), workers=1, ahead=1)
    assert [schedule.next_for(0), schedule.next_for(0)] == ["s0", "s1"]
    schedule.suspect(0, "s0")
    schedule.suspect(0, "s1")
    assert [schedule.next_for(0), schedule.next_for(0)] == ["s2", "s3"]
    schedule.done(0, "s2")
    assert schedule.next_for(0) is None  # s0 is a suspect and the worker holds s3
    schedule.done(0, "s3")
    assert [schedule.next_for(0), schedule.next_for(0)] == ["s0", None]
    assert not schedule.failed(0, "s0", alone=True)  # it was the culprit, and has one try left, alone again
    assert [schedule.next_for(0), schedule.next_for(0)] == ["s1", None]
    schedule.done(0, "s1")
    assert [schedule.next_for(0), schedule.next_for(0)] == ["s0", None]


def _one(schedule):
    name = schedule.next_for(0)
    schedule.done(0, name)
    return name


@settings(deadline=None)
@given(
    count=st.integers(0, 12),
    workers=st.integers(1, 4),
    ahead=st.integers(0, 2),
    retries=st.integers(0, 2),
    data=st.data(),
)
def test_whatever_happens_every_scan_ends_once_and_bounds_hold(count, workers, ahead, retries, data):
    schedule = Schedule(names(count), retries=retries, workers=workers, ahead=ahead)
    ended, failures = [], dict.fromkeys(names(count), 0)
    for _ in range(2000):
        if schedule.is_over:
            break
        for _ in range(ahead + 1):
            for worker in range(workers):
                schedule.next_for(worker)
        busy = [w for w in range(workers) if schedule.held(w)]
        assert busy, "something waits and nobody works"
        held = [name for w in busy for name in schedule.held(w)]
        assert len(held) == len(set(held))
        assert all(len(schedule.held(w)) <= ahead + 1 for w in busy)
        worker = data.draw(st.sampled_from(busy))
        mine = schedule.held(worker)
        fate = data.draw(st.sampled_from(["done", "done", "failed", "died"]))
        if fate == "done":
            schedule.done(worker, mine[0])
            ended.append(mine[0])
        elif fate == "failed" or len(mine) == 1:
            failures[mine[0]] += 1
            if schedule.failed(worker, mine[0], alone=fate == "died"):
                ended.append(mine[0])
                assert failures[mine[0]] == retries + 1
        else:
            for name in mine:
                schedule.suspect(worker, name)
    assert schedule.is_over
    assert sorted(ended) == sorted(names(count))
