"""Lesions found by an nnU-Net: its own preprocessing, predictor and resampling, our clean-up and table.

The number of mirror axes is planned once, from the time of one tile on this machine after preprocessing; what
preprocessing took is kept free for the way back to the scan's voxels.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch

from anypet.errors import AnyPETError, WeightsError
from anypet.grids import resample
from anypet.io import AIR_HU
from anypet.lesions.clean_up import DEFAULT_RULE, Change, SmallRule, clean_up
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.depth import LIMIT_S, DepthReport, paper_axes
from anypet.lesions.finder import LesionResult, numbered
from anypet.lesions.nnunet.folder import NnunetFolder
from anypet.lesions.pipeline import Policy, Tracer, check_units, tracers_of
from anypet.models.weights import check_fits
from anypet.volume import Volume

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
# Of the limit; the time of one tile tells that of all to within a few per cent.
MARGIN = 0.05
# Where a plan may name classes from: what it names is imported and called.
_ARCHITECTURES = ("dynamic_network_architectures.", "anypet.baselines.stunet.")
_OPERATIONS = ("torch.nn.",)


def find_lesions(
    pet: Volume,
    ct: Volume | None,
    clicks: LesionClicks | None,
    folders: Mapping[str, NnunetFolder],
    *,
    tracer: Tracer = "auto",
    organs: bool = False,
    time_limit_s: float = LIMIT_S,
    policy: Policy = "measured",
    mirror: int = 3,
    rule: SmallRule | None = DEFAULT_RULE,
    clean: bool = True,
    device: str = "cpu",
    progress: Progress | None = None,
) -> LesionResult:
    """Segments every lesion of a whole-body scan with nnU-Nets; see `anypet.lesions.pipeline.find_lesions`.

    Args:
        pet: SUVbw.
        ct: HU, on any grid of the same patient; networks with a CT channel need it.
        clicks: voxels of `pet`.
        folders: that of each tracer, "FDG" and "PSMA", or one under "" for both.
        tracer: where the scan does not tell it, the networks of both are averaged.
        organs: whether other labels of the network are given back.

    Raises:
        AnyPETError: nnunetv2 is not installed, a unit is another, the CT is missing, there is no network for
            the tracer, or it is of a kind that does not fit (the message says which).
        WeightsError: weights and plans do not fit.
    """
    started = time.monotonic()
    clicks = clicks or LesionClicks()
    clicks.check_inside(pet.shape)
    check_units(pet, ct)
    if policy not in ("measured", "paper"):
        raise AnyPETError(f"the policy is measured or paper, got {policy!r}")
    guess, used = tracers_of(pet, tracer)
    chosen = list({id(f): f for f in (_folder_of(folders, name) for name in used)}.values())
    ct = None if ct is None else resample(ct, pet, outside=AIR_HU)
    limit = _Limit(
        started, time_limit_s, min(mirror, paper_axes(pet.array.size)) if policy == "paper" else mirror
    )
    found = [
        _predict(folder, pet, folder.channels.draw(pet, ct, clicks), device, limit, n, len(chosen), progress)
        for n, folder in enumerate(chosen)
    ]
    mask, probability = _joined(found, chosen)
    changes: list[Change] = []
    if clean:
        mask, changes = clean_up(mask, pet.array, pet.spacing, clicks.tumour, clicks.background, rule=rule)
    labels, names = _organs(found[0].labels, chosen[0]) if organs else (None, ())
    report = _report(found, limit, policy)
    notes = [folder.channels.note for folder in chosen if folder.channels.note]
    if clicks and all(set(folder.channels.roles) <= {"ct", "pet"} for folder in chosen):
        notes.append("this network takes no clicks: they acted in the clean-up alone")
    if guess is not None and guess.is_crop:
        notes.append(f"the tracer was told from {guess.seen_mm:.0f} mm of the body alone")
    return LesionResult(
        mask, numbered(mask), probability, labels, names, guess, used, tuple(changes), report, tuple(notes),
        report.used_s,
    )  # fmt: skip


def _folder_of(folders: Mapping[str, NnunetFolder], tracer: str) -> NnunetFolder:
    found = folders.get(tracer) or folders.get("")
    if found is None:
        raise AnyPETError(f"no nnU-Net was given for {tracer}; give one, or set the tracer")
    return found


@dataclass(frozen=True)
class _Limit:
    """Since when, for how many seconds, and mirror axes at most."""

    started: float
    seconds: float
    axes: int

    @property
    def used(self) -> float:
        return time.monotonic() - self.started


@dataclass(frozen=True)
class _Found:
    """What one network said: labels and lesion probability on the scan's voxels, and how it was run."""

    labels: Array
    lesion: npt.NDArray[np.float32]
    axes: int
    tiles: int
    seconds: float


