"""One scan, prepared once: every lesion from a whole sweep, then one lesion after another from its clicks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from anypet.components import connected_components
from anypet.devices import has_bfloat16
from anypet.errors import AnyPETError, PromptError
from anypet.lesions.clean_up import DEFAULT_RULE, Change, SmallRule, clean_up
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.click_maps import gaussian_map
from anypet.lesions.depth import Depth, DepthReport
from anypet.lesions.discriminator import TracerGuess
from anypet.lesions.grid import body_grid
from anypet.lesions.inputs import TRACERS, channels
from anypet.lesions.network import TwoHeadedUNet
from anypet.lesions.tiles import Box, sliding_window
from anypet.lesions.twins import told_by_side, twins
from anypet.volume import Volume

BoolArray = npt.NDArray[np.bool_]
Maps = npt.NDArray[np.float16]
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
        used: the tracers whose networks were used.
        changes: what clean-up took away or added, each with its reason.
        depth: how many mirrored passes were run, and why.
        notes: what a reader should know.
        seconds: since the scan was taken up, or since the latest click.
    """

    mask: BoolArray
    instances: npt.NDArray[np.int32]
    probability: Maps
    organs: npt.NDArray[np.uint8] | None
    organ_names: tuple[str, ...]
    tracer: TracerGuess | None
    used: tuple[str, ...]
    changes: tuple[Change, ...]
    depth: DepthReport
    notes: tuple[str, ...]
    seconds: float

    def organ(self, name: str) -> BoolArray:
        """(I, J, K) an organ as the organ head sees it, without stray pieces.

        Raises:
            PromptError: it was not found, is not known, or organs were not asked for.
        """
        if self.organs is None or name not in self.organ_names:
            known = "none, organs were not asked for" if self.organs is None else ", ".join(self.organ_names)
            raise PromptError(f"the organ {name!r} is not known; known are {known}")
        parts = connected_components(self.organs == 1 + self.organ_names.index(name))
        sizes = np.bincount(parts.ravel())[1:]
        if not sizes.size:
            raise PromptError(f"no {name} was found in this scan: is it in the field of view?")
        # bones and bowel lie in many pieces; of the others, stray ones are errors
        return np.isin(parts, np.flatnonzero(sizes >= 0.1 * sizes.max()) + 1)


