"""The journal against the session it was written from: bit for bit, whatever was done, whatever broke."""

from __future__ import annotations

import contextlib
import gc
import os
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError, ReadError
from anypet.objects import Patch, Prediction
from anypet.server.arrays import ArrayCache, ArrayFile, StoredPatch
from anypet.server.journal import Journal
from anypet.session import Session
from anypet.volume import Volume
from fakes import FakeModel, ball_scan

SCAN = ball_scan()
MIDDLE = (24, 20, 30)


def cache() -> ArrayCache:
    return ArrayCache(2**20)


def restored(folder: Path, scan: Volume = SCAN) -> tuple[Session, Journal]:
    """The session in a journal, as a server that was started again has it."""
    journal = Journal(folder, cache())
    found = journal.read(scan)
    session = Session(scan, FakeModel())
    session.restore(found.objects, found.selected)
    return session, journal


def same(one: Session, other: Session) -> None:
    """Both have the same objects, and every step of them is the same to the bit."""
    assert list(one.objects) == list(other.objects)
    assert one.selected.name == other.selected.name
    for a, b in zip(one.objects.values(), other.objects.values(), strict=True):
        assert (a.name, a.cursor, len(a.steps)) == (b.name, b.cursor, len(b.steps))
        for x, y in zip(a.steps, b.steps, strict=True):
            assert x.prompts == y.prompts
            assert (x.prior is None) == (y.prior is None)
            for p, q in [(x.mask, y.mask), (x.probability, y.probability), (x.prior, y.prior)]:
                if p is not None and q is not None:
                    assert p.start == q.start
                    assert p.values.dtype == q.values.dtype
                    assert np.array_equal(p.values, q.values)
            assert [g.centre_mm for g in x.groups] == [g.centre_mm for g in y.groups]
            for g, h in zip(x.groups, y.groups, strict=True):
                assert (g.spacing, g.anchor_suv, g.anchor_mm) == (h.spacing, h.anchor_suv, h.anchor_mm)
                for t, u in zip(g.tiles, h.tiles, strict=True):
                    assert (t.cell, t.seed_mm) == (u.cell, u.seed_mm)
                    assert np.array_equal(t.logits, u.logits)


def perform(session: Session, action: str, voxel: tuple[int, int, int]) -> None:
    """One thing that a reader does."""
    if action == "object":
        session.new_object()
    elif action == "select":
        session.select(list(session.objects)[sum(voxel) % len(session.objects)])
    elif action == "remove":
        session.remove(session.selected.name)
    elif action == "rename":
        with contextlib.suppress(AnyPETError):  # the name may be taken
            session.rename(session.selected.name, f"näme {len(session.selected.steps)} {sum(voxel)}")
    elif action == "box":
        session.add_box([v - 6 for v in voxel], [v + 6 for v in voxel])
    elif action == "mask":
        mask = np.zeros(SCAN.shape, bool)
        mask[tuple(slice(v - 2, v + 3) for v in voxel)] = True
        session.add_mask(mask)
    elif action in ("undo", "redo", "reset"):
        getattr(session, action)()
    else:
        session.add_point(voxel, action == "add")


ACTIONS = [
    "add",
    "add",
    "reject",
    "undo",
    "redo",
    "reset",
    "object",
    "select",
    "remove",
    "rename",
    "box",
    "mask",
]
voxels = st.tuples(st.integers(20, 28), st.integers(16, 24), st.integers(24, 36))


@settings(deadline=None, max_examples=12)
@given(
    actions=st.lists(st.tuples(st.sampled_from(ACTIONS), voxels), min_size=1, max_size=8),
    halt=st.integers(0, 8),
)
def test_a_restored_session_is_the_one_that_was_left(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, Any]], halt: int
) -> None:
    folder = tmp_path_factory.mktemp("session")
    plain, kept = Session(SCAN, FakeModel()), Session(SCAN, FakeModel())
    journal = Journal(folder, cache())
    journal.write(kept, {})
    for n, (action, voxel) in enumerate(actions):
        if n == halt:  # the server is started again in the middle of the work
            kept, journal = restored(folder)
        for session in (plain, kept):
            perform(session, action, voxel)
        journal.write(kept, {"n": n})
    same(kept, plain)
    again, reader = restored(folder)
    same(again, plain)
    assert not reader.differs(again)
    assert np.array_equal(again.uncertainty, plain.uncertainty)
    assert again.suggest_point() == plain.suggest_point()
    assert np.array_equal(again.add_point(MIDDLE), plain.add_point(MIDDLE))


def three_clicks(folder: Path) -> tuple[list[np.ndarray], list[int]]:
    """Masks after each click, and the size of the journal's file then."""
    session, journal = Session(SCAN, FakeModel()), Journal(folder, cache())
    masks, sizes = [], []
    for voxel, sign in [(MIDDLE, True), ((26, 20, 30), False), ((24, 23, 30), True)]:
        session.add_point(voxel, sign)
        journal.write(session, {})
        masks.append(session.mask)
        sizes.append(journal.path.stat().st_size)
    return masks, sizes


