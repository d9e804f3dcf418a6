"""Each main path against the plain path and against the machine's floor, as one table of ratios.

    python benchmarks/speed.py [--threads 2] [--rounds 5] [--only segany,default,lesions] [--json FILE]

Contenders of a group run in turns, so that other work on the machine slows all of them; times are the best of
the rounds. On a busy machine `--threads 1 --processor-time` counts what the process itself used. The floor of
a path is its operations (counted by torch) over the rate of a large matrix product, measured in the same run
in the same precision: "3.0" in the last column means three times the floor. It exits with 1 where a target of
`TARGETS` is missed. OpenVINO's rows need `pip install 'anypet[fast]'`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from anypet.devices import has_bfloat16
from anypet.lesions import pieces as lesion_pieces
from anypet.models.base import Anchor, PromptableModel
from anypet.models.compact import pieces as compact_pieces
from anypet.models.convolution import Conv3d
from anypet.models.exported.folder import installed
from anypet.models.exported.graph import Graph
from anypet.models.registry import load_named
from anypet.models.segany import SegAny
from anypet.models.segany import pieces as segany_pieces
from anypet.prompts import WindowPrompts
from anypet.session import Session
from clicks import places, synthetic
from encoder import random_network

CPU = torch.device("cpu")
# released SegAnyPET encode and click (padded attention) over ours, at least
TARGETS = {"SegAnyPET, encode and click": 8.0, "default, click": 20.0}
Call = Callable[[], object]


@dataclass
class Contender:
    """One way along a path.

    Args:
        run: it.
        precision: "float32" or "bfloat16".
        flops: of one run; 0 where the floor is not asked for.
    """

    name: str
    run: Call
    precision: str = "float32"
    flops: float = 0.0


@dataclass
class Row:
    """A line of the table: milliseconds, times as fast as the group's first, multiples of the floor."""

    path: str
    way: str
    ms: float
    over_plain: float
    over_floor: float | None


def matrix_rate(dtype: torch.dtype, n: int = 2048, rounds: int = 8) -> float:
    """Operations a second of an n x n matrix product."""
    a, b = (torch.rand(n, n, dtype=torch.float32).to(dtype) for _ in range(2))
    best = min(timed(lambda: a @ b) for _ in range(rounds))
    return 2 * n**3 / best


clock: Callable[[], float] = time.perf_counter


def timed(run: Call) -> float:
    started = clock()
    run()
    return clock() - started


@torch.inference_mode()
def operations(run: Call) -> float:
    """Multiplications and additions of matrix products, convolutions and attention."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def race(path: str, contenders: list[Contender], rounds: int, rates: dict[str, float]) -> list[Row]:
    """Times contenders in turns; the first is the plain one."""
    best = [float("inf")] * len(contenders)
    with torch.inference_mode():
        for contender in contenders:
            contender.run()  # the first run pays for warming up
        for _ in range(rounds):
            for n, contender in enumerate(contenders):
                best[n] = min(best[n], timed(contender.run))
    rows = []
    for contender, took in zip(contenders, best, strict=True):
        floor = contender.flops / rates[contender.precision]
        rows.append(Row(path, contender.name, 1e3 * took, best[0] / took, took / floor if floor else None))
        print(line(rows[-1]), flush=True)
    return rows


def exported(family: ModuleType, model: Any, precision: str, folder: Path) -> Any:
    """A copy of a model that OpenVINO runs."""
    folder.mkdir(exist_ok=True)
    if not any(folder.glob("*.xml")):
        for piece in family.pieces(deepcopy(model)):
            piece.save(folder)
    fast = deepcopy(model)
    family.put_in(fast, {p.stem: Graph(p, precision) for p in folder.glob("*.xml")})  # type: ignore[arg-type]
    return fast


def one_window(model: PromptableModel, spacing: float) -> tuple[Call, Call]:
    """A model's encode and its click on a noisy ball."""
    n = model.spec.window[0]
    grid = np.stack(np.meshgrid(*(np.arange(n),) * 3, indexing="ij"))
    suv = np.where(np.linalg.norm(grid - n / 2, axis=0) < n / 4, 6.0, 1.0)
    suv = suv * np.random.default_rng(0).gamma(20, 1 / 20, suv.shape)
    image, middle = torch.from_numpy(suv).float()[None, None], (n / 2, n / 2, n / 2)
    anchor, points = Anchor(6.0, middle), WindowPrompts(np.array([middle]), np.array([1]))
    embedding = model.encode(image, spacing, anchor)
    logits = model.decode(embedding, points)
    return (
        lambda: model.encode(image, spacing, anchor),
        lambda: model.decode(embedding, points, logits),
    )


def segany(rounds: int, rates: dict[str, float], folder: Path) -> list[Row]:
    """The published vision transformer: with padded attention as released, folded as here, exported."""
    network = random_network()
    released, folded = SegAny(network), SegAny(deepcopy(network))
    released.network.image_encoder.fast = False
    ways = {"released, padded": released, "folded": folded}
    if installed():
        ways["OpenVINO"] = exported(segany_pieces, folded, "f32", folder / "vit")
    calls = {name: one_window(model, 1.5) for name, model in ways.items()}
    work = [operations(call) for call in calls["folded"]]
    rows = []
    for n, path in enumerate(("SegAnyPET, encode", "SegAnyPET, click")):
        contenders = [Contender(name, call[n], flops=work[n]) for name, call in calls.items()]
        rows += race(path, contenders, rounds, rates)
    return rows