class LesionFinder:
    """Holds a scan on the networks' grid, and what they made of it.

    Args:
        pet: SUVbw.
        ct: HU on any grid, or None.
        nets: networks to average, of each tracer to reckon with ("FDG", "PSMA"); all of one grid.
        organs: whether the organ head is run in the sweep.
        rule: which small components go; None keeps them.
        clean: whether clicks and the rule have the last word; False leaves the networks' mask as it is.
        guess: what the discriminator said, for the result.
    """

    def __init__(
        self,
        pet: Volume,
        ct: Volume | None,
        nets: Mapping[str, Sequence[TwoHeadedUNet]],
        *,
        organs: bool = False,
        rule: SmallRule | None = DEFAULT_RULE,
        clean: bool = True,
        guess: TracerGuess | None = None,
    ) -> None:
        self.pet, self.nets, self.with_organs = pet, nets, organs
        self.rule, self.clean, self.guess = rule, clean, guess
        self.config = next(iter(nets.values()))[0].config
        every = [net.config.threshold for group in nets.values() for net in group]
        self.threshold = sum(every) / len(every)
        self.grid = body_grid(pet, self.config.spacing)
        self.suv = self.grid.take(pet)
        self.hu = None if ct is None else self.grid.take(ct)
        self.clicks = LesionClicks()
        self._maps: Maps | None = None
        self._probability: Maps | None = None
        self._organs: npt.NDArray[np.uint8] | None = None
        self._report: DepthReport | None = None

    @property
    def nbytes(self) -> int:
        """Memory held by the scan on the networks' grid and by what was found."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    def sweep(
        self,
        clicks: LesionClicks,
        depth: Depth,
        progress: Callable[[int, int], None] | None = None,
    ) -> LesionResult:
        """Looks at the whole scan.

        Args:
            clicks: voxels of the PET, none outside.
            depth: how many mirrored passes may be run, and since when.
            progress: called with tiles done and planned.
        """
        self.clicks = clicks
        drawn = self._click_map(clicks)

        def tile(box: Box) -> npt.NDArray[np.float32]:
            return self._channels(box, drawn[box])

        self._maps = sliding_window(
            tile, self.grid.shape, self._opinion, window=(self.config.patch,) * 3, step=STEP,
            activate=lambda p: p, depth=depth, dtype=np.float16, progress=progress,
            swapped=[0, 1, *(2 + n for n in twins(self.config.organs))] if self.with_organs else None,
        )  # fmt: skip
        self._probability = self.grid.give_back(self._maps[0], self.pet)
        self._organs = self._organ_labels() if self.with_organs else None
        self._report = depth.report()
        return self._result(self._report.used_s)

    def click(self, voxel: tuple[int, int, int], tumour: bool) -> LesionResult:
        """One more click: only its surroundings are looked at again, in a tile around it.

        The tile's new probabilities fade into the old ones towards its border.

        Raises:
            AnyPETError: the scan has not been looked at as a whole, or the click lies outside.
        """
        if self._maps is None or self._probability is None:
            raise AnyPETError("find the lesions of the scan first, then click")
        started = time.monotonic()
        new = (voxel,)
        clicks = LesionClicks(
            self.clicks.tumour + (new if tumour else ()), self.clicks.background + (() if tumour else new)
        )
        clicks.check_inside(self.pet.shape)
        self.clicks = clicks
        self._look_again(self.grid.voxels(self.pet.to_mm(np.array([voxel], dtype=float)))[0])
        return self._result(time.monotonic() - started)

    def _look_again(self, middle: npt.NDArray[np.int64]) -> None:
        """Takes the opinion on a tile around a voxel of the grid into the maps."""
        assert self._maps is not None
        assert self._probability is not None
        side, shape = self.config.patch, np.array(self.grid.shape)
        start = np.clip(middle - side // 2, 0, np.maximum(shape - side, 0))
        i, j, k = (slice(int(a), int(min(a + side, n))) for a, n in zip(start, shape, strict=True))
        box = (i, j, k)
        found = sliding_window(
            lambda b: self._channels(_within(box, b), self._click_map(self.clicks)[_within(box, b)]),
            tuple(s.stop - s.start for s in box), self._opinion, window=(side,) * 3, activate=lambda p: p,
        )  # fmt: skip
        axes = [
            np.clip(2 - 2 * np.abs(np.arange(s.start, s.stop) - m) / (side / 2), 0, 1)
            for s, m in zip(box, middle, strict=True)
        ]
        weight = axes[0][:, None, None] * axes[1][:, None] * axes[2]
        old = self._maps[:1, *box].astype(np.float32)
        self._maps[:1, *box] = old + weight * (found[:1] - old)
        mine = self.grid.box_of(box, self.pet)
        self._probability[mine] = self.grid.give_back(self._maps[0], self.pet, mine)

    def _channels(self, box: Box, drawn: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        hu = None if self.hu is None else self.hu[box]
        found: npt.NDArray[np.float32] = channels(self.suv[box], hu, drawn).numpy()
        return found

    def _click_map(self, clicks: LesionClicks) -> npt.NDArray[np.float32]:
        """The clicks' channel on the grid."""
        tumour, background = (
            self.grid.voxels(self.pet.to_mm(np.array(v, dtype=float).reshape(-1, 3)))
            for v in (clicks.tumour, clicks.background)
        )
        return gaussian_map(
            self.suv, self.grid.spacing, tumour, background,
            sigma=SIGMA_MM[0], background_sigma=SIGMA_MM[1], clip_background=True,
        )  # fmt: skip

    def _opinion(self, image: torch.Tensor) -> torch.Tensor:
        """Mean probabilities over tracers and networks: (1, 1 or 1 + classes, d, h, w), lesion first."""
        found = []
        for tracer, nets in self.nets.items():
            told = image.clone()
            told[:, 3] = TRACERS[tracer]
            for net in nets:
                device = next(net.parameters()).device
                tile = told.to(device, memory_format=torch.channels_last_3d)
                # as the network was trained, and three times as fast where the processor has it
                with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
                    heads = net(tile, organs=self.with_organs)
                parts = [torch.softmax(heads.lesion[0].float(), 1)[:, 1:]]
                parts += [torch.softmax(v.float(), 1) for v in heads.organs]
                found.append(torch.cat(parts, 1))
        return found[0] if len(found) == 1 else torch.stack(found).mean(0)

    def _organ_labels(self) -> npt.NDArray[np.uint8]:
        """The likeliest class of each voxel of the PET, one class at a time: never all at full size."""
        assert self._maps is not None
        classes = told_by_side(self._maps[1:], self.config.organs)
        best = self.grid.give_back(classes[0], self.pet)
        label = np.zeros(self.pet.shape, dtype=np.uint8)
        for n in range(1, len(classes)):
            value = self.grid.give_back(classes[n], self.pet)
            above = value > best
            label[above] = n
            np.copyto(best, value, where=above)
        return label

    def _result(self, seconds: float) -> LesionResult:
        assert self._probability is not None
        assert self._report is not None
        mask: BoolArray = self._probability > self.threshold
        changes: list[Change] = []
        if self.clean:
            mask, changes = clean_up(
                mask, self.pet.array, self.pet.spacing, self.clicks.tumour, self.clicks.background,
                rule=self.rule,
            )  # fmt: skip
        notes = []
        if self.guess is not None and self.guess.is_crop:
            notes.append(f"the tracer was told from {self.guess.seen_mm:.0f} mm of the body alone")
        if self.hu is None:
            notes.append("no CT: found from the PET alone")
        return LesionResult(
            mask, numbered(mask), self._probability, self._organs, self.config.organs, self.guess,
            tuple(self.nets), tuple(changes), self._report, tuple(notes), seconds,
        )  # fmt: skip


def _within(outer: Box, inner: Box) -> Box:
    """A box counted from the corner of another -> counted as the other is."""
    i, j, k = (slice(o.start + b.start, o.start + b.stop) for o, b in zip(outer, inner, strict=True))
    return i, j, k


def numbered(mask: BoolArray) -> npt.NDArray[np.int32]:
    """The 26-connected components of a mask, numbered from 1, largest first (then in array order)."""
    parts = connected_components(mask)
    sizes = np.bincount(parts.ravel())
    table = np.zeros(len(sizes), dtype=np.int32)
    table[np.argsort(-sizes[1:], kind="stable") + 1] = np.arange(1, len(sizes))
    return table[parts]