def _predict(
    folder: NnunetFolder, pet: Volume, image: npt.NDArray[np.float32], device: str, limit: _Limit,
    number: int, count: int, progress: Progress | None,
) -> _Found:  # fmt: skip
    """Runs the network of a folder, the `number`th of `count`, on channels (C, I, J, K)."""
    with _quiet():
        predictor = _predictor(folder, device)
        from nnunetv2.inference.export_prediction import (
            convert_predicted_logits_to_segmentation_with_correct_shape as to_scan,
        )

        plans, config = predictor.plans_manager, predictor.configuration_manager
        way = _Way.of(pet, "Reorient" in str(folder.plans.get("image_reader_writer", "")))
        began = time.monotonic()
        data, _, properties = config.preprocessor_class(verbose=False).run_case_npy(
            way.there(image), None, {"spacing": way.spacing(pet)}, plans, config, dict(folder.dataset)
        )
        prepared = time.monotonic() - began
        tiles = _tiles(predictor, data.shape[1:]) * len(folder.folds)
        most = min(limit.axes, len(folder.mirror_axes))
        left = (limit.seconds * (1 - MARGIN) - limit.used) / (count - number) - prepared
        seconds = _seconds_per_tile(predictor, data.shape[0]) if most else 0.0
        axes = plan_axes(tiles, seconds, left, most)
        predictor.allowed_mirroring_axes = folder.mirror_axes[::-1][:axes] or None  # left and right first
        with _counted(predictor.network, tiles << axes, progress):
            logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
        labels, shares = to_scan(
            logits, plans, config, predictor.label_manager, properties, return_probabilities=True
        )
    lesion = shares[list(folder.lesion)].sum(0, dtype=np.float32)
    return _Found(way.back(labels), way.back(lesion), axes, tiles, seconds)


def plan_axes(tiles: int, seconds: float, left: float, most: int) -> int:
    """Mirror axes, `most` at most, of which all 2^n passes over the tiles fit into what is left."""
    return max((n for n in range(most + 1) if (tiles << n) * seconds <= left), default=0)


def _predictor(folder: NnunetFolder, device: str) -> Any:
    """nnU-Net's predictor with the folder's weights; its own loading, which unpickles, is not used.

    Raises:
        AnyPETError: nnunetv2 is missing, or the plans name what cannot be run here.
        WeightsError: the weights are of another network.
    """
    try:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    except ImportError as error:
        raise AnyPETError(
            f"networks of nnU-Net need the package nnunetv2 ({error}): pip install 'anypet[nnunet]'"
        ) from error
    plans = PlansManager(dict(folder.plans))
    if folder.configuration not in plans.available_configurations:
        raise AnyPETError(
            f"{folder.path}: the weights are of configuration {folder.configuration!r}, plans.json has "
            f"{', '.join(plans.available_configurations)}"
        )
    config = plans.get_configuration(folder.configuration)
    _check(config, folder)
    label_manager = plans.get_label_manager(folder.dataset)
    network = get_network_from_plans(
        config.network_arch_class_name, config.network_arch_init_kwargs,
        config.network_arch_init_kwargs_req_import, len(folder.channels.roles),
        label_manager.num_segmentation_heads, allow_init=False, deep_supervision=False,
    )  # fmt: skip
    for weights in folder.folds:
        try:
            check_fits(network.state_dict(), weights, "the network of plans.json")
        except WeightsError as error:
            raise WeightsError(f"{folder.path}: {error}") from error
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=True, allow_tqdm=False,
        perform_everything_on_device=device.startswith("cuda"), device=torch.device(device),
    )  # fmt: skip
    predictor.manual_initialization(
        network.eval(), plans, config, list(folder.folds), dict(folder.dataset), "", folder.mirror_axes
    )
    return predictor


def _check(config: Any, folder: NnunetFolder) -> None:
    """Refuses what cannot be run alone, and plans that name anything but layers and networks."""
    if config.previous_stage_name is not None:
        raise AnyPETError(
            f"{folder.path} is the second stage of a cascade, which needs the first one's result"
        )
    if config.preprocessor_class is None:
        raise AnyPETError(
            f"{folder.path}: its preprocessor {config.preprocessor_name} is not part of nnunetv2; "
            "such a network runs in the code that it was published with"
        )
    arguments = config.network_arch_init_kwargs
    named = [arguments[key] for key in config.network_arch_init_kwargs_req_import if arguments[key]]
    for name, allowed in [
        (config.network_arch_class_name, _ARCHITECTURES),
        *((n, _OPERATIONS) for n in named),
    ]:
        if not str(name).startswith(allowed):
            raise AnyPETError(
                f"{folder.path}: plans.json names {name!r}, which was not imported; only what is in "
                f"{' or '.join(f'{a}*' for a in allowed)} is allowed there"
            )


