"""The channels of an nnU-Net for PET/CT with clicks: which is which, and how the clicks are drawn.

nnU-Net knows channels by number, and by names that mostly choose a normalisation ("CT", "noNorm"). Published
networks for autoPET agree on the order (CT, PET, clicks) and differ in how a click is drawn:

| network | channels of clicks | Gaussians (voxels) | where SUV is low |
|---|---|---|---|
| baseline of autoPET IV | tumour, background | 3 and 3, kernel sums to 1 | kept |
| QuantIF's release | one: tumour minus background | 3 and 6, peak 1 | zero below min(4, SUV at the click) |

A data set that AnyPET exported says both in its dataset.json, under "anypet"; nnU-Net hands that file on with
what it trains. In QuantIF's release background clicks without a tumour click are positive, a fault of sign;
here they are negative always, as they are there beside a tumour click.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.click_maps import Peak, gaussian_map
from anypet.volume import Volume

Role = Literal["ct", "pet", "tumour", "background", "clicks"]
ROLES: tuple[Role, ...] = get_args(Role)

# By number of channels: the order of autoPET's data, for folders whose names do not tell.
_ORDER: dict[int, tuple[Role, ...]] = {
    1: ("pet",),
    2: ("ct", "pet"),
    3: ("ct", "pet", "clicks"),
    4: ("ct", "pet", "tumour", "background"),
}
# Names that nnU-Net reads as a normalisation, so that they may stand for any image.
_NORMALISATIONS = ("ct", "nonorm", "zscore", "rescale_to_0_1")
_WORDS: tuple[tuple[Role, str], ...] = (
    ("background", r"bg|background|neg|negative|non.?tumou?r"),
    ("tumour", r"fg|foreground|pos|positive|tumou?r|lesion"),
    ("clicks", r"clicks?|heatmaps?|hm|prompts?|guidance"),
    ("pet", r"pet|pt|suv|suvbw"),
    ("ct", r"ct|ctres"),
)


@dataclass(frozen=True)
class ClickStyle:
    """How clicks become channels; see `anypet.lesions.click_maps.gaussian_map`.

    Args:
        sigma, background_sigma: of the Gaussians, in `unit`.
        unit: "mm" or "voxel".
        peak: "one" or "filter".
        suv_ceiling: a tumour click's map is zero where the SUV is below the lower of this and its own SUV;
            None leaves it whole.
        overlap: where background clicks overlap to more than 1 they are cut there ("clip"), or the whole map
            is divided by its maximum ("scale").
    """

    sigma: float
    background_sigma: float
    unit: Literal["mm", "voxel"] = "mm"
    peak: Peak = "one"
    suv_ceiling: float | None = 3.0
    overlap: Literal["clip", "scale"] = "clip"


BASELINE = ClickStyle(3.0, 3.0, "voxel", "filter", None)
QUANTIF = ClickStyle(3.0, 6.0, "voxel", "one", 4.0, "scale")
OURS = ClickStyle(8.0, 12.0)  # as AnyPET's own networks are trained


@dataclass(frozen=True)
class Channels:
    """What goes into a network, in its order.

    Args:
        roles: what each channel shows.
        style: how the clicks are drawn.
        note: where the roles come from, if a reader should know.
    """

    roles: tuple[Role, ...]
    style: ClickStyle
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """What an exported data set's dataset.json says under "anypet"."""
        return {"channels": list(self.roles), "clicks": asdict(self.style)}

    def draw(self, pet: Volume, ct: Volume | None, clicks: LesionClicks) -> npt.NDArray[np.float32]:
        """The channels of a scan, float32 (C, I, J, K), before any normalisation.

        Args:
            pet: SUVbw.
            ct: HU on the PET's grid.
            clicks: voxels of the PET.

        Raises:
            AnyPETError: the network takes a CT and there is none.
            PromptError: a click is not in the scan.
        """
        if "ct" in self.roles and ct is None:
            raise AnyPETError("this network takes a CT beside the PET; give one (--ct)")
        return np.stack([self._channel(role, pet, ct, clicks) for role in self.roles])

    def _channel(
        self, role: Role, pet: Volume, ct: Volume | None, clicks: LesionClicks
    ) -> npt.NDArray[np.float32]:
        if role == "pet" or role == "ct":
            volume = pet if role == "pet" else ct
            assert volume is not None
            return np.asarray(volume.array, dtype=np.float32)
        style, of_both = self.style, role == "clicks"
        drawn = gaussian_map(
            pet.array, pet.spacing,
            clicks.tumour if of_both or role == "tumour" else (),
            clicks.background if of_both or role == "background" else (),
            sigma=style.sigma, background_sigma=style.background_sigma, unit=style.unit, peak=style.peak,
            suv_ceiling=-np.inf if style.suv_ceiling is None else style.suv_ceiling,
            clip_background=style.overlap == "clip",
        )  # fmt: skip
        lowest = -float(drawn.min())
        if style.overlap == "scale" and lowest > 0:
            np.divide(drawn, lowest, out=drawn, where=drawn < 0)
        return -drawn if role == "background" else drawn


