"""From a click on the page to its mask on the screen: median of first clicks and of corrections.

    python benchmarks/page_clicks.py SCAN [--objects 8] [--pause 1] [--chromium chromium] [--gpu]

Starts `anypet serve` and Chromium, opens the scan, and clicks on voxels of SUV 2.5 and more, drawn with a
seed; each object gets one click and two corrections, with a pause for the eye before each. The time runs
until the frame after the mask was drawn.
The server's own seconds come with every answer, so that the page's share is a ratio within one run. WebGL is
drawn in software unless --gpu is given.
"""

from __future__ import annotations

import argparse
import json
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Page, sync_playwright

from anypet.io import read

Times = list[list[float]]
SOFTWARE = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
CLICK = """async ([voxel, positive]) => {
    const ras = anypet.grid.toRas(voxel);
    anypet.goTo(ras);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const began = performance.now();
    await anypet.click(ras, positive);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return [(performance.now() - began) / 1000, anypet.work.latency.server];
}"""


def clicks(page: Page, voxels: np.ndarray, rng: np.random.Generator, pause: float) -> dict[str, Times]:
    """Seconds in the browser and on the server, of first clicks and of corrections."""
    times: dict[str, Times] = {"first": [], "further": []}

    def click(voxel: list[int], positive: bool) -> list[float]:
        page.wait_for_timeout(1000 * pause)
        found: list[float] = page.evaluate(CLICK, [voxel, positive])
        return found

    for n, voxel in enumerate(voxels.tolist()):
        page.evaluate("() => anypet.act(anypet.work.add())")
        taken = [click(voxel, True)]
        for _ in range(2):
            near = [int(v + d) for v, d in zip(voxel, rng.integers(-5, 6, 3), strict=True)]
            taken.append(click(near, False))
        if n:  # the first object warms up
            times["first"].append(taken[0])
            times["further"] += taken[1:]
    return times


def summary(times: Times) -> dict[str, Any]:
    browser, server = (statistics.median(column) for column in zip(*times, strict=True))
    worst = max(one for one, _ in times)
    return {
        "clicks": len(times), "median_s": round(browser, 3), "worst_s": round(worst, 3),
        "server_median_s": round(server, 3), "page_share": round(1 - server / browser, 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--objects", type=int, default=8)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before each click")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--gpu", action="store_true")
    how = parser.parse_args()
    rng = np.random.default_rng(0)
    scan = read(how.scan)
    inner = scan.array[8:-8, 8:-8, 8:-8]
    hot = np.argwhere(inner > 2.5) + 8
    voxels = hot[rng.choice(len(hot), how.objects + 1, replace=False)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, token = f"http://127.0.0.1:{port}", secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory() as state:
        told = ["--port", str(port), "--token", token, "--state", state, "--no-browser"]
        server = subprocess.Popen([sys.executable, "-m", "anypet", "serve", str(how.scan), *told])
        try:
            wait(url)
            with sync_playwright() as playwright:
                flags = ["--no-sandbox", *([] if how.gpu else SOFTWARE)]
                browser = playwright.chromium.launch(executable_path=how.chromium, args=flags)
                page = browser.new_page(viewport={"width": 1280, "height": 720})
                page.goto(f"{url}/?token={token}")
                page.locator("#scans button").first.click()
                page.locator("#desk[data-ready]").wait_for(timeout=300_000)
                times = clicks(page, voxels, rng, how.pause)
                browser.close()
        finally:
            server.terminate()
            server.wait()
    times["all"] = times["first"] + times["further"]
    print(json.dumps({kind: summary(rows) for kind, rows in times.items()}, indent=2))


def wait(url: str) -> None:
    """Until the server answers."""
    for _ in range(600):
        try:
            httpx.get(f"{url}/healthz").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise SystemExit("the server does not answer")


if __name__ == "__main__":
    main()
