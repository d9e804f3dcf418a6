"""From a PET (and CT) and any number of clicks to every lesion of the scan."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from anypet.errors import AnyPETError
from anypet.lesions.clean_up import DEFAULT_RULE, SmallRule
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.depth import LIMIT_S, Depth, paper_axes
from anypet.lesions.discriminator import TracerGuess, guess_tracer
from anypet.lesions.finder import LesionFinder, LesionResult
from anypet.lesions.network import TwoHeadedUNet, load_net
from anypet.volume import Volume

log = logging.getLogger(__name__)
Tracer = Literal["auto", "fdg", "psma"]
Policy = Literal["measured", "paper"]
Nets = Sequence[TwoHeadedUNet]


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
    rule: SmallRule | None = DEFAULT_RULE,
    clean: bool = True,
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
        rule, clean: see `LesionFinder`.
        nets: networks in place of the packaged one, averaged; or those of each tracer, "FDG" and "PSMA".
        device: where the networks run.
        progress: called with tiles done and planned.

    Raises:
        AnyPETError: the PET is not in SUVbw, the CT not in HU, or a click lies outside.
    """
    started = time.monotonic()
    clicks = clicks or LesionClicks()
    clicks.check_inside(pet.shape)
    finder = prepare(pet, ct, tracer=tracer, organs=organs, rule=rule, clean=clean, nets=nets, device=device)
    if policy not in ("measured", "paper"):
        raise AnyPETError(f"the policy is measured or paper, got {policy!r}")
    most = min(mirror, paper_axes(pet.array.size)) if policy == "paper" else mirror
    # laying the maps back on the scan's voxels, clean-up and writing come after the tiles
    reserve = min(0.1 * time_limit_s, 20.0)
    return finder.sweep(clicks, Depth(time_limit_s, most, started=started, reserve_s=reserve), progress)


def prepare(
    pet: Volume,
    ct: Volume | None = None,
    *,
    tracer: Tracer = "auto",
    organs: bool = False,
    rule: SmallRule | None = DEFAULT_RULE,
    clean: bool = True,
    nets: Nets | Mapping[str, Nets] | None = None,
    device: str = "cpu",
) -> LesionFinder:
    """The finder of a scan, with the networks of its tracer; see `find_lesions`."""
    check_units(pet, ct)
    guess, used = tracers_of(pet, tracer)
    by_tracer = {name: _nets_of(nets, name, device) for name in used}
    return LesionFinder(pet, ct, by_tracer, organs=organs, rule=rule, clean=clean, guess=guess)


def load_nets(files: Sequence[str | Path] = (), device: str = "cpu") -> list[TwoHeadedUNet]:
    """The networks of weights files, an ensemble; the packaged one where there are none.

    Raises:
        AnyPETError: they work on different grids or tell different organs apart.
    """
    nets = [load_net(weights=file) for file in files] or [load_net()]
    first = nets[0].config
    for net, file in zip(nets[1:], list(files)[1:], strict=True):
        if (net.config.spacing, net.config.organs) != (first.spacing, first.organs):
            raise AnyPETError(f"{file} has another spacing or other organs than {files[0]}: not one ensemble")
    return [net.to(device) for net in nets]


def _nets_of(nets: Nets | Mapping[str, Nets] | None, tracer: str, device: str) -> Nets:
    if nets is None:
        return load_nets((), device)
    found = nets.get(tracer, ()) if isinstance(nets, Mapping) else nets
    if not found:
        raise AnyPETError(f"no network was given for {tracer}; give one, or set the tracer")
    return found


def check_units(pet: Volume, ct: Volume | None) -> None:
    """Raises `AnyPETError` unless the PET is in SUVbw and the CT, if any, in HU."""
    if pet.unit != "SUVbw":
        raise AnyPETError(f"lesions are found in SUVbw, this PET is in {pet.unit}; convert it first")
    if ct is not None and ct.unit != "HU":
        raise AnyPETError(f"the CT must be in HU, it is in {ct.unit}")


def tracers_of(pet: Volume, tracer: str) -> tuple[TracerGuess | None, tuple[str, ...]]:
    """What the discriminator said, and the tracers to reckon with ("FDG", "PSMA" or both).

    Args:
        pet: SUVbw.
        tracer: "fdg", "psma", or "auto" to ask the discriminator.

    Raises:
        AnyPETError: another tracer.
    """
    told = tracer.upper()
    if told in ("FDG", "PSMA"):
        return None, (told,)
    if told != "AUTO":
        raise AnyPETError(f"the tracer is auto, fdg or psma, got {tracer!r}")
    guess = guess_tracer(pet)
    log.info("tracer: %s", guess)
    return guess, (guess.tracer,) if guess.tracer else ("FDG", "PSMA")
