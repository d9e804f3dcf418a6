"""Both spellings of clicks, and what is wrong with a bad file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError, PromptError
from anypet.lesions.click_files import LesionClicks, parse_clicks, read_clicks, write_clicks

CLICKS = LesionClicks(((109, 103, 353), (99, 92, 178), (0, 0, 0)), ((84, 84, 264),))
VOXELS = st.lists(st.tuples(*(st.integers(0, 900),) * 3), max_size=4).map(tuple)


def test_the_plain_spelling_is_the_training_datas() -> None:
    content = {"tumor": [[109, 103, 353], [99, 92, 178], [0, 0, 0]], "background": [[84, 84, 264]]}
    assert CLICKS.as_json("plain") == content
    assert parse_clicks(content) == CLICKS


def test_the_other_spelling_is_grand_challenges() -> None:
    content = CLICKS.as_json("gc")
    assert content["type"] == "Multiple points"
    assert content["version"] == {"major": 1, "minor": 0}
    assert content["points"][1] == {"point": [99, 92, 178], "name": "tumor"}
    assert [point["name"] for point in content["points"]] == ["tumor"] * 3 + ["background"]
    content["points"].reverse()  # the kinds may come in any order; each keeps its own
    assert parse_clicks(content) == LesionClicks(CLICKS.tumour[::-1], CLICKS.background)


@pytest.mark.parametrize("spelling", ["plain", "gc"])
@settings(deadline=None)
@given(tumour=VOXELS, background=VOXELS)
def test_both_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, spelling: Any, tumour: Any, background: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{spelling}.json"
    clicks = LesionClicks(tumour, background)
    assert read_clicks(write_clicks(clicks, path, spelling)) == clicks


@pytest.mark.parametrize("text", ["", "\n", "{}", '{"points": []}', '{"tumor": []}', '{"points": null}'])
def test_no_clicks_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lesion-clicks.json"
    path.write_text(text)
    assert read_clicks(path) == LesionClicks()
    assert not read_clicks(path)


def test_a_step_takes_the_first_of_either_kind() -> None:
    assert CLICKS.first(0) == LesionClicks()
    assert CLICKS.first(1) == LesionClicks(CLICKS.tumour[:1], CLICKS.background)
    assert CLICKS.first(2) == LesionClicks(CLICKS.tumour[:2], CLICKS.background)
    assert CLICKS.first(10) == CLICKS
    with pytest.raises(PromptError, match="0 or more"):
        CLICKS.first(-1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"tumor": [[1, 2]]}, r"tumor\[0\] is \[1, 2\], expected three whole numbers"),
        ({"tumor": [[1, 2, 3], [1.5, 2, 3]]}, r"tumor\[1\] .*voxels \[x, y, z\], not millimetres"),
        ({"background": [[1, -2, 3]]}, r"background\[0\]"),
        ({"background": [[1, float("nan"), 3]]}, r"background\[0\]"),
        ({"background": [[1, True, 3]]}, r"background\[0\]"),
        ({"background": [["1", "2", "3"]]}, r"background\[0\]"),
        ({"tumor": 5}, "tumor is 5, expected a list"),
        ({"tumor": [], "lesion": []}, "unknown kind of click 'lesion'"),
        ({"foreground": []}, 'holds foreground; expected "tumor" and "background", or "points"'),
        ({"points": [[1, 2, 3]]}, r"points\[0\] is \[1, 2, 3\], expected"),
        ({"points": [{"name": "tumor"}]}, r"points\[0\]"),
        ({"points": [{"name": "liver", "point": [1, 2, 3]}]}, r"points\[0\]: the name is 'liver'"),
        ({"points": {"a": 1}}, "expected a list"),
    ],
)
def test_bad_files_are_named_with_the_place(tmp_path: Path, content: Any, told: str) -> None:
    path = tmp_path / "clicks.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PromptError, match=told) as error:
        read_clicks(path)
    assert str(path) in str(error.value)


def test_files_that_are_no_json(tmp_path: Path) -> None:
    path = tmp_path / "clicks.json"
    with pytest.raises(AnyPETError, match=r"clicks\.json"):
        read_clicks(path)
    for text in ("[1, 2]", '{"tumor": ['):
        path.write_text(text)
        with pytest.raises(AnyPETError, match=r"clicks\.json"):
            read_clicks(path)


def test_whole_numbers_may_be_written_with_a_point() -> None:
    assert parse_clicks({"tumor": [[1.0, 2, 3.0]]}) == LesionClicks(((1, 2, 3),))


def test_clicks_outside_of_the_scan_are_named() -> None:
    clicks = LesionClicks(((1, 2, 3),), ((0, 0, 0), (9, 1, 1)))
    clicks.check_inside((10, 4, 4))
    with pytest.raises(PromptError, match=r"background click 1, voxel \(9, 1, 1\), lies outside .*5 x 4 x 4"):
        clicks.check_inside((5, 4, 4))
    with pytest.raises(PromptError, match=r"is it \(z, y, x\)"):
        LesionClicks(((300, 20, 30),)).check_inside((40, 40, 320))


def test_writing_refuses(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="plain or gc"):
        CLICKS.as_json("other")  # type: ignore[arg-type]
    with pytest.raises(AnyPETError, match="cannot be written"):
        write_clicks(CLICKS, tmp_path / "no" / "clicks.json")
    assert list(tmp_path.iterdir()) == []
