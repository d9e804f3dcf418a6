"""From a PET (and CT) and any number of clicks to every lesion of the scan."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from anypet.components import connected_components
from anypet.errors import AnyPETError
from anypet.lesions.clean_up import Change, CleanUp, clean_up
from anypet.lesions.click_maps import gaussian_map
from anypet.lesions.clicks import LesionClicks
from anypet.lesions.depth import LIMIT_S, Depth, DepthReport, paper_axes
from anypet.lesions.discriminator import TracerGuess, guess_tracer
from anypet.lesions.grid import NetGrid, body_grid
from anypet.lesions.inputs import channels
from anypet.lesions.network import TwoHeadedUNet, load_net
from anypet.lesions.tiles import Box, sliding_window
from anypet.volume import Volume

log = logging.getLogger(__name__)
BoolArray = npt.NDArray[np.bool_]
Tracer = Literal["auto", "fdg", "psma"]
Policy = Literal["measured", "paper"]
Nets = Sequence[TwoHeadedUNet]
STEP = 0.6  # of a tile, as in QuantIF's release
SIGMA_MM = (8.0, 12.0)  # of tumour and background clicks, as in training


@dataclass(frozen=True)
class LesionResult:
    """What was found.

    Args:
        mask: (I, J, K) bool on the PET's own voxels.
        instances: (I, J, K) int32, the 26-connected components of the mask, numbered from 1, largest first.
        probability: (I, J, K) float16, of lesion, before clean-up.
        organs: (I, J, K) uint8, 0 or 1 + the index in `organ_names`; None where they were not asked for.
        organ_names: of the organ head.
        tracer: what the discriminator said, or None where the tracer was given.
        used: the tracers whose models were used.
        changes: what clean-up took away or added, each with its reason.
        depth: how many mirrored passes were run, and why.
        seconds: the whole took.
    """

    mask: BoolArray
    instances: npt.NDArray[np.int32]
    probability: npt.NDArray[np.float16]
    organs: npt.NDArray[np.uint8] | None
    organ_names: tuple[str, ...]
    tracer: TracerGuess | None
    used: tuple[str, ...]
    changes: tuple[Change, ...]
    depth: DepthReport
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())


def find_lesions(
    pet: Volume,
    ct: Volume | None = None,
    clicks: LesionClicks | None = None,
    *,
    tracer: Tracer = "auto",
    organs: bool = False,
    time_limit_s: float = LIMIT_S,
    policy: Policy = "measured",
    mirror: int = 3,
    rule: CleanUp | None = CleanUp(),  # noqa: B008
    nets: Nets | Mapping[str, Nets] | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> LesionResult:
    """Segments every lesion of a whole-body scan.

    Args:
        pet: SUVbw, any orientation and size.
        ct: HU, on any grid of the same patient; None for PET alone.
        clicks: voxels of `pet`; none at all is fine.
        tracer: "fdg" or "psma", or "auto" to tell it from the scan; where that is not sure, both are used
            and averaged.
        organs: whether to run the organ head too.
        time_limit_s: seconds for all of it; mirrored passes are left out so that it is kept.
        policy: "measured" plans by the clock; "paper" takes its thresholds on the number of voxels as well.
        mirror: mirror axes at most, 0 to 3.
        rule: what is cleaned up; None for nothing.
        nets: networks in place of the packaged one, averaged; or those of each tracer, "FDG" and "PSMA".
        device: where the networks run.
        progress: called with tiles done and planned.

    Raises:
        AnyPETError: the PET is not in SUVbw, the CT not in HU, or a click lies outside.
    """
    started = time.monotonic()
    clicks = clicks or LesionClicks()
    _check(pet, ct, clicks)
    guess, used = _tracers(pet, tracer)
    by_tracer = {name: _nets_of(nets, name, device) for name in used}
    net = by_tracer[used[0]][0]
    grid = body_grid(pet, net.config.spacing)
    most = min(mirror, paper_axes(pet.array.size)) if policy == "paper" else mirror
    depth = Depth(time_limit_s, most, started=started, reserve_s=min(0.1 * time_limit_s, 20.0))
    maps = _maps(pet, ct, clicks, grid, by_tracer, organs, depth, progress)
    probability = grid.give_back(maps[0], pet)
    mask = probability > 0.5
    changes: tuple[Change, ...] = ()
    if rule is not None:
        mask, found = clean_up(mask, pet.array, pet.spacing, clicks.tumour, clicks.background, rule=rule)
        changes = tuple(found)
    return LesionResult(
        mask=mask,
        instances=numbered(mask),
        probability=probability,
        organs=_organs(maps[1:], grid, pet) if organs else None,
        organ_names=net.config.organs,
        tracer=guess,
        used=used,
        changes=changes,
        depth=depth.report(),
        seconds=time.monotonic() - started,
        notes=_notes(guess, ct),
    )


def numbered(mask: BoolArray) -> npt.NDArray[np.int32]:
    """The 26-connected components of a mask, numbered from 1, largest first (then in array order)."""
    parts = connected_components(mask)
    sizes = np.bincount(parts.ravel())
    order = np.argsort(-sizes[1:], kind="stable") + 1
    table = np.zeros(len(sizes), dtype=np.int32)
    table[order] = np.arange(1, len(sizes))
    return table[parts]


def load_nets(files: Sequence[str | Path], device: str = "cpu") -> list[TwoHeadedUNet]:
    """The networks of weights files, an ensemble; the packaged one where there are none.

    Raises:
        AnyPETError: they work on different grids or tell different organs apart.
    """
    nets = [load_net(weights=file) for file in files] or [load_net()]
    for net, file in zip(nets[1:], list(files)[1:], strict=True):
        if (net.config.spacing, net.config.organs) != (nets[0].config.spacing, nets[0].config.organs):
            raise AnyPETError(f"{file} has another spacing or other organs than {files[0]}: not one ensemble")
    return [net.to(device) for net in nets]


def _nets_of(nets: Nets | Mapping[str, Nets] | None, tracer: str, device: str) -> Nets:
    if nets is None:
        return load_nets((), device)
    found = nets.get(tracer, ()) if isinstance(nets, Mapping) else nets
    if not found:
        raise AnyPETError(f"no network was given for {tracer}; give one, or set the tracer")
    return found


def _check(pet: Volume, ct: Volume | None, clicks: LesionClicks) -> None:
    if pet.unit != "SUVbw":
        raise AnyPETError(f"lesions are found in SUVbw, this PET is in {pet.unit}; convert it first")
    if ct is not None and ct.unit != "HU":
        raise AnyPETError(f"the CT must be in HU, it is in {ct.unit}")
    clicks.check_inside(pet.shape)


def _tracers(pet: Volume, tracer: str) -> tuple[TracerGuess | None, tuple[str, ...]]:
    """What the discriminator said, and the tracers to reckon with."""
    told = tracer.upper()
    if told in ("FDG", "PSMA"):
        return None, (told,)
    if told != "AUTO":
        raise AnyPETError(f"the tracer is auto, fdg or psma, got {tracer!r}")
    guess = guess_tracer(pet)
    log.info("tracer: %s", guess)
    return guess, (guess.tracer,) if guess.tracer else ("FDG", "PSMA")


def _notes(guess: TracerGuess | None, ct: Volume | None) -> tuple[str, ...]:
    notes = []
    if guess is not None and guess.is_crop:
        notes.append(f"the tracer was told from {guess.seen_mm:.0f} mm of the body alone")
    if ct is None:
        notes.append("no CT: found from the PET alone")
    return tuple(notes)


def _maps(
    pet: Volume,
    ct: Volume | None,
    clicks: LesionClicks,
    grid: NetGrid,
    by_tracer: Mapping[str, Nets],
    organs: bool,
    depth: Depth,
    progress: Callable[[int, int], None] | None,
) -> npt.NDArray[np.float16]:
    """Probabilities (1 or 1 + classes, R, A, S) on the network's grid: lesion, then background and organs."""
    suv = grid.take(pet)
    hu = None if ct is None else grid.take(ct)
    drawn = gaussian_map(
        suv, grid.spacing, _on(grid, pet, clicks.tumour), _on(grid, pet, clicks.background),
        sigma=SIGMA_MM[0], background_sigma=SIGMA_MM[1], clip_background=True,
    )  # fmt: skip
    side = next(iter(by_tracer.values()))[0].config.patch

    def tile(box: Box) -> npt.NDArray[Any]:
        return channels(suv[box], None if hu is None else hu[box], drawn[box], "").numpy()

    def network(image: torch.Tensor) -> torch.Tensor:
        return _opinion(image, by_tracer, organs)

    return sliding_window(
        tile, grid.shape, network, window=(side,) * 3, step=STEP, activate=lambda p: p, depth=depth,
        dtype=np.float16, progress=progress,
    )  # fmt: skip


