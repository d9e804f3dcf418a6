"""`Predictor`: from the prompts of one object to its mask and probability on the scan's own grid."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch

from anypet import canvas as cv
from anypet.anatomy import Anatomy
from anypet.compose import compose
from anypet.locate import box_corners_mm
from anypet.models.base import Anchor, Embedding, PromptableModel
from anypet.objects import Group, Patch, Prediction, Tile, Triple
from anypet.planning import Planner, Policy, inside
from anypet.prompts import Prompts, WindowPrompts
from anypet.volume import Volume
from anypet.windows import Window, cut

__all__ = ["EmbeddingCache", "Policy", "Predictor"]


class EmbeddingCache:
    """Embeddings of windows, least recently used out first, never more than `limit` bytes together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._items: OrderedDict[Any, Embedding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Any) -> Embedding | None:
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key]

    def put(self, key: Any, embedding: Embedding) -> None:
        if embedding.nbytes > self.limit:
            return
        if key in self._items:
            self.nbytes -= self._items.pop(key).nbytes
        while self._items and self.nbytes + embedding.nbytes > self.limit:
            self.nbytes -= self._items.popitem(last=False)[1].nbytes
        self._items[key] = embedding
        self.nbytes += embedding.nbytes


class Predictor:
    """Segments objects of one scan with one model; it holds the embeddings, the caller holds the history.

    Args:
        volume: the scan, SUVbw.
        model: any promptable model.
        policy: how windows are placed.
    """

    def __init__(self, volume: Volume, model: PromptableModel, policy: Policy | None = None) -> None:
        self.volume = volume
        self.model = model
        self.policy = policy or Policy()
        self.cache = EmbeddingCache(self.policy.cache_bytes)
        low, high = model.spec.spacings
        # closer than the scan's own voxels there is nothing to see
        self.finest = float(np.clip(volume.spacing.min(), low, high))
        self.coarsest = float(high)
        self.shape = model.spec.window
        self._anatomy: Anatomy | None = None

    @torch.inference_mode()
    def predict(
        self, prompts: Prompts, prior: Patch | None = None, before: Prediction | None = None
    ) -> Prediction:
        """All prompts of an object -> its mask and probability.

        Points given after `before` are corrections: windows that hold them are decoded again with the logits
        they gave before; a positive point outside of all windows moves or adds windows. A new box or user's
        mask plans the windows anew. Without any positive point, box or mask the result is an empty mask.

        Args:
            prompts: all points and boxes, RAS mm, oldest first.
            prior: the user's own mask.
            before: the object's last prediction, or None.
        """
        before = before or Prediction()
        positive = [p.mm for p in prompts.points if p.positive]
        if not positive and not prompts.boxes and prior is None:
            return Prediction(prompts=prompts)
        known = before.prompts.points
        replanned = not before.groups or prompts.boxes != before.prompts.boxes or prior is not before.prior
        if replanned or prompts.points[: len(known)] != known:
            planner = Planner(self, prompts, prior, [])
            planner.start(before.groups)
            planner.include(prompts.points)
        else:
            planner = Planner(self, prompts, prior, list(before.groups))
            planner.include(prompts.points[len(known) :])
        groups = tuple(planner.groups)
        canvases = [cv.blend(group, self.shape) for group in groups]
        spec = self.model.spec
        clip = "box" not in spec.prompts
        mask, probability = compose(
            self.volume, canvases, prompts, prior, self.policy.floor, clip, spec.temperature
        )
        return Prediction(prompts, prior, mask, probability, groups)

    def first_look(self, point: Triple, suv: float) -> Group | None:
        """The organ at a click as the organ head sees it; None where there is none, or no such head."""
        name = self.model.spec.anatomy
        if name is None or not self.policy.anatomy:
            return None
        if self._anatomy is None:
            from anypet.lesions.network import load_net

            self._anatomy = Anatomy(self.volume, load_net(name).to(self._device()))
        return self._anatomy.look(point, suv, self.shape[0])

    def decode(self, group: Group, tile: Tile, prompts: Prompts, previous: torch.Tensor | None) -> Tile:
        """One window with all the prompts inside of it -> the tile with new logits."""
        window = cv.tile_window(group.centre_mm, group.spacing, self.shape, tile.cell)
        spec = self.model.spec
        asked = self._window_prompts(window, prompts, tile.seed_mm)
        at = window.to_index(group.anchor_mm)
        if not inside(at, self.shape) and tile.seed_mm is not None:
            at = window.to_index(tile.seed_mm)
        anchor = Anchor(group.anchor_suv, (float(at[0]), float(at[1]), float(at[2])))
        embedding = self._embed(window, anchor if spec.needs_anchor else None)
        if previous is not None:
            previous = previous.to(self._device())
        logits = self.model.decode(embedding, asked, previous)
        values = torch.nan_to_num(logits.detach().float()).clamp(-cv.LIMIT, cv.LIMIT)
        return Tile(tile.cell, values[0, 0].cpu().numpy().astype(np.float16), tile.seed_mm)

    def _embed(self, window: Window, anchor: Anchor | None) -> Embedding:
        key = (window, anchor)
        embedding = self.cache.get(key)
        if embedding is None:
            image = cut(self.volume, window).to(self._device())
            embedding = self.model.encode(image, window.spacing, anchor)
            self.cache.put(key, embedding)
        return embedding

    def _device(self) -> Any:
        return getattr(self.model, "device", "cpu")

    def _window_prompts(self, window: Window, prompts: Prompts, seed: Triple | None) -> WindowPrompts:
        """Points inside the window, boxes that reach into it; the seed where they say nothing."""
        points = [(window.to_index(p.mm), int(p.positive)) for p in prompts.points]
        points = [(index, label) for index, label in points if inside(index, self.shape)]
        boxes = []
        if "box" in self.model.spec.prompts:
            for box in prompts.boxes:
                corners = window.to_index(box_corners_mm(self.volume, box))
                low, high = corners.min(0), corners.max(0)
                if np.all(high > 0) and np.all(low < np.array(self.shape) - 1):
                    boxes.append([low, high])
        if seed is not None and not boxes and not any(label for _, label in points):
            points.insert(0, (window.to_index(seed), 1))
        return WindowPrompts(
            np.array([index for index, _ in points], dtype=np.float64).reshape(-1, 3),
            np.array([label for _, label in points], dtype=np.int64),
            np.array(boxes, dtype=np.float64).reshape(-1, 2, 3),
        )
