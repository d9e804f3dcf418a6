"""nnInteractive behind clicks: its own session, on the scan's voxels as they are stored."""

from __future__ import annotations

import contextlib
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anypet.baselines.base import Loaded
from anypet.clicks import BoolArray, Voxel
from anypet.errors import WeightsError
from anypet.evaluation.protocol import System
from anypet.volume import Volume


def load_nninteractive(weights: Path, device: str) -> Loaded:
    """The network of a published folder (plans.json, dataset.json, inference_info.json, fold_*).

    Raises:
        WeightsError: the folder is of another kind.
    """
    with _quiet():
        session = _session(device)
        try:
            artifacts = session._load_model_artifacts_from_disk(str(weights))
        except (OSError, RuntimeError, KeyError, ValueError, AssertionError) as error:
            raise WeightsError(f"{weights} is no model folder of nnInteractive: {error}") from error
    artifacts["network"].eval()
    return [System("nnInteractive", partial(Clicked, artifacts=artifacts, device=device))]


def _session(device: str) -> Any:
    from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

    return nnInteractiveInferenceSession(
        device=torch.device(device), torch_n_threads=torch.get_num_threads(), enable_undo=False
    )


class Clicked:
    """One object in one scan; all objects share the network.

    Args:
        volume: SUVbw; nnInteractive normalises it by its own mean and deviation.
        artifacts: what the session read from the folder.
        device: of the session.
    """

    def __init__(self, volume: Volume, artifacts: dict[str, Any], device: str) -> None:
        with _quiet():
            self._session = _session(device)
            self._session.initialize_from_loaded_artifacts(artifacts)
            self._session.set_image(np.asarray(volume.array, dtype=np.float32)[None])
        self._mask = np.zeros(volume.shape, dtype=np.uint8)
        self._session.set_target_buffer(self._mask)

    def add_point(self, ijk: Voxel, positive: bool = True) -> BoolArray:
        """Adds a click at a voxel (i, j, k) and gives the (I, J, K) mask."""
        with _quiet():
            self._session.add_point_interaction(tuple(ijk), include_interaction=positive)
        mask: BoolArray = self._mask > 0
        return mask


@contextlib.contextmanager
def _quiet() -> Any:
    """nnInteractive prints to the standard output, which belongs to the command line."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
