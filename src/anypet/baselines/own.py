"""AnyPET's own models, the classical methods, and the SAM-Med3D family, which our own loader runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from anypet.baselines.base import Loaded
from anypet.evaluation.protocol import Interactive
from anypet.volume import Volume


def load_default(weights: Path | None, device: str) -> Loaded:
    """The packaged network, or other weights of its family."""
    return load_segany(weights, device, model="default", title="AnyPET")


def load_compact(weights: Path, device: str) -> Loaded:
    """A network of the default's family that was trained elsewhere, named after the folder of its run."""
    title = f"AnyPET ({weights.resolve().parent.name})"
    return load_segany(weights, device, model="default", title=title)


def load_segany(weights: Path | None, device: str, model: str, title: str, ct: bool = False) -> Loaded:
    """A network of the registry under another name, with weights of one's own.

    Every object gets a `Session`: a window of 128 voxels of 1.5 mm around the first click, as SAM-Med3D's
    own inference cuts it, and every click after it with the logits so far.

    Args:
        weights: None for those that `anypet models` has.
        device: where it runs.
        model: name in the registry.
        title: name in tables.
        ct: whether it is shown CTs.

    Raises:
        WeightsError: the file is damaged or of another network.
    """
    from anypet.evaluation.systems import model_system
    from anypet.models.registry import load_model

    system = model_system(title, load_model(model, weights=weights, device=device))
    if ct:
        assert system.make is not None  # of a model
        system = replace(system, make=partial(_begin_on_ct, make=system.make))
    return [system]


def _begin_on_ct(ct: Volume, make: Callable[[Volume], Interactive]) -> Interactive:
    """SAM-Med3D's own loader cuts CTs at -1000 and 1000 HU. A session takes nothing but SUV; the unit is lost
    before the network, which sees every window scaled by mean and deviation of what lies above 0."""
    return make(Volume(np.clip(ct.array, -1000, 1000), ct.affine, "SUVbw"))


def load_classical(weights: Path | None, device: str) -> Loaded:
    """Thresholds by the clicks, thresholds told the object, the oracle, and the random walker."""
    from anypet.evaluation.baselines import baselines

    return baselines()
