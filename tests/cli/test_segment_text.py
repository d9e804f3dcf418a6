"""`anypet segment --text` from words to files, with networks whose answers are known."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from anypet.cli.app import app
from anypet.errors import PromptError
from anypet.io import read_labels, write
from anypet.models import registry
from fakes import FakeModel, dice

sys.path.insert(0, str(Path(__file__).parents[1] / "lesions"))
from lesion_fakes import HotNet, scan

PET = scan()


@pytest.fixture
def pet(tmp_path, monkeypatch):
    monkeypatch.setattr("anypet.lesions.pipeline.load_nets", lambda files=(), device="cpu": [HotNet()])
    monkeypatch.setattr(registry, "load_model", lambda *_, **__: FakeModel())
    write(PET, tmp_path / "pet.nii.gz")
    return tmp_path / "pet.nii.gz"


def run(pet, *words):
    line = ["segment", str(pet), "-o", str(pet.parent / "found.nii.gz"), "--unit", "SUVbw", *map(str, words)]
    return CliRunner().invoke(app, line)


def test_several_words_become_labels_with_names(pet):
    result = run(pet, "--text", "warm and all lesions", "--json", "--png", pet.parent / "picture.png")
    assert result.exit_code == 0, result.output
    found = read_labels(pet.parent / "found.nii.gz")
    assert found.meta["names"] == {1: "warm", 2: "lesion 1", 3: "lesion 2"}
    assert dice(found.array >= 2, PET.array > 4) > 0.9
    assert dice(found.array == 1, (PET.array > 1) & (PET.array < 2.5)) > 0.8
    rows = json.loads(result.stdout)["measures"]
    assert "lesion 2" in json.dumps(rows)
    assert (pet.parent / "picture.png").stat().st_size > 1000


def test_the_same_words_again_find_the_same():
    from anypet.session import Session

    session = Session(PET, FakeModel())
    how = {"tracer": "fdg", "nets": [HotNet()]}
    first = session.add_text("lesions", **how)
    again = session.add_text("lesions", **how)
    assert list(first) == list(again) == ["lesion 1", "lesion 2"]
    assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--text", "left elbow"), "warm, all lesions"),
        (("--text", "warm", "--point", "1,2,3"), "--text stands alone"),
        (("--point", "1,2,3", "--ct", "ct.nii.gz"), "--ct is for --text"),
    ],
)
def test_what_cannot_be_is_refused(pet, words, told):
    result = run(pet, *words)
    assert result.exit_code != 0
    assert told in str(result.exception)
    assert isinstance(result.exception, PromptError)
    assert not (pet.parent / "found.nii.gz").exists()
