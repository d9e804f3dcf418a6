"""Models as systems of the click protocol."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anypet.evaluation.baselines import baselines
from anypet.evaluation.protocol import System
from anypet.volume import Volume

if TYPE_CHECKING:
    from anypet.models.base import PromptableModel
    from anypet.session import Session


def model_system(name: str, model: PromptableModel) -> System:
    """A loaded model; every object gets a `Session` of its own, every session uses the same weights."""
    return System(name, partial(_session, model=model))


def _session(volume: Volume, model: PromptableModel) -> Session:
    from anypet.session import Session

    return Session(volume, model=model)


@dataclass(frozen=True)
class SystemsToRun:
    """Builds the systems of an evaluation; small enough to be sent to other processes.

    Args:
        model: registry name, or None for baselines alone.
        weights: a weights file in place of the registered one.
        device: "cpu", "cuda", ...
        baselines: whether thresholds and the random walker run too.
        threads: of torch in this process; 0 leaves them as they are.
    """

    model: str | None
    weights: Path | None = None
    device: str = "cpu"
    baselines: bool = True
    threads: int = 0

    def __call__(self) -> list[System]:
        """The systems, the model first and loaded.

        Raises:
            WeightsError: the model or its weights cannot be had.
        """
        systems = []
        if self.model is not None:
            import torch

            from anypet.models.registry import load_model

            if self.threads:
                torch.set_num_threads(self.threads)
            loaded = load_model(self.model, weights=self.weights, device=self.device)
            systems.append(model_system(self.model, loaded))
        return systems + (baselines() if self.baselines else [])
