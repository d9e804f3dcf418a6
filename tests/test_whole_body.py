import sys
from pathlib import Path

import numpy as np
import pytest

from anypet.errors import AnyPETError, PromptError
from anypet.session import Session
from fakes import FakeModel

sys.path.insert(0, str(Path(__file__).parent / "lesions"))
from lesion_fakes import HotNet, scan

FIRST, SECOND = (28, 22, 40), (12, 20, 15)
HOW = {"tracer": "fdg", "nets": [HotNet()]}


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_every_lesion_becomes_an_object():
    session = Session(scan())
    result = session.find_lesions(mirror=0, **HOW)
    assert list(session.objects) == ["lesion 1", "lesion 2"]
    assert session.objects["lesion 1"].mask[FIRST]
    assert session.objects["lesion 2"].mask[SECOND]
    assert np.array_equal(session.labels.array > 0, result.mask)


def test_a_rejected_lesion_is_emptied_and_can_be_had_back():
    session = Session(scan())
    session.find_lesions(mirror=0, **HOW)
    session.click_lesion(FIRST, positive=False)
    assert not session.objects["lesion 1"].voxels
    kept = session.objects["lesion 2"]
    assert kept.mask[SECOND]
    assert len(kept.steps) == 2  # what did not change has no new step
    session.select("lesion 1")
    assert session.undo()[FIRST]


def test_a_renamed_lesion_stays_the_same_object_when_lesions_change():
    session = Session(scan())
    told = []
    session.find_lesions(mirror=0, progress=lambda done, planned: told.append((done, planned)), **HOW)
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    session.rename("lesion 1", "liver metastasis")
    session.click_lesion(FIRST, positive=False)
    assert list(session.objects) == ["liver metastasis", "lesion 2"]
    assert not session.objects["liver metastasis"].voxels


def test_a_click_adds_a_lesion_that_was_missed():
    pet = scan()
    pet.array[8:11, 30:33, 48:51] = 2.4  # below what the network calls lesion
    session = Session(pet)
    session.find_lesions(mirror=0, **HOW)
    session.click_lesion(pet.to_mm((9, 31, 49)), space="mm")
    assert list(session.objects) == ["lesion 1", "lesion 2", "lesion 3"]
    assert session.objects["lesion 3"].mask[9, 31, 49]
    assert session.objects["lesion 3"].voxels < 200


def test_words_become_objects():
    session = Session(scan(), FakeModel())
    masks = session.add_text("all lesions", **HOW)
    assert list(masks) == ["lesion 1", "lesion 2"]
    masks = session.add_text("warm")
    assert list(masks) == ["warm"]
    assert dice(masks["warm"], (session.scan.array > 1) & (session.scan.array < 2.5)) > 0.8
    assert session.selected.name == "warm"
    session.add_text("warm")  # again: the same object, not another
    assert list(session.objects) == ["lesion 1", "lesion 2", "warm"]


def test_what_is_not_there_is_said():
    pet = scan()
    session = Session(pet.with_array(np.where(pet.array > 2, pet.array, 0)))
    with pytest.raises(PromptError, match="no warm was found"):
        session.add_text("warm", **HOW)
    with pytest.raises(PromptError, match=r"'spleen' is not known.*warm, all lesions"):
        session.add_text("spleen")


def test_clicks_come_after_the_sweep():
    with pytest.raises(AnyPETError, match="find_lesions"):
        Session(scan()).click_lesion(FIRST)
    session = Session(scan())
    session.find_lesions(mirror=0, **HOW)
    with pytest.raises(PromptError, match="outside"):
        session.click_lesion((400, 0, 0))


def test_some_organs_stay_as_the_organ_head_found_them(monkeypatch):
    monkeypatch.setattr("anypet.whole_body.AS_FOUND", ("warm",))
    session = Session(scan(), FakeModel())
    masks = session.add_text("warm", **HOW)
    assert np.array_equal(masks["warm"], session._whole.result.organ("warm"))
    assert np.array_equal(session.objects["warm"].mask, masks["warm"])
    session.undo()
    assert not session.objects["warm"].voxels
