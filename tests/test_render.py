"""The picture: it is drawn for any orientation and any set of masks, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.prompts import Point, Prompts
from anypet.render import mip_figure
from anypet.volume import Volume
from fakes import ball_scan

SCAN = ball_scan(centre=(34, 28, 40), radii_mm=(16, 24, 30))
MASK = SCAN.array > 4
CLICKS = Prompts(
    (Point(tuple(SCAN.to_mm((34, 28, 40)))), Point(tuple(SCAN.to_mm((10, 10, 10))), positive=False))
)


def pixels(path: Path) -> np.ndarray:
    return matplotlib.image.imread(path)[..., :3]


def test_it_is_a_white_page_with_the_objects_colour_on_it(tmp_path: Path) -> None:
    path = mip_figure(SCAN, {"lesion": MASK}, tmp_path / "a.png", CLICKS, title="A scan")
    image = pixels(path)
    assert image.shape[1] > 1500
    assert (image[:5] == 1).all()
    colour = np.array([0xD1, 0x34, 0x5B]) / 255
    outlined = np.abs(image - colour).max(-1) < 0.05
    assert outlined.sum() > 300
    # patient's right (large R) is drawn on the left of the coronal projection, the head (large S) up
    rows, columns = np.nonzero(outlined[:, : image.shape[1] // 4])
    assert columns.mean() < image.shape[1] / 8 + 40
    assert rows.mean() < image.shape[0] / 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("order", "flip"), [((2, 0, 1), 1), ((0, 1, 2), 2)])
def test_the_picture_does_not_depend_on_the_files_orientation(
    tmp_path: Path, order: tuple[int, int, int], flip: int
) -> None:
    affine = SCAN.affine[:, [*order, 3]].copy()
    array = np.flip(np.transpose(SCAN.array, order), flip)
    affine[:3, 3] += affine[:3, flip] * (array.shape[flip] - 1)
    affine[:3, flip] *= -1
    mask = np.flip(np.transpose(MASK, order), flip)
    straight = mip_figure(SCAN, {"a": MASK}, tmp_path / "a.png", CLICKS)
    turned = mip_figure(Volume(array, affine, "SUVbw"), {"a": mask}, tmp_path / "b.png", CLICKS)
    assert np.array_equal(pixels(straight), pixels(turned))


def test_many_empty_and_strange_objects(tmp_path: Path) -> None:
    masks = {f"object with a long name, number {n}": np.roll(MASK, 3 * n, 0) for n in range(15)}
    mip_figure(SCAN, {"nothing": MASK & False, **masks}, tmp_path / "many.png", {"a": CLICKS})
    mip_figure(SCAN, {}, tmp_path / "none.png")
    mip_figure(SCAN, {"all": MASK | True}, tmp_path / "all.svg", vmax=5)
    mip_figure(SCAN, {"empty": MASK & False}, tmp_path / "empty.png", CLICKS)
    slice_ = Volume(np.full((40, 40, 1), np.nan, np.float32), np.eye(4), "SUVbw")
    mip_figure(slice_, {"a": np.ones((40, 40, 1), bool)}, tmp_path / "slice.png")
    assert len(list(tmp_path.iterdir())) == 5


def test_what_is_refused_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(AnyPETError, match="shape"):
        mip_figure(SCAN, {"a": MASK[1:]}, tmp_path / "a.png")
    with pytest.raises(AnyPETError, match="suffix"):
        mip_figure(SCAN, {"a": MASK}, tmp_path / "a.docx")
    assert list(tmp_path.iterdir()) == []