@pytest.mark.parametrize("left", [1, 7, 40, -1])
def test_a_line_that_was_cut_off_costs_that_click_and_no_other(tmp_path: Path, left: int) -> None:
    masks, sizes = three_clicks(tmp_path)
    path = tmp_path / "journal.jsonl"
    os.truncate(path, sizes[1] + left if left > 0 else sizes[2] - 1)
    session, journal = restored(tmp_path)
    assert np.array_equal(session.mask, masks[1])
    assert np.array_equal(session.undo(), masks[0])
    session.redo()
    assert np.array_equal(session.add_point((24, 23, 30)), masks[2])
    journal.write(session, {})  # what follows can be read, though the line before was cut off
    assert np.array_equal(restored(tmp_path)[0].mask, masks[2])


def test_arrays_without_their_line_are_passed_over(tmp_path: Path) -> None:
    masks, sizes = three_clicks(tmp_path)
    os.truncate(tmp_path / "journal.jsonl", sizes[0])
    session, journal = restored(tmp_path)
    assert np.array_equal(session.mask, masks[0])
    session.add_point((26, 20, 30), False)
    journal.write(session, {})
    assert np.array_equal(restored(tmp_path)[0].mask, masks[1])


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    masks, sizes = three_clicks(tmp_path)
    path = tmp_path / "journal.jsonl"
    raw = bytearray(path.read_bytes())
    raw[sizes[1] + 30] ^= 1
    path.write_bytes(raw)
    assert np.array_equal(restored(tmp_path)[0].mask, masks[1])


def test_lost_arrays_are_said(tmp_path: Path) -> None:
    three_clicks(tmp_path)
    os.truncate(tmp_path / "arrays.bin", 10)
    with pytest.raises(ReadError, match="damaged"):
        restored(tmp_path)[0].mask  # noqa: B018


@pytest.mark.parametrize(
    "text", ['{"objects":{"a":{"keep":0,"cursor":5,"steps":[]}}}', '{"selected":3}', '{"objects":1}']
)
def test_another_version_is_said(tmp_path: Path, text: str) -> None:
    three_clicks(tmp_path)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write(f"{text}\t{zlib.crc32(text.encode()):08x}\n")
    with pytest.raises(ReadError, match="version"):
        Journal(tmp_path, cache()).read(SCAN)


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, journal = Session(SCAN, FakeModel()), Journal(tmp_path, cache())
    first = session.add_point(MIDDLE)
    journal.write(session, {})
    second = session.add_point((26, 20, 30), False)
    real = os.fsync

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        journal.write(session, {})
    monkeypatch.setattr(os, "fsync", real)
    assert np.array_equal(restored(tmp_path)[0].mask, first)
    journal.write(session, {})
    again, _ = restored(tmp_path)
    assert np.array_equal(again.mask, second)
    assert np.array_equal(again.undo(), first)


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    session, journal = Session(SCAN, FakeModel()), Journal(tmp_path, cache())
    assert journal.write(session, {"colour": "red"}) == ["object 1"]
    size = journal.path.stat().st_size
    assert journal.write(session, {"colour": "red"}) == []
    session.undo()
    assert journal.write(session, {"colour": "red"}) == []
    assert journal.path.stat().st_size == size
    assert journal.write(session, {"colour": "blue"}) == []
    assert Journal(tmp_path, cache()).read(SCAN).extra == {"colour": "blue"}


def test_a_long_history_is_on_disk_and_not_in_memory(tmp_path: Path) -> None:
    """300 steps with a mask of 1 MB each; what is kept of them in memory is the cache and a few kB each."""
    session = Session(SCAN.with_array(np.ones((100, 100, 100), np.float32)), FakeModel())
    journal = Journal(tmp_path, ArrayCache(4 * 2**20))
    rng = np.random.default_rng(0)

    def step() -> None:
        values = np.zeros((100, 100, 100), bool)
        values[rng.integers(100), rng.integers(100)] = True
        session.selected.push(Prediction(mask=Patch((0, 0, 0), values)))
        journal.write(session, {})

    for _ in range(20):
        step()
    tracemalloc.start()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(280):
        step()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 12 * 2**20, f"{grown / 2**20:.0f} MB for 280 steps"
    assert journal.file.cache.nbytes <= 4 * 2**20
    assert all(isinstance(step.mask, StoredPatch) for step in session.selected.steps)


def test_arrays_of_every_kind_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [
        np.zeros((0, 0, 0), bool),
        rng.random((3, 4, 5)) < 0.5,
        rng.random((2, 2, 2)).astype(np.float16),
        np.zeros((0, 3), np.float32),
        np.asfortranarray(rng.random((7, 2, 3))),
        np.zeros((50, 50, 50), np.uint16),
    ]
    file = ArrayFile(tmp_path / "a.bin", ArrayCache(0))
    refs = file.append(arrays[:3]) + file.append(arrays[3:])
    for ref, array in zip(refs, arrays, strict=True):
        found = file.read(ref)
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_the_cache_keeps_to_its_limit_and_to_what_was_used_last() -> None:
    kept = ArrayCache(3000)
    path, other = Path("a"), Path("b")
    for n in range(3):
        kept.put(path, n, np.zeros(1000, np.uint8))
    kept.get(path, 0)
    kept.put(other, 9, np.zeros(1000, np.uint8))
    assert kept.get(path, 1) is None
    assert kept.get(path, 0) is not None
    kept.put(path, 5, np.zeros(5000, np.uint8))
    assert kept.get(path, 5) is None
    kept.forget(path)
    assert kept.nbytes == 1000
