"""Rows of a list as the scans of a batch, and the files of prompts that they name."""

import json
from pathlib import Path

import pytest

from anypet.batch.cases import read_cases
from anypet.batch.prompt_files import ObjectPrompts, read_prompts
from anypet.errors import AnyPETError, PromptError
from anypet.session import Session
from fakes import FakeModel, ball_scan


def save(folder: Path, text: str) -> Path:
    for name in ("a.nii.gz", "a_ct.nii.gz", "b.nii.gz", "clicks.json"):
        (folder / name).touch()
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def test_cases_have_names_and_absolute_paths(tmp_path, monkeypatch):
    save(
        tmp_path,
        "image,patient,ct,unit,tracer,prompts,split\n"
        "a.nii.gz,Müller/7,a_ct.nii.gz,SUVbw,FDG,clicks.json,test\n"
        "b.nii.gz,Müller/7,,,,,train\n",
    )
    monkeypatch.chdir(tmp_path)
    first, second = read_cases("list.csv")
    assert (first.name, second.name) == ("0001-M_ller_7", "0002-M_ller_7")
    assert (first.image, first.ct) == (str(tmp_path / "a.nii.gz"), str(tmp_path / "a_ct.nii.gz"))
    assert (first.patient, first.unit, first.tracer) == ("Müller/7", "SUVbw", "FDG")
    assert first.prompts == str(tmp_path / "clicks.json")
    assert (second.ct, second.unit, second.tracer, second.prompts) == (None, None, "", None)
    assert [case.name for case in read_cases("list.csv", "train")] == [
        "0002-M_ller_7"
    ]  # as in the whole list


def test_a_missing_split_names_those_there_are(tmp_path):
    path = save(tmp_path, "image,patient,split\na.nii.gz,P1,train\nb.nii.gz,P2,\n")
    with pytest.raises(AnyPETError, match="no case of split 'test'; its splits are none, train"):
        read_cases(path, "test")


def test_prompts_of_several_objects(tmp_path):
    scan = ball_scan()
    path = tmp_path / "p.json"
    content = {"node": {"box": [[18, 14, 22], [30, 26, 38]], "positive": [[24, 20, 30]]},
               "spot": {"positive": [[24, 20, 30]], "negative": [[2, 2, 2]]}}  # fmt: skip
    path.write_text(json.dumps({"objects": content}))
    prompts = read_prompts(path)
    assert prompts.objects[1] == ObjectPrompts("spot", ((24, 20, 30),), ((2, 2, 2),))
    session, by_hand = Session(scan, FakeModel()), Session(scan, FakeModel())
    prompts.give(session)
    assert list(session.objects) == ["node", "spot"]
    by_hand.add_point((24, 20, 30))
    by_hand.add_point((2, 2, 2), positive=False)
    assert (session.objects["spot"].mask == by_hand.mask).all()
    assert len(session.objects["node"].current.prompts.boxes) == 1


def test_prompts_in_millimetres_are_the_same_place(tmp_path):
    scan = ball_scan()
    mm = [float(v) for v in scan.to_mm((24, 20, 30))]
    (tmp_path / "mm.json").write_text(json.dumps({"space": "mm", "objects": {"x": {"positive": [mm]}}}))
    (tmp_path / "ijk.json").write_text(json.dumps({"objects": {"x": {"positive": [[24, 20, 30]]}}}))
    masks = []
    for name in ("mm.json", "ijk.json"):
        session = Session(scan, FakeModel())
        read_prompts(tmp_path / name).give(session)
        masks.append(session.mask)
    assert masks[0].any()
    assert (masks[0] == masks[1]).all()


def test_autopet_clicks_are_one_object(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"tumor": [[1, 2, 3]], "background": [[4, 5, 6]]}))
    assert read_prompts(tmp_path / "c.json").objects == (ObjectPrompts("lesion", ((1, 2, 3),), ((4, 5, 6),)),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tumor": [], "background": [[1, 2, 3]]}, "no tumour click"),
        ({"objects": {}}, "expected names with their prompts"),
        ({"objects": [1]}, "expected names with their prompts"),
        ({"objects": {"a": {"negative": [[1, 2, 3]]}}}, "neither a positive click nor a box"),
        ({"objects": {"a": {"positive": [[1, 2]]}}}, r"'a', positive is .*expected a list of \[x, y, z\]"),
        ({"objects": {"a": {"positive": [[1, 2, True]]}}}, "expected a list of"),
        ({"objects": {"a": {"box": [[1, 2, 3]]}}}, "has 1 corners"),
        ({"objects": {"a": {"point": [[1, 2, 3]]}}}, "expected an object with positive, negative, box"),
        ({"space": "ras", "objects": {"a": {"positive": [[1, 2, 3]]}}}, "space is 'ras'"),
    ],
)
def test_faulty_prompts_are_named(tmp_path, content, message):
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(PromptError, match=message):
        read_prompts(tmp_path / "p.json")


def test_a_click_outside_names_its_object(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"objects": {"far": {"positive": [[999, 0, 0]]}}}))
    with pytest.raises(PromptError, match="object 'far': the point at voxel"):
        read_prompts(tmp_path / "p.json").give(Session(ball_scan(), FakeModel()))
