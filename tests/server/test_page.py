"""The page on the real whole-body scan: a tumour is segmented, corrected, saved, and found again."""

from __future__ import annotations

import csv
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest

import anypet
from anypet.dicomweb import Study
from anypet.io import read_masks
from browsing import Reader, chromium
from serving import TOKEN, Served, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.data

WHOLE, THIGH = "whole body", "thigh"
TUMOUR = (78, 66, 27)
BESIDE = (66, 66, 36)  # the healthy side of the groin, where one click leaks to


class Shelf:
    """An archive that holds one study; `tests/test_dicomweb.py` has a real one."""

    name = "shelf.example"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[dict[str, str]] = []
        self.stored: list[pydicom.Dataset] = []

    def find(self, **what: str) -> list[Study]:
        self.asked.append({key: value for key, value in what.items() if value})
        return [Study("1.2.3", "STS_001", "Sarcoma^One", "20020405", "", "FDG", "", ("PT",), 267)]

    def fetch(self, study: str, folder: Path, *, progress: Callable[[int, int], None]) -> Path:
        assert study == "1.2.3"
        progress(100, 267)
        return Path(shutil.copytree(self.folder, folder))

    def store(self, datasets: Iterable[pydicom.Dataset]) -> list[str]:
        self.stored += datasets
        return [str(one.SOPInstanceUID) for one in self.stored]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def served(shared_data: Path, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("real")
    (folder / "scans" / THIGH).mkdir(parents=True)
    (folder / "scans" / WHOLE).symlink_to(shared_data / "sts_001_wholebody" / "PET")
    for name in ("PET.nii.gz", "CT.nii.gz"):
        (folder / "scans" / THIGH / name).symlink_to(shared_data / "sts" / "STS_001" / name)
    told = {"folder": folder / "scans", "unit": "SUVbw", "model": "default"}
    with Served(settings(folder, **told, archive=Shelf(shared_data / "sts_001_wholebody" / "PET"))) as one:
        yield one


@pytest.fixture(scope="module")
def pet(shared_data: Path) -> anypet.Volume:
    return anypet.read(shared_data / "sts_001_wholebody" / "PET")


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: ANYPET_SCREENSHOTS, or a temporary folder."""
    given = os.environ.get("ANYPET_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def reader(browser: Browser, served: Served) -> Iterator[Reader]:
    client = served.client()
    for session in client.get("/api/sessions").json():
        client.delete(f"/api/sessions/{session['id']}")
    one = Reader(browser, served.url, TOKEN)
    yield one
    one.close()


def test_clicks_on_the_tumour(reader: Reader, pet: anypet.Volume, shots: Path, tmp_path: Path) -> None:
    reader.open(WHOLE)
    reader.go_to(TUMOUR)
    seen = reader.look(shots / "1-opened.png")
    pet_is_drawn_where_it_is(reader, seen, pet)

    reader.click("axial", TUMOUR)
    first = reader.measure("object 1", "volume_ml")
    assert first is not None
    assert 100 < first < 2000
    coloured(reader, seen, reader.look(shots / "2-clicked.png"))
    reader.until(lambda: reader.measure("object 1", "suv_peak"), "SUVpeak")

    reader.page.locator("#undo").click()
    reader.settle()
    assert reader.measure("object 1", "volume_ml") is None
    reader.page.locator("#redo").click()
    reader.settle()
    assert reader.measure("object 1", "volume_ml") == first

    reader.go_to(BESIDE)
    reader.click("axial", BESIDE, button="right")
    corrected = reader.measure("object 1", "volume_ml")
    assert corrected is not None
    assert corrected != first
    reader.look(shots / "3-corrected.png")
    assert "1 added · 1 rejected" in reader.page.locator("#card").inner_text()

    mask = files_hold_what_is_shown(reader, pet, tmp_path)
    assert mask[TUMOUR]
    assert not mask[BESIDE]

    reader.page.reload()
    reader.ready()
    assert reader.measure("object 1", "volume_ml") == corrected
    assert "1 added · 1 rejected" in reader.page.locator("#card").inner_text()
    coloured(reader, seen, reader.look(shots / "4-reloaded.png"))


def pet_is_drawn_where_it_is(reader: Reader, seen: np.ndarray, pet: anypet.Volume) -> None:
    """In inverted grey from 0 to 10, the pixel of a voxel in each view is as dark as its SUV."""
    around = [(82, 74, 27), (84, 70, 27), (66, 62, 27), (56, 60, 27)]
    planes = {"axial": [*around], "coronal": [(78 + d, 66, 27 + 2 * e) for d in (-9, 6) for e in (-8, 5)]}
    planes["sagittal"] = [(78, 66 + d, 27 + 2 * e) for d in (-8, 7) for e in (-6, 6)]
    for pane, voxels in planes.items():
        for voxel in voxels:
            x, y = (round(n) for n in reader.at(pane, voxel))
            got = float(seen[y, x].mean())
            near = pet.array[tuple(slice(v - 1, v + 2) for v in voxel)]
            lowest, highest = (255 * (1 - min(10.0, float(v)) / 10) for v in (near.max(), near.min()))
            assert lowest - 8 <= got <= highest + 8, f"{pane} {voxel}: {got}"
    mip = seen[reader.rect("mip")].mean(axis=2)
    x, y = (round(n) for n in reader.at("mip", np.unravel_index(int(np.argmax(pet.array)), pet.shape)))
    assert seen[y, x].mean() < 40
    assert 0.005 < float((mip < 64).mean()) < 0.15  # brain, heart, bladder
    assert float((mip > 250).mean()) > 0.1  # and air


def coloured(reader: Reader, before: np.ndarray, after: np.ndarray) -> None:
    """The mask is seen in all four views, in the colour of the object."""
    for pane in ("axial", "coronal", "sagittal", "mip"):
        assert orange(after[reader.rect(pane)]) > orange(before[reader.rect(pane)]) + 80, pane


def orange(pixels: np.ndarray) -> int:
    """How many pixels have the hue of the first object."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return int(((red > green + 15) & (green > blue + 25)).sum())


def files_hold_what_is_shown(reader: Reader, pet: anypet.Volume, folder: Path) -> np.ndarray:
    """Every kind of file is saved and read again; all masks are the same voxels."""
    kinds = {}
    items = reader.page.locator("#menu [role=menuitem]")
    reader.page.locator("#export").click()
    items.first.wait_for()
    titles = [t for t in items.locator("span").all_inner_texts() if not t.startswith("Store in")]
    reader.press("Escape")
    for title in titles:
        reader.page.locator("#export").click()
        kinds[title] = reader.download(items.filter(has_text=title).first.click, folder)
    label = next(path for title, path in kinds.items() if title.startswith("NIfTI"))
    mask = anypet.read_labels(label).array == 1
    for title, path in kinds.items():
        if any(word in title for word in ("NRRD", "SEG", "RTSTRUCT")) and "SR" not in title:
            (found,) = read_masks(path, pet).values()
            assert np.array_equal(found, mask), title
    values = pet.array[mask].astype(float)
    ml = mask.sum() * pet.voxel_volume_ml
    expected = {
        "suv_max": values.max(), "suv_mean": values.mean(), "volume_ml": ml, "tlg": values.mean() * ml,
    }  # fmt: skip
    for key, value in expected.items():
        assert reader.measure("object 1", key) == pytest.approx(value, abs=0.05 if key != "tlg" else 0.5)
    report = next(path for title, path in kinds.items() if "SR" in title)
    with zipfile.ZipFile(report) as archive:
        modalities = {pydicom.dcmread(archive.open(name)).Modality for name in archive.namelist()}
    assert modalities == {"SR", "SEG"}
    rows = list(csv.DictReader(next(p for t, p in kinds.items() if t.startswith("Measures")).open()))
    assert any(abs(float(v) - ml) < 0.01 for v in rows[0].values() if v and v.replace(".", "").isdigit())
    session = next(path for title, path in kinds.items() if title.endswith("session"))
    assert zipfile.is_zipfile(session)
    return mask


def test_the_keyboard_alone(reader: Reader, pet: anypet.Volume, shots: Path, tmp_path: Path) -> None:
    focused = "() => document.activeElement.innerText ?? ''"
    for _ in range(12):
        reader.press("Tab")
        if WHOLE in reader.run(focused):
            break
    reader.press("Enter")
    reader.ready()
    name = "by keys"
    reader.press("n")
    reader.settle()
    reader.press("F2")
    reader.page.keyboard.type(name)
    reader.press("Enter")
    reader.until(lambda: reader.page.locator(f'tr[data-object="{name}"]').count(), "the new name")
    reader.run("() => document.getElementById('views').focus()")

    walk(reader, TUMOUR)
    reader.press("Enter")
    reader.settle()
    first = reader.measure(name, "volume_ml")
    assert first is not None
    walk(reader, BESIDE)
    reader.press("Shift+Enter")
    reader.settle()
    corrected = reader.measure(name, "volume_ml")
    assert corrected not in (None, first)
    reader.press("Control+z")
    reader.settle()
    assert reader.measure(name, "volume_ml") == first
    reader.press("Control+Shift+z")
    reader.settle()
    assert reader.measure(name, "volume_ml") == corrected
    reader.look(shots / "5-keyboard.png")

    reader.press("e")
    reader.until(lambda: reader.page.locator("#menu [role=menuitem]").count(), "the menu")
    path = reader.download(lambda: reader.press("ArrowDown", "ArrowUp", "Enter"), tmp_path)
    label = anypet.read_labels(path)
    value = next(number for number, title in label.meta.get("names", {2: name}).items() if title == name)
    assert (label.array == int(value)).sum() > 0

    reader.press("F5")
    time.sleep(0.2)
    reader.page.reload()
    reader.ready()
    assert reader.measure(name, "volume_ml") == corrected


def walk(reader: Reader, voxel: tuple[int, int, int]) -> None:
    """To a voxel with arrow keys, from wherever the crosshair is; the readout says when it is reached."""
    reader.press("1")
    here = [int(n) for n in reader.page.locator("[data-voxel]").inner_text().split(",")]
    ras_from, ras_to = (reader.run("([v]) => anypet.grid.toRas(v)", list(v)) for v in (here, voxel))
    keys = (("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"), ("PageUp", "PageDown"))
    for pair, a, b in zip(keys, ras_from, ras_to, strict=True):
        key = pair[0] if b > a else pair[1]
        fast, slow = divmod(abs(b - a), 5)
        reader.press(*[f"Shift+{key}"] * fast, *[key] * slow)
    reader.settle()
    assert reader.page.locator("[data-voxel]").inner_text() == ", ".join(map(str, voxel))


def test_from_the_archive_and_back(reader: Reader, served: Served) -> None:
    shelf = served.engine.settings.archive
    assert isinstance(shelf, Shelf)
    reader.page.locator("#pacs-words").fill("sarcoma")
    reader.press("Enter")
    reader.page.locator("#pacs-found button", has_text="Sarcoma^One").click()
    reader.ready()
    assert shelf.asked[0]["name"] == "sarcoma"
    reader.go_to(TUMOUR)
    reader.press("Enter")
    reader.settle()
    reader.press("e")
    reader.page.locator("#menu [role=menuitem]", has_text="Store in shelf.example").click()
    reader.until(lambda: "Stored in shelf.example" in reader.notes(), "that it is stored")
    assert sorted(str(one.Modality) for one in shelf.stored) == ["RTSTRUCT", "SEG", "SR"]


def test_fusion_of_pet_and_ct(reader: Reader, shots: Path) -> None:
    reader.open(THIGH)
    seen = {}
    for mode in ("PET", "CT", "Fusion"):
        reader.page.locator("#modes button", has_text=mode).click()
        seen[mode] = reader.look(shots / f"6-{mode}.png")[reader.rect("axial")].astype(float)
    assert np.ptp(seen["CT"], axis=2)[30:-30, 30:-30].mean() < 4  # grey
    assert (np.ptp(seen["Fusion"], axis=2) > 60).mean() > 0.01  # the tumour is red
    assert np.abs(seen["PET"] - seen["CT"]).mean() > 20
    reader.page.locator("#fusion").focus()
    reader.press("Home")
    less = reader.look()[reader.rect("axial")].astype(float)
    assert np.abs(less - seen["CT"]).mean() < 2
    suv = reader.page.locator("[data-suv]")
    before = suv.inner_text()
    mip = reader.rect("mip")
    reader.page.mouse.move((mip[1].start + mip[1].stop) / 2, (mip[0].start + mip[0].stop) / 2)
    reader.until(lambda: suv.inner_text() != before, "SUV under the cursor")
    assert float(suv.inner_text()) > 2