@dataclass(frozen=True)
class _Way:
    """From (i, j, k) to nnU-Net's (z, y, x) and back.

    nnU-Net takes arrays as they are stored, last axis first. So does this, but for files whose axes are not
    in the patient's order (a coronal stack): these are put in order first.

    Args:
        order: the scan's axes that run along the patient's z, y and x.
        flipped: those of the scan's axes that are turned round.
    """

    order: tuple[int, int, int]
    flipped: tuple[int, ...]

    @classmethod
    def of(cls, pet: Volume, to_ras: bool) -> _Way:
        """`to_ras`: whether the network was trained on scans turned to R, A, S."""
        along, sign = nib.orientations.io_orientation(pet.affine).T
        z, y, x = (int(np.flatnonzero(along == axis)[0]) for axis in (2, 1, 0))
        return cls((z, y, x), tuple(int(a) for a in np.flatnonzero(sign < 0)) if to_ras else ())

    def there(self, image: Array) -> Array:
        """(C, I, J, K) -> (C, Z, Y, X)."""
        turned = np.flip(image, tuple(1 + a for a in self.flipped))
        return np.ascontiguousarray(turned.transpose(0, *(1 + a for a in self.order)))

    def back(self, values: Array) -> Array:
        """(Z, Y, X) -> (I, J, K)."""
        return np.ascontiguousarray(np.flip(values.transpose(np.argsort(self.order)), self.flipped))

    def spacing(self, pet: Volume) -> list[float]:
        return [float(pet.spacing[axis]) for axis in self.order]


def _tiles(predictor: Any, shape: tuple[int, ...]) -> int:
    """Tiles of a preprocessed scan; one smaller than the patch is padded to it."""
    patch = predictor.configuration_manager.patch_size
    sides = (*shape[: len(shape) - len(patch)], *map(max, shape[len(shape) - len(patch) :], patch))
    return len(predictor._internal_get_sliding_window_slicers(sides))


@torch.inference_mode()
def _seconds_per_tile(predictor: Any, channels: int) -> float:
    """Of the second of two empty tiles: the first pays for warming up."""
    predictor.network.to(predictor.device)
    tile = torch.zeros(1, channels, *predictor.configuration_manager.patch_size, device=predictor.device)
    half = torch.autocast("cuda") if predictor.device.type == "cuda" else contextlib.nullcontext()
    with half:
        predictor.network(tile)
        began = time.monotonic()
        predictor.network(tile).cpu()  # waits for the device
    return time.monotonic() - began


@contextlib.contextmanager
def _counted(network: torch.nn.Module, planned: int, progress: Progress | None) -> Iterator[None]:
    """Tells `progress` of every tile."""
    done = itertools.count(1)
    hook = network.register_forward_hook(
        lambda *_: None if progress is None else progress(next(done), planned)
    )
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """nnunetv2 prints to the standard output, which belongs to the command line."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _joined(
    found: list[_Found], folders: list[NnunetFolder]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float16]]:
    """Mask and lesion probability: nnU-Net's labels of one network, the mean probability of two."""
    mean = np.mean([each.lesion for each in found], axis=0)
    mask = np.isin(found[0].labels, folders[0].lesion) if len(found) == 1 else mean > 0.5
    return mask, mean.astype(np.float16)


def _organs(labels: Array, folder: NnunetFolder) -> tuple[npt.NDArray[np.uint8] | None, tuple[str, ...]]:
    """The other labels numbered from 1, and their names; None where the network has none."""
    if not folder.organs:
        return None, ()
    table = np.zeros(int(max(*folder.organs, *folder.lesion)) + 1, dtype=np.uint8)
    for number, value in enumerate(folder.organs, start=1):
        table[value] = number
    return table[labels], tuple(folder.organs.values())


def _report(found: list[_Found], limit: _Limit, policy: str) -> DepthReport:
    axes, tiles = min(each.axes for each in found), sum(each.tiles for each in found)
    seconds = max(each.seconds for each in found)
    why = f"nnU-Net: {axes} of {limit.axes} mirror axes, {limit.used:.0f} s used of {limit.seconds:.0f} s"
    rate = f"; {tiles} tiles of {seconds:.3g} s a pass" if seconds else ""
    told = f"{why}{rate}{', axes by the paper' if policy == 'paper' else ''}"
    return DepthReport(axes, 1 << axes, limit.axes, tiles, seconds, limit.seconds, limit.used, told)
