"""A browser for tests of the page: Chromium without a screen, drawing WebGL in software."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_S = float(os.environ.get("ANYPET_PATIENCE_S", "240"))  # busy machines draw WebGL slowly
FLAGS = (
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)  # fmt: skip
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; the test skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright for Python is not installed")
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no Chromium here; Debian's package is chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


class Reader:
    """Somebody who uses the page; every request that the page makes is written down."""

    def __init__(self, browser: Browser, url: str, token: str, **context: Any) -> None:
        given = {"viewport": {"width": 1280, "height": 720}, "color_scheme": "dark", **context}
        self.url = url
        self.context = browser.new_context(**given)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._console)
        self.page.goto(f"{url}/?token={token}")

    def _console(self, message: Any) -> None:
        if message.type == "error" and "the server responded with a status of 4" not in message.text:
            self.faults.append(message.text)

    def close(self) -> None:
        """Ends, and checks that nothing but the server was asked and nothing in the page failed."""
        self.context.close()
        outside = [
            url for url in self.asked if not url.startswith((self.url + "/", f"blob:{self.url}/", "data:"))
        ]
        assert not outside
        assert not self.faults

    # -- going about -----------------------------------------------------------------------------------------

    def until(self, call: Any, what: str = "") -> Any:
        """Waits until something holds -> what it returned (the page's policy forbids waiting in the page)."""
        end = time.monotonic() + PATIENCE_S
        while not (found := call()):
            assert time.monotonic() < end, f"{what or call} does not come about; {self.notes()}"
            time.sleep(0.05)
        return found

    def run(self, code: str, *values: Any) -> Any:
        """Runs a function of the page on a list of values."""
        return self.page.evaluate(code, list(values))

    def open(self, name: str) -> None:
        """Opens a scan from the list."""
        self.page.locator("#scans button", has_text=name).click()
        self.ready()

    def ready(self) -> None:
        """Waits for planes and the first projection, and for them to be drawn."""
        self.page.locator("#desk[data-ready]").wait_for()
        self.until(lambda: self.run("() => Boolean(anypet.mip.shown)"), "the projection")
        self.settle()

    def settle(self) -> None:
        """Waits until what was asked for is done and on the screen."""
        idle = "() => !anypet.work?.running.length && !anypet.frame && !anypet.stale.size"
        self.until(lambda: self.run(idle), "rest")
        self.run("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def notes(self) -> str:
        """Messages on the screen."""
        return " | ".join(self.page.locator(".note").all_inner_texts())

    # -- looking ---------------------------------------------------------------------------------------------

    def look(self, path: Path | None = None) -> np.ndarray:
        """What is on the screen, (rows, columns, RGB)."""
        self.settle()
        png = self.page.screenshot()
        if path is not None:
            path.write_bytes(png)
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)

    def rect(self, pane: str) -> tuple[slice, slice]:
        """Rows and columns of a pane on the screen."""
        place = self.run(
            "([pane]) => { const b = document.getElementById('views').getBoundingClientRect(),"
            " p = anypet.places[pane]; return [b.x + p.x, b.y + p.y, p.width, p.height] }",
            pane,
        )
        x, y, w, h = (round(n) for n in place)
        return slice(y, y + h), slice(x, x + w)

    def at(self, pane: str, voxel: Sequence[float]) -> tuple[float, float]:
        """Where a voxel (i, j, k) is on the screen."""
        x, y = self.run(
            "([pane, voxel]) => { const ras = anypet.grid.toRas(voxel), p = anypet.places[pane];"
            " const q = pane === 'mip' ? anypet.mip.toPixel(ras).map((n, a) => n + [p.x, p.y][a])"
            " : anypet.viewer.toPixel(anypet.viewer.panes.find((one) => one.kind === pane), ras);"
            " const b = document.getElementById('views').getBoundingClientRect();"
            " return [q[0] + b.x, q[1] + b.y] }",
            pane, [float(n) for n in voxel],
        )  # fmt: skip
        return x, y

    def go_to(self, voxel: Sequence[float]) -> None:
        """Moves the crosshair."""
        self.run("([voxel]) => anypet.goTo(anypet.grid.toRas(voxel))", [float(n) for n in voxel])
        self.settle()

    def measure(self, name: str, key: str) -> float | None:
        """A number of the table of objects; None where there is none."""
        cell = self.page.locator(f'tr[data-object="{name}"] td[data-measure={key}]')
        text = cell.inner_text()
        return None if text == "–" else float(text)

    # -- doing -----------------------------------------------------------------------------------------------

    def click(self, pane: str, voxel: Sequence[float], **how: Any) -> None:
        """Clicks on a voxel and waits for what comes of it."""
        self.page.mouse.click(*self.at(pane, voxel), **how)
        self.settle()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def download(self, call: Any, folder: Path) -> Path:
        """Saves the file that something brings."""
        with self.page.expect_download(timeout=PATIENCE_S * 1000) as waiting:
            call()
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path