def default(rounds: int, rates: dict[str, float], folder: Path) -> list[Row]:
    """The default model: one window's encode, a click in it, and a session's first and further click."""
    model = compact_pieces.build(*load_named("default")[1:])
    plain = deepcopy(model)
    for module in plain.net.modules():
        if isinstance(module, Conv3d):
            module.__class__ = torch.nn.Conv3d
    ways: dict[str, Any] = {"torch, plain convolutions": plain, "torch": model}
    if installed():
        ways["OpenVINO"] = exported(compact_pieces, plain, "f32", folder / "compact")
    if has_bfloat16(CPU):
        ways["torch, bfloat16"] = deepcopy(plain)
        ways["torch, bfloat16"]._half = True
        if installed():
            ways["OpenVINO, bfloat16"] = exported(compact_pieces, plain, "bf16", folder / "compact")
    calls = {name: one_window(model, 4.0) for name, model in ways.items()}
    work = [operations(call) for call in calls["torch, plain convolutions"]]
    rows = []
    for n, path in enumerate(("default, encode", "default, click")):
        contenders = [
            Contender(name, call[n], "bfloat16" if "bfloat16" in name else "float32", work[n])
            for name, call in calls.items()
        ]
        rows += race(path, contenders, rounds, rates)
    rng = np.random.default_rng(0)
    scan = synthetic(rng, (120, 120, 160))
    voxel = places(scan, rng, 1)[0]
    sessions = {name: Session(scan, model) for name, model in ways.items()}

    def first(session: Session) -> Call:
        def click() -> None:
            session.remove(session.selected.name)
            session.predictor.cache = type(session.predictor.cache)(session.predictor.policy.cache_bytes)
            session.add_point(voxel)

        return click

    def further(session: Session) -> Call:
        def click() -> None:
            session.add_point(np.array(voxel) + 3, positive=False)
            session.undo()

        return click

    for path, way in (("default, a session's first click", first), ("default, a further click", further)):
        rows += race(path, [Contender(k, way(s)) for k, s in sessions.items()], rounds, rates)
    masks = {name: session.mask for name, session in sessions.items()}
    for name, mask in masks.items():
        first_mask = masks["torch, plain convolutions"]
        shared = 2 * float((mask & first_mask).sum()) / float(mask.sum() + first_mask.sum())
        print(f"DSC of the masks, {name} and plain: {shared:.5f}")
    return rows


def lesions(rounds: int, rates: dict[str, float], folder: Path) -> list[Row]:
    """One tile of the whole-body network, both heads."""
    net = lesion_pieces.build(*load_named("lesions")[1:])
    side = net.config.patch
    tile = torch.rand(1, len(net.config.channels), side, side, side)
    work = operations(lambda: net(tile, organs=True))
    laid = net.to(memory_format=torch.channels_last_3d), tile.to(memory_format=torch.channels_last_3d)

    def half() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            laid[0](laid[1], organs=True)

    contenders = [Contender("torch", lambda: laid[0](laid[1], organs=True), flops=work)]
    names = [("OpenVINO", "f32")] if installed() else []
    if has_bfloat16(CPU):
        contenders.append(Contender("torch, bfloat16", half, "bfloat16", work))
        names += [("OpenVINO, bfloat16", "bf16")] if installed() else []
    for name, precision in names:
        fast = exported(lesion_pieces, net, precision, folder / "lesions")
        kind = "bfloat16" if precision == "bf16" else "float32"
        contenders.append(Contender(name, lambda fast=fast: fast(tile, organs=True), kind, work))  # type: ignore[misc]
    return race("lesions, a tile", contenders, rounds, rates)


def against_released(rows: list[Row]) -> dict[str, float]:
    """Released encode and click, in one window, over ours and over the default model's, torch and best."""
    took = {(row.path, row.way): row.ms for row in rows}
    if not {"SegAnyPET, encode", "default, encode"} <= {row.path for row in rows}:
        return {}
    released = took["SegAnyPET, encode", "released, padded"] + took["SegAnyPET, click", "released, padded"]
    ours = took["SegAnyPET, encode", "folded"] + took["SegAnyPET, click", "folded"]
    found = {"SegAnyPET, encode and click": released / ours}
    for row in rows:
        if row.path == "default, encode":
            click = row.ms + took["default, click", row.way]
            found[f"default, encode and click, {row.way}"] = released / click
        if row.path.startswith("default, a"):
            found[f"{row.path}, {row.way}"] = released / row.ms
    best = [row.ms + took["default, click", row.way] for row in rows if row.path == "default, encode"]
    return {**found, "default, click": released / min(best)}


def line(row: Row) -> str:
    floor = "-" if row.over_floor is None else f"{row.over_floor:.1f}"
    return f"| {row.path} | {row.way} | {row.ms:.1f} | {row.over_plain:.2f} | {floor} |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="segany,default,lesions")
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.processor_time:
        global clock
        clock = time.process_time
    rates = {"float32": matrix_rate(torch.float32)}
    if has_bfloat16(CPU):
        rates["bfloat16"] = matrix_rate(torch.bfloat16)
    for name, rate in rates.items():
        print(f"matrix product, {name}: {rate / 1e9:.0f} GFLOP/s on {options.threads} threads")
    print("\n| path | way | ms | times as fast as plain | over the floor |\n|---|---|---|---|---|")
    groups = {"segany": segany, "default": default, "lesions": lesions}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only.split(","):
            rows += groups[name](options.rounds, rates, Path(folder))
    ratios = against_released(rows)
    if ratios:
        print("\n| against the released SegAnyPET encode and click | times as fast |\n|---|---|")
    for name, ratio in ratios.items():
        print(f"| {name} | {ratio:.1f} |")
    missed = [name for name, least in TARGETS.items() if ratios.get(name, least) < least]
    for name in missed:
        print(f"MISSED: {name}, at least {TARGETS[name]:g} times")
    if options.json:
        told = {
            "threads": options.threads,
            "rates": rates,
            "ratios": ratios,
            "rows": [asdict(r) for r in rows],
        }
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
