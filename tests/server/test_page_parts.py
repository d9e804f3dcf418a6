"""The page's parts, with a model that is quick: geometry against NumPy, tools, words, accessibility."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from anypet.errors import WeightsError
from anypet.io import write
from anypet.objects import Patch
from anypet.server.boxes import encode_mask
from anypet.volume import Volume
from browsing import Reader, chromium
from fakes import ball_scan
from serving import TOKEN, Served, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "lesions"))
from lesion_fakes import HotNet

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MIDDLE = (24, 20, 30)  # of the ball
CURED = 'evil <img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("parts")
    scans = folder / "scans"
    scans.mkdir()
    write(ball_scan(), scans / "ball.nii.gz")
    scan = ball_scan()
    turned = np.diag([-4.0, -4.0, 3.0, 1.0])
    turned[:3, 3] = (60, 70, -50)
    write(Volume(scan.array, turned, "SUVbw"), scans / "turned.nii.gz")
    with Served(settings(folder, folder=scans, unit="SUVbw")) as one:
        yield one


@pytest.fixture
def reader(browser: Browser, served: Served) -> Iterator[Reader]:
    one = Reader(browser, served.url, TOKEN)
    yield one
    one.close()


@pytest.fixture
def ball(reader: Reader, served: Served) -> Reader:
    """A reader with the ball open, and nothing done on it yet."""
    for session in served.client().get("/api/sessions").json():
        served.client().delete(f"/api/sessions/{session['id']}")
    reader.open("ball")
    return reader


def oblique() -> np.ndarray:
    turn, _ = np.linalg.qr(np.array([[0.1, 0.9, 0.05], [-1.0, 0.2, 0.1], [0.05, 0.1, -1.0]]))
    affine = np.eye(4)
    affine[:3, :3] = turn * [2.0, 3.0, 4.0]
    affine[:3, 3] = (11, -22, 333)
    return affine


@pytest.mark.parametrize("affine", [np.diag([-4.0, -4.0, 3.0, 1.0]), oblique()])
def test_places_are_those_of_the_volume(reader: Reader, affine: np.ndarray) -> None:
    shape = (7, 9, 11)
    volume = Volume(np.zeros(shape, np.float32), affine, "SUVbw")
    axis = [int(np.argmax(np.abs(row))) for row in affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)]
    perm = [(j + 1) * int(np.sign(affine[r, j])) for r, j in enumerate(axis)]
    found = reader.run(
        "async ([shape, affine, perm, points]) => { const { Grid } = await import('/static/js/grid.js');"
        " const grid = new Grid(shape, affine, perm);"
        " return points.map((p) => { const ras = grid.toRas(p), mm = grid.toMm(ras);"
        "   return { ras, mm, back: grid.toIjk(grid.fromMm(mm)), at: grid.offset(ras) } }) }",
        list(shape), affine.tolist(), perm, [[0, 0, 0], [6, 8, 10], [2, 5, 1]],
    )  # fmt: skip
    for told, voxel in zip(found, [(0, 0, 0), (6, 8, 10), (2, 5, 1)], strict=True):
        assert np.allclose(told["mm"], volume.to_mm(voxel))
        assert np.allclose(told["back"], voxel)
        assert told["at"] == np.ravel_multi_index(voxel, shape, order="F")
    step = np.array(found[1]["mm"]) - np.array(found[0]["mm"])
    assert all(np.sign(step[r]) == np.sign(found[1]["ras"][r] - found[0]["ras"][r]) for r in range(3))


def test_masks_are_those_of_the_server(reader: Reader) -> None:
    """Boxes laid over one another, cut along each axis, against NumPy; flipped as most DICOM is."""
    rng = np.random.default_rng(3)
    shape = (13, 10, 8)
    boxes, full = [], np.zeros(shape, bool)
    for low, high in [((4, 4, 2), (8, 8, 6)), ((1, 3, 0), (6, 9, 4)), ((5, 2, 3), (13, 10, 8))]:
        values = rng.random([b - a for a, b in zip(low, high, strict=True)]) < 0.5
        boxes.append(encode_mask(Patch(low, values)))
        full[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = values
    told = reader.run(
        "async ([shape, boxes]) => { const { Grid } = await import('/static/js/grid.js');"
        " const { Mask, decoded } = await import('/static/js/masks.js');"
        " const grid = new Grid(shape, [[-2,0,0,0],[0,-2,0,0],[0,0,3,0]], [-1, -2, 3]);"
        " const mask = new Mask();"
        " for (const box of boxes) mask.put(await decoded(box));"
        " const voxels = []; mask.each(grid, (...ras) => voxels.push(grid.toIjk(ras)));"
        " const planes = [0, 1, 2].map((n) => mask.slice(grid, n, 4));"
        " return { voxels, planes: planes.map((p) => p && { ...p, bits: [...p.bits] }) } }",
        list(shape), boxes,
    )  # fmt: skip
    assert {tuple(v) for v in told["voxels"]} == {tuple(int(n) for n in v) for v in np.argwhere(full)}
    ras = full[::-1, ::-1, :]
    for normal, plane in enumerate(told["planes"]):
        expected = np.take(ras, 4, axis=normal)
        found = np.zeros_like(expected)
        bits = np.array(plane["bits"], bool).reshape(plane["height"], plane["width"]).T
        found[plane["u"] :, plane["v"] :][: bits.shape[0], : bits.shape[1]] = bits
        assert np.array_equal(found, expected)


def test_an_outline_encloses_its_voxels(reader: Reader) -> None:
    """A 4 by 3 rectangle with a 1 by 1 hole: each corner cut takes or gives half of half a half square."""
    plane = np.ones((4, 3, 1), bool)
    plane[1, 1] = False
    lines = reader.run(
        "async ([box]) => { const { Grid } = await import('/static/js/grid.js');"
        " const { Mask, decoded } = await import('/static/js/masks.js'); const mask = new Mask();"
        " const grid = new Grid([9, 9, 9], [[1,0,0,0],[0,1,0,0],[0,0,1,0]], [1, 2, 3]);"
        " mask.put(await decoded(box)); return mask.outline(grid, 2, 5) }",
        encode_mask(Patch((2, 3, 5), plane)),
    )
    areas = []
    for line in lines:
        u, v = np.array(line).reshape(-1, 2).T
        areas.append(0.5 * float(np.sum(u * np.roll(v, -1) - v * np.roll(u, -1))))
    assert sorted(areas) == [-0.5, 11.5]  # the hole runs the other way round
    u, v = np.array(max(lines, key=len)).reshape(-1, 2).T
    assert (u.min(), u.max(), v.min(), v.max()) == (2, 6, 3, 6)


def test_the_projection_is_the_maximum(ball: Reader) -> None:
    """From the front and from the side the MIP is NumPy's, and a click on it finds the hottest voxel."""
    ball.until(lambda: ball.run("() => anypet.mip.ready === 1"), "all angles")
    told = ball.run(
        "() => { const { body, nu, nz, size } = anypet.mip.size;"
        " const quarter = anypet.mip.frames.length / 4;"
        " return { body, nu, nz, size, frames: [0, quarter].map((n) => [...anypet.mip.frames[n].values]) } }"
    )
    low, high = told["body"]["low"], told["body"]["high"]
    array = ball_scan().array[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    for frame, axis in zip(told["frames"], (1, 0), strict=True):
        found = np.array(frame).reshape(told["nz"], told["nu"]).T
        expected = array.max(axis=axis)
        if axis == 1:
            expected = expected[::-1]  # from the front, the patient's left is on the right
        start = (told["nu"] - expected.shape[0]) // 2
        shifts = [found[start + d : start + d + expected.shape[0]] for d in (0, 1)]
        assert any(np.allclose(one, expected) for one in shifts)
    picked = ball.run("([x, y]) => anypet.mip.pick(x, y, anypet.pet)", *mip_point(ball, MIDDLE))
    assert ball_scan().array[tuple(picked)] == 8.0


def mip_point(reader: Reader, voxel: tuple[int, int, int]) -> list[float]:
    x, y = reader.at("mip", voxel)
    rows, columns = reader.rect("mip")
    return [x - columns.start, y - rows.start]


@pytest.mark.parametrize("name", ["ball", "turned"])
def test_a_click_lands_where_it_is_made(reader: Reader, served: Served, name: str) -> None:
    """In each view, in files of either orientation, the server hears of the voxel under the mouse."""
    reader.open(name)
    session = reader.run("() => anypet.work.path")
    reader.go_to(MIDDLE)
    for pane in ("axial", "coronal", "sagittal", "mip"):
        reader.press("n")
        reader.settle()
        reader.click(pane, MIDDLE)
        told = served.client().get(session).json()
        item = next(o for o in told["objects"] if o["name"] == told["selected"])
        voxel = np.array(item["prompts"]["points"][0]["voxel"])
        if pane == "mip":
            assert ball_scan().array[tuple(np.round(voxel).astype(int))] == 8.0
        else:
            assert np.abs(voxel - MIDDLE).max() <= 1
        assert 20 < item["measures"]["volume_ml"] < 50  # a ball of 33.5 mL
        reader.go_to(MIDDLE)


def test_tools_objects_and_clocks(ball: Reader, served: Served) -> None:
    session = ball.run("() => anypet.work.path")

    def told() -> dict[str, Any]:
        return served.client().get(session).json()

    ball.go_to(MIDDLE)
    ball.press("b")
    (ax, ay), (bx, by) = ball.at("axial", (17, 13, 30)), ball.at("axial", (31, 27, 30))
    drag(ball, [(ax, ay), (bx, by)])
    ((box,),) = [o["prompts"]["boxes"] for o in told()["objects"]]
    scan = ball_scan()
    corners = np.sort([scan.to_voxel(box["lo_mm"]), scan.to_voxel(box["hi_mm"])], axis=0)
    assert np.abs(corners[:, :2] - [[17, 13], [31, 27]]).max() < 1
    assert 5 < corners[1, 2] - corners[0, 2] < 15  # a depth of its own
    assert told()["objects"][0]["measures"]["voxels"] > 0

    ball.press("k", "n")
    ball.settle()
    ball.press("s")
    drag(ball, [ball.at("axial", (22 + n, 20, 30)) for n in range(5)])
    second = next(o for o in told()["objects"] if o["name"] == told()["selected"])
    assert second["measures"]["voxels"] > 0
    assert second["timing"]
    assert second["colour"] != told()["objects"][0]["colour"]
    ball.press("k")
    ball.until(lambda: not any(o["timing"] for o in told()["objects"]), "the clock stands")

    ball.press("p", "F2")
    ball.page.keyboard.type(CURED)
    ball.press("Enter")
    ball.until(lambda: CURED in [o["name"] for o in told()["objects"]], "the new name")
    ball.settle()
    assert CURED in ball.page.locator("#objects").inner_text()
    assert ball.page.title() != "1"
    ball.run("() => document.getElementById('views').focus()")
    ball.press("h")
    ball.settle()
    assert next(o for o in told()["objects"] if o["name"] == CURED)["hidden"]
    ball.press("[")
    ball.settle()
    assert told()["selected"] == "object 1"
    ball.press("Delete")
    ball.page.locator("#ask button.primary").click()
    ball.until(lambda: len(told()["objects"]) == 1, "one object less")


def drag(reader: Reader, points: list[tuple[float, float]]) -> None:
    mouse = reader.page.mouse
    mouse.move(*points[0])
    mouse.down()
    for point in points[1:]:
        mouse.move(*point, steps=4)
    mouse.up()
    reader.settle()


def test_help_for_the_next_click(ball: Reader) -> None:
    ball.go_to(MIDDLE)
    ball.press("Enter")
    ball.settle()
    ball.press("g")
    ball.until(lambda: "Suggested" in ball.notes(), "a suggestion")
    before = ball.look()[ball.rect("axial")]
    ball.press("o")
    ball.until(lambda: ball.run("() => Boolean(anypet.uncertainty)"), "uncertainty")
    after = ball.look()[ball.rect("axial")]
    assert (np.abs(after - before).max(axis=2) > 20).sum() > 30
    ball.press("?")
    assert ball.page.locator("#keys kbd").count() > 40
    ball.press("Escape")


def test_lesions_and_words_become_objects(
    ball: Reader, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.engine, "_nets", {})
    monkeypatch.setattr("anypet.lesions.pipeline.load_nets", lambda *how: [HotNet()])
    ball.press("l")
    ball.until(lambda: "1 lesion found" in ball.notes(), "the lesion")
    ball.settle()
    scan = ball_scan()
    truth_ml = float((scan.array > 2.5).sum()) * scan.voxel_volume_ml
    assert ball.measure("lesion 1", "volume_ml") == pytest.approx(truth_ml, rel=0.1)
    for words, told in (("all lesions", "Segmented lesion 1"), ("warm", "Segmented warm"),
                        ("elbow", "elbow")):  # fmt: skip
        ball.page.locator("#words").fill(words)
        ball.page.locator("#text button").click()
        ball.until(lambda told=told: told in ball.notes(), told)
    assert ball.page.locator("#objects").inner_text().count("lesion") == 1


def test_what_goes_wrong_is_said_in_words(
    ball: Reader, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*how: Any) -> None:
        raise WeightsError("lesions has no weights here: /srv/lesions.safetensors is not there")

    monkeypatch.setattr(served.engine, "_nets", {})
    monkeypatch.setattr("anypet.lesions.pipeline.load_nets", missing)
    ball.press("l")
    ball.until(lambda: "The whole-body network is not installed" in ball.notes(), "that it is missing")
    ball.press("e")
    ball.page.locator("#menu [role=menuitem]", has_text="NIfTI").click()
    ball.until(lambda: "Nothing to save yet" in ball.notes(), "that nothing is segmented")
    ball.page.locator("#home").click()
    ball.page.locator("#start").wait_for()
    bad = tmp_path / "letter.txt"
    bad.write_text("no scan")
    ball.page.locator("#files").set_input_files(str(bad))
    ball.until(lambda: ball.page.locator(".note").count() >= 3, "that it is no scan")
    ball.context.set_offline(True)
    ball.page.locator("#scans button", has_text="ball").click()
    ball.until(lambda: "The server does not answer" in ball.notes(), "that the server is away")
    ball.context.set_offline(False)
    ball.faults.clear()  # the browser says that it is offline


def test_a_scan_is_sent_and_opened(reader: Reader, tmp_path: Path) -> None:
    """A file that does not say what it holds is asked about."""
    write(ball_scan(suv=6.0), tmp_path / "sent.nii.gz")
    reader.page.locator("#files").set_input_files(str(tmp_path / "sent.nii.gz"))
    asked = reader.page.locator("#ask button.primary")
    opened = reader.page.locator("#desk[data-ready]")
    reader.until(lambda: asked.is_visible() or opened.count(), "the question")
    if asked.is_visible():
        asked.click()
    reader.ready()
    assert "sent" in reader.page.locator("#scan-name").inner_text()
    value = reader.run("() => Math.max(...anypet.pet)")
    assert value == pytest.approx(6.0)


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
def test_nothing_is_cut_off_and_axe_is_content(
    browser: Browser, served: Served, scheme: str, size: tuple[int, int]
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing"
    )
    width, height = size
    reader = Reader(
        browser, served.url, TOKEN, color_scheme=scheme, viewport={"width": width, "height": height}
    )
    faults = serious(axe.Axe().run(reader.page))
    reader.open("ball")
    faults += serious(axe.Axe().run(reader.page))
    cut = reader.run(
        "() => [...document.querySelectorAll('#bar *, #panel *, #tools *, #readout *')].filter((one) => {"
        " const b = one.getBoundingClientRect();"
        " return b.width && (b.right > innerWidth + 1 || b.bottom > innerHeight + 1) })"
        ".map((one) => one.outerHTML)"
    )
    reader.press("?")
    faults += serious(axe.Axe().run(reader.page))
    reader.close()
    assert not faults
    assert not cut


def serious(results: Any) -> list[str]:
    """Faults that axe calls serious or critical."""
    assert len(results.response["passes"]) > 10  # it did look
    found = [v for v in results.response["violations"] if v["impact"] in ("serious", "critical")]
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:150]} {v['nodes'][0]['failureSummary'][:300]}" for v in found
    ]
