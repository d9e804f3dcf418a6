"""Settings files."""

from __future__ import annotations

from pathlib import Path

import pytest

from anypet.errors import AnyPETError
from anypet.training.config import load_settings


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("bathc: 4", "bathc"),
        ("batch: 0", "batch"),
        ("window: 50", "window"),
        ("window: 32", "half"),
        ("family: segany", "window"),
        ("gradient_clicks: some", "gradient_clicks"),
        ("strategy: cpcl", "gradient_clicks"),
        ("{strategy: cpcl, gradient_clicks: all}", "once_share"),
        ("inherits: nothing", "nothing"),
        ("inherits: absent.yaml", "absent"),
        ("- a list", "settings"),
        ("a: [", "settings"),
    ],
)
def test_bad_settings_name_the_key(tmp_path: Path, text: str, cause: str):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(AnyPETError, match=cause):
        load_settings(path)


def test_settings_by_name_and_override(tmp_path: Path):
    assert load_settings("compact", batch=2, seed=None).batch == 2
    with pytest.raises(AnyPETError, match="compact"):
        load_settings("nothing")
    with pytest.raises(AnyPETError, match="no settings at"):
        load_settings(tmp_path / "absent.yaml")


def test_settings_build_on_others(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("inherits: compact-lesion\nname: mine\nbatch: 2\n")
    (tmp_path / "more.yaml").write_text("inherits: mine.yaml\nbatch: 8\n")
    lesion, more = load_settings("compact-lesion"), load_settings(tmp_path / "more.yaml")
    assert (more.name, more.batch) == ("mine", 8)
    assert more.organ_share == lesion.organ_share
    assert lesion.organ_share < load_settings("compact").organ_share
    (tmp_path / "mine.yaml").write_text("inherits: more.yaml")
    with pytest.raises(AnyPETError, match="circle"):
        load_settings(tmp_path / "more.yaml")


def test_strategies_are_constants_of_equation_six():
    paper = load_settings("segany-vit-b")
    assert paper.cpcl is not None
    assert (paper.cpcl.omega, paper.cpcl.beta) == (0.1, 5.0)
    alone = load_settings("segany-vit-b", strategy="consistency").cpcl
    assert alone is not None
    assert alone.beta == 0.0
    assert load_settings("segany-vit-b", strategy="mixed").cpcl is None