def _opinion(image: torch.Tensor, by_tracer: Mapping[str, Nets], organs: bool) -> torch.Tensor:
    """Mean probabilities (1, 1 or 1 + classes, d, h, w) over tracers and networks."""
    from anypet.lesions.inputs import TRACERS

    total: torch.Tensor | None = None
    count = 0
    for tracer, nets in by_tracer.items():
        told = image.clone()
        told[:, 3] = TRACERS[tracer]
        for net in nets:
            device = next(net.parameters()).device
            heads = net(told.to(device, memory_format=torch.channels_last_3d), organs=organs)
            parts = [torch.softmax(heads.lesion[0].float(), 1)[:, 1:]]
            if organs:
                parts.append(torch.softmax(heads.organs[0].float(), 1))
            found = torch.cat(parts, 1)
            total = found if total is None else total + found
            count += 1
    assert total is not None
    return total / count


def _on(grid: NetGrid, pet: Volume, voxels: Sequence[tuple[int, int, int]]) -> npt.NDArray[np.int64]:
    """Voxels of the PET as voxels of the network's grid."""
    if not len(voxels):
        return np.zeros((0, 3), dtype=np.int64)
    return grid.voxels(pet.to_mm(np.array(voxels, dtype=float)))


def _organs(maps: npt.NDArray[np.float16], grid: NetGrid, pet: Volume) -> npt.NDArray[np.uint8]:
    """The likeliest class of each voxel of the PET, one class at a time: never all of them at full size."""
    best = grid.give_back(maps[0], pet)
    label = np.zeros(pet.shape, dtype=np.uint8)
    for n in range(1, len(maps)):
        value = grid.give_back(maps[n], pet)
        above = value > best
        label[above] = n
        np.copyto(best, value, where=above)
    return label