def channels_of(dataset: Mapping[str, Any], source: str, said: Sequence[str] | None = None) -> Channels:
    """The channels that a dataset.json describes.

    Args:
        dataset: its content.
        source: named in messages.
        said: roles, where the user gives them.

    Raises:
        AnyPETError: the channels cannot be told from their names, or make no sense together.
    """
    names = _names(dataset, source)
    own = dataset.get("anypet")
    note = ""
    if said is not None:
        if len(said) != len(names):
            raise AnyPETError(f"{source} has {len(names)} channels {names}, {len(said)} were named: {said}")
        roles = _checked(said, source)
    elif isinstance(own, Mapping):
        try:
            return Channels(_checked(own["channels"], source), ClickStyle(**own["clicks"]))
        except (KeyError, TypeError) as error:
            raise AnyPETError(f'{source}: the entry "anypet" is damaged: {error}') from error
    else:
        roles, by_order = _told_by_names(names, source)
        if by_order:
            note = f"the channels {', '.join(names)} were taken in autoPET's order: {', '.join(roles)}"
    return Channels(roles, QUANTIF if "clicks" in roles else BASELINE, note)


def _names(dataset: Mapping[str, Any], source: str) -> list[str]:
    found = dataset.get("channel_names", dataset.get("modality"))
    try:
        return [str(name) for _, name in sorted(found.items(), key=lambda item: int(item[0]))]  # type: ignore[union-attr]
    except (AttributeError, ValueError):
        raise AnyPETError(
            f'{source}: expected "channel_names" like {{"0": "CT", "1": "PET"}}, found {found!r}'
        ) from None


def _role(name: str) -> Role | None:
    for role, words in _WORDS:
        if re.search(rf"(?<![a-z])({words})(?![a-z])", name.casefold()):
            return role
    return None


def _told_by_names(names: Sequence[str], source: str) -> tuple[tuple[Role, ...], bool]:
    """The roles, and whether they had to be taken from the order."""
    roles = [_role(name) for name in names]
    sure = [role for role in roles if role is not None]
    if len(set(sure)) == len(names):
        return _checked(sure, source), False
    order = _ORDER.get(len(names), ())
    if order and all(
        role == there or name.casefold() in _NORMALISATIONS
        for name, role, there in zip(names, roles, order, strict=True)
    ):
        return order, True
    raise AnyPETError(
        f"{source}: the channels {list(names)} do not say which is which; "
        f"name them in their order (--channels), each one of {', '.join(ROLES)}"
    )


def _checked(roles: Sequence[str], source: str) -> tuple[Role, ...]:
    known = [role for role in ROLES if role in roles]
    wrong = len(known) != len(roles) or "pet" not in known
    if wrong or ("clicks" in known and {"tumour", "background"} & set(known)):
        raise AnyPETError(
            f"{source}: channels {list(roles)}; expected pet once, ct at most once, and clicks or tumour and "
            "background, each at most once"
        )
    return tuple(roles)  # type: ignore[arg-type]
