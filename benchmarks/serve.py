"""The server under load: clients that click at once on scans of their own, then a long row of clicks.

    python benchmarks/serve.py [--clients 8] [--clicks 5] [--soak 2000] [--model default] [--output FILE]

Every client opens its own scan (a synthetic body with spheres, 96 x 96 x 160 voxels) over HTTP and clicks;
each mask is compared with the one that a `Session` in this process gives for the same clicks. The soak clicks
on the same scans with a model that costs nothing ("level"), so the server is what is measured: its memory
(resident, from /metrics) after every tenth of the clicks.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

import anypet
from anypet.models.base import Anchor, Embedding, ModelSpec, PromptableModel
from anypet.prompts import WindowPrompts
from anypet.session import Session
from clicks import places, synthetic

TOKEN = "token-of-the-benchmark"


class Level(PromptableModel):
    """What is at least half as bright as the first click is the object."""

    def __init__(self) -> None:
        self.spec = ModelSpec("level", (32, 32, 32), (2.0, 8.0), True, frozenset(("point", "box", "mask")))

    def encode(self, image: torch.Tensor, spacing: float, anchor: Anchor | None = None) -> Embedding:
        assert anchor is not None
        return Embedding(((8 * (image / max(anchor.suv, 0.1) - 0.5)).clamp(-8, 8),))

    def decode(
        self, embedding: Embedding, prompts: WindowPrompts, previous_logits: torch.Tensor | None = None
    ) -> torch.Tensor:
        return embedding.tensors[0].clone()


def model_of(name: str) -> str | PromptableModel:
    return Level() if name == "level" else name


def serve(folder: Path, port: int, model: str, caches: dict[str, int]) -> None:
    """A server, for a process of its own."""
    import uvicorn

    from anypet.server.app import create_app
    from anypet.server.settings import Settings

    told = Settings(
        {TOKEN: "bench"}, state=folder / f"state-{port}", folder=folder / "scans",
        model=model_of(model), **caches,
    )  # fmt: skip
    uvicorn.run(create_app(told), host="127.0.0.1", port=port, log_level="error")


@contextmanager
def served(folder: Path, model: str, **caches: int) -> Iterator[str]:
    """A server while the context lasts -> its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, port, model, caches))
    process.start()
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            httpx.get(f"{url}/healthz")
            break
        except httpx.TransportError:
            if not process.is_alive():
                raise
            time.sleep(0.2)
    try:
        yield url
    finally:
        process.terminate()
        process.join()


def clicks_of(volume: anypet.Volume, count: int, seed: int) -> list[tuple[int, int, int]]:
    return places(volume, np.random.default_rng(seed), count)


def remote(url: str, scan: str, voxels: list[tuple[int, int, int]]) -> tuple[list[np.ndarray], list[float]]:
    """Clicks on one scan through the server, each on an object of its own -> masks and seconds."""
    masks, seconds = [], []
    with anypet.connect(url, TOKEN, scan) as session:
        for n, voxel in enumerate(voxels):
            session.new_object(f"{n}")
            began = time.perf_counter()
            masks.append(session.add_point(voxel))
            seconds.append(time.perf_counter() - began)
    return masks, seconds


def at_once(folder: Path, scans: dict[str, anypet.Volume], clicks: int, model: str) -> dict[str, Any]:
    """All clients at once, against the same clicks on this machine, one after another."""
    asked = {name: clicks_of(volume, clicks, n) for n, (name, volume) in enumerate(scans.items())}
    with served(folder, model) as url, ThreadPoolExecutor(len(scans)) as pool:
        for name in scans:  # scans are read and the model is loaded before the clock runs
            remote(url, name, asked[name][:1])
        began = time.perf_counter()
        found = list(pool.map(lambda name: remote(url, name, asked[name]), scans))
        wall = time.perf_counter() - began
    right, alone = 0, []
    for (name, volume), (masks, _) in zip(scans.items(), found, strict=True):
        session = Session(volume, model_of(model))
        session.add_point(asked[name][0])
        for n, (voxel, mask) in enumerate(zip(asked[name], masks, strict=True)):
            session.new_object(f"{n}")
            start = time.perf_counter()
            right += bool(np.array_equal(session.add_point(voxel), mask))
            alone.append(time.perf_counter() - start)
    seconds = [s for _, per_client in found for s in per_client]
    return {
        "model": model, "clients": len(scans), "clicks": len(seconds), "masks_as_alone": right,
        "clicks_per_s": round(len(seconds) / wall, 2),
        "median_s": round(statistics.median(seconds), 3), "worst_s": round(max(seconds), 3),
        "alone_median_s": round(statistics.median(alone), 3),
        "throughput_of_alone": round(sum(alone) / wall, 2),
    }  # fmt: skip


def memory_mib(url: str) -> float:
    text = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    line = next(line for line in text.splitlines() if line.startswith("process_resident_memory_bytes"))
    return float(line.split()[1]) / 2**20


def soak(folder: Path, scans: dict[str, anypet.Volume], count: int) -> dict[str, Any]:
    """Clicks one after another, twenty an object -> resident memory after every tenth of them.

    The caches are small, so that they are full after the first clicks and what grows is seen.
    """
    seen = []
    with served(folder, "level", session_bytes=8 * 2**20, history_bytes=16 * 2**20) as url:
        sessions = [anypet.connect(url, TOKEN, name) for name in scans]
        places_of = [clicks_of(volume, count // len(scans) + 1, 1) for volume in scans.values()]
        began = time.perf_counter()
        for n in range(count):
            session, voxel = sessions[n % len(sessions)], places_of[n % len(scans)][n // len(scans)]
            if n // len(scans) % 20 == 0:
                session.new_object()
            session.add_point(voxel)
            if (n + 1) % max(count // 10, 1) == 0:
                seen.append(round(memory_mib(url)))
        seconds = time.perf_counter() - began
        for session in sessions:
            session.close()
    return {
        "clicks": count, "clicks_per_s": round(count / seconds, 1), "memory_mib": seen,
        "last_over_second": round(seen[-1] / seen[min(1, len(seen) - 1)], 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--clicks", type=int, default=5, help="of each client")
    parser.add_argument("--soak", type=int, default=2000, help="clicks; 0 leaves it out")
    parser.add_argument("--model", default="default")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "scans").mkdir()
        scans = {}
        for n in range(given.clients):
            volume = synthetic(np.random.default_rng(n), (96, 96, 160))
            scans[f"pet{n}.nii.gz"] = volume
            anypet.write(volume, folder / "scans" / f"pet{n}.nii.gz")
        result: dict[str, Any] = {"at_once": at_once(folder, scans, given.clicks, given.model)}
        print(json.dumps(result["at_once"], indent=2))
        if given.soak:
            result["soak"] = soak(folder, scans, given.soak)
            print(json.dumps(result["soak"], indent=2))
    if given.output is not None:
        given.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
