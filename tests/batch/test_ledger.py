"""What stands on disk: whole or not at all, never twice, and only from the run that holds the folder."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.batch.cases import BatchCase
from anypet.batch.ledger import Desk, Ledger, SupersededError, differences
from anypet.errors import AnyPETError

CASES = [BatchCase(f"000{n}-P{n}", f"P{n}", f"/data/{n}.nii.gz") for n in (1, 2, 3)]
ONE, TWO, THREE = (case.name for case in CASES)
SETTINGS = {"task": "lesions", "mirror": 0}


def finish(desk: Desk, name: str, ticket: int, text: str = "x") -> bool:
    (desk.begin(name, ticket) / "mask.txt").write_text(text)
    return desk.publish(name, ticket, {"case": name, "text": text})


def test_a_finished_scan_appears_whole_and_stays(tmp_path):
    ledger = Ledger(tmp_path / "out", SETTINGS, CASES)
    scratch = ledger.desk.begin(ONE, 1)
    (scratch / "mask.txt").write_text("half")
    assert ledger.records() == {}
    assert ledger.desk.publish(ONE, 1, {"case": ONE})
    assert ledger.records() == {ONE: {"case": ONE}}
    assert sorted(p.name for p in (ledger.root / "cases" / ONE).iterdir()) == ["mask.txt", "record.json"]
    assert not scratch.exists()
    ledger.close()
    assert sorted(p.name for p in ledger.root.iterdir() if p.name != ".lock") == ["batch.json", "cases"]


def test_the_second_to_finish_changes_nothing(tmp_path):
    ledger = Ledger(tmp_path, SETTINGS, CASES)
    slow = ledger.desk.begin(ONE, 1)
    (slow / "mask.txt").write_text("second")
    assert finish(ledger.desk, ONE, 2, "first")
    assert not ledger.desk.publish(ONE, 1, {"text": "second"})
    assert (tmp_path / "cases" / ONE / "mask.txt").read_text() == "first"
    assert ledger.record(ONE)["text"] == "first"
    assert not slow.exists()


def test_a_new_run_revokes_what_older_workers_might_still_do(tmp_path):
    old = Ledger(tmp_path, SETTINGS, CASES)
    (old.desk.begin(ONE, 1) / "mask.txt").write_text("by an orphan")
    finish(old.desk, TWO, 2)
    old._lock.release()  # as the system does when the driver is killed; its worker lives on
    new = Ledger(tmp_path, SETTINGS, CASES)
    assert not old.is_held
    assert new.is_held
    assert list(new.records()) == [TWO]
    with pytest.raises(SupersededError, match="another took over"):
        old.desk.publish(ONE, 1, {"text": "by an orphan"})
    with pytest.raises(SupersededError, match="no longer has it"):
        old.desk.begin(THREE, 3)
    assert finish(new.desk, ONE, 1, "by the new run")
    assert (tmp_path / "cases" / ONE / "mask.txt").read_text() == "by the new run"
    old.close()  # the old driver's tidying leaves the new run alone
    assert new.is_held


def test_half_written_scans_are_swept_up(tmp_path):
    first = Ledger(tmp_path, SETTINGS, CASES)
    (first.desk.begin(ONE, 1) / "half.nii.gz").write_text("half")
    first._lock.release()
    second = Ledger(tmp_path, SETTINGS, CASES)
    assert not list(tmp_path.rglob("half*"))
    assert [p.name for p in (tmp_path / ".work").iterdir()] == [second.desk.run]


def test_one_driver_at_a_time(tmp_path):
    script = (
        "import sys; from anypet.batch.ledger import Ledger\n"
        "try: Ledger(sys.argv[1], {'task': 'lesions', 'mirror': 0}, [])\n"
        "except Exception as error: print(error)"
    )
    ledger = Ledger(tmp_path, SETTINGS, CASES)
    told = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert "another process is at work" in told.stdout
    ledger.close()
    told = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert "gone from the list" in told.stdout  # the lock is free; the list is another


def test_what_changed_is_said(tmp_path):
    Ledger(tmp_path, SETTINGS, CASES).close()
    Ledger(tmp_path, SETTINGS, CASES).close()  # the same is fine
    with pytest.raises(AnyPETError, match="mirror was 0, is 3"):
        Ledger(tmp_path, {**SETTINGS, "mirror": 3}, CASES)
    moved = [BatchCase(ONE, "P1", "/elsewhere/1.nii.gz"), CASES[1]]
    with pytest.raises(AnyPETError, match=f"gone from the list: {THREE}; changed in the list: {ONE}"):
        Ledger(tmp_path, SETTINGS, moved)
    with pytest.raises(AnyPETError, match="leave --resume on"):
        Ledger(tmp_path, SETTINGS, CASES, resume=False)
    Ledger(tmp_path, SETTINGS, CASES).close()  # a refusal leaves the folder free


def test_another_version_is_another_batch(tmp_path, monkeypatch):
    Ledger(tmp_path, SETTINGS, CASES).close()
    monkeypatch.setattr("anypet.batch.ledger.__version__", "99.0")
    with pytest.raises(AnyPETError, match=r"anypet was '.*', is '99.0'"):
        Ledger(tmp_path, SETTINGS, CASES)


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(AnyPETError, match=r"holds thesis.tex and no batch"):
        Ledger(tmp_path, SETTINGS, CASES)
    with pytest.raises(AnyPETError, match="is a file"):
        Ledger(tmp_path / "thesis.tex", SETTINGS, CASES)


def test_failures_are_kept_over_runs(tmp_path):
    ledger = Ledger(tmp_path, SETTINGS, CASES)
    first = ledger.desk.run
    assert ledger.add_failure(ONE, {"error": "a", "traceback": "t1"}) == 1
    ledger.close()
    ledger = Ledger(tmp_path, SETTINGS, CASES)
    assert ledger.add_failure(ONE, {"error": "b", "traceback": "t2"}) == 2
    assert [(a["error"], a["traceback"]) for a in ledger.attempts(ONE)] == [("a", "t1"), ("b", "t2")]
    assert [a["run"] for a in ledger.attempts(ONE)] == [first, ledger.desk.run]
    ledger.forget_failures(ONE)
    assert ledger.attempts(ONE) == []


def test_a_damaged_record_is_named(tmp_path):
    ledger = Ledger(tmp_path, SETTINGS, CASES)
    finish(ledger.desk, ONE, 1)
    (tmp_path / "cases" / ONE / "record.json").write_text("{")
    with pytest.raises(AnyPETError, match=r"record.json is damaged"):
        ledger.records()


def test_a_disk_that_refuses_is_named(tmp_path):
    ledger = Ledger(tmp_path, SETTINGS, CASES)
    ledger.desk.begin(ONE, 1)
    (tmp_path / "cases").rmdir()
    (tmp_path / "cases").write_text("in the way")
    with pytest.raises(AnyPETError, match="cannot be written"):
        ledger.desk.publish(ONE, 1, {})


VALUES = st.one_of(st.none(), st.integers(), st.sampled_from("xy"), st.lists(st.integers(), max_size=2))
SETTING = st.dictionaries(st.sampled_from("abc"), VALUES)
LISTS = st.dictionaries(st.sampled_from(["1", "2", "3", "4", "5"]), st.integers(0, 2))


@settings(deadline=None)
@given(SETTING, SETTING, LISTS, LISTS)
def test_differences_are_found_when_there_are_some(old, new, before, now):
    def content(settings, cases):
        return {"settings": settings, "cases": [{"name": n, "image": i} for n, i in cases.items()]}

    found = differences(content(old, before), content(new, now))
    values = {k for k in {*old, *new} if old.get(k) != new.get(k)}
    assert bool(found) == (bool(values) or before != now)
    assert sum(" was " in one for one in found) >= len(values)


def test_the_file_that_a_batch_is_resumed_from_is_json(tmp_path):
    Ledger(tmp_path, {**SETTINGS, "weights": ("a", "b")}, CASES).close()
    told = json.loads((tmp_path / "batch.json").read_text())
    assert told["settings"]["weights"] == ["a", "b"]
    assert [case["name"] for case in told["cases"]] == [ONE, TWO, THREE]
    Ledger(tmp_path, {**SETTINGS, "weights": ("a", "b")}, CASES).close()
