"""AnyPET's own models, the classical methods, and the SAM-Med3D family, which our own loader runs."""

from __future__ import annotations

from pathlib import Path

from anypet.baselines.base import Loaded


def load_default(weights: Path | None, device: str) -> Loaded:
    """The packaged network, or other weights of its family."""
    return load_segany(weights, device, model="default", title="AnyPET")


def load_segany(weights: Path | None, device: str, model: str, title: str) -> Loaded:
    """A network of the registry under another name, with weights of one's own.

    Every object gets a `Session`: a window of 128 voxels of 1.5 mm around the first click, as SAM-Med3D's
    own inference cuts it, and every click after it with the logits so far.

    Raises:
        WeightsError: the file is damaged or of another network.
    """
    from anypet.evaluation.systems import model_system
    from anypet.models.registry import load_model

    return [model_system(title, load_model(model, weights=weights, device=device))]


def load_classical(weights: Path | None, device: str) -> Loaded:
    """Thresholds by the clicks, thresholds told the object, the oracle, and the random walker."""
    from anypet.evaluation.baselines import baselines

    return baselines()
