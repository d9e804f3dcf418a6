"""Where a run's patches come from: the simulated pool, real cases, or a mixture of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anypet.errors import AnyPETError
from anypet.models.compact.parts import PARTS
from anypet.training.augment import augment
from anypet.training.config import Settings
from anypet.training.patches import Draw, Patch, draw_patch
from anypet.training.pool import Pool, PoolStudy


class Mixture:
    """Patches of simulated studies and of real cases, augmented.

    Args:
        pool: simulated studies; the labels of `low_share` of them are spoilt.
        real: real studies; none are needed.
        settings: of the run.
        spacing: of a network that has but one.

    Raises:
        AnyPETError: there is nothing to draw from, or `left_out` names an unknown organ.
    """

    def __init__(
        self,
        pool: Pool,
        real: Sequence[PoolStudy],
        settings: Settings,
        spacing: float | None = None,
    ) -> None:
        if not len(pool) and not real:
            raise AnyPETError("nothing to train on: the pool is empty and there is no real case")
        unknown = [name for name in settings.left_out if name not in PARTS]
        if unknown:
            raise AnyPETError(f"left_out: {unknown} are not among the organs {', '.join(PARTS[1:14])}")
        self.pool, self.real = pool, real
        self.real_share = (settings.real_share if len(pool) else 1.0) if real else 0.0
        left_out = frozenset(PARTS.index(name) for name in settings.left_out)
        window, share, targets = settings.window, settings.organ_share, settings.targets
        self.good = Draw(window, share, targets, left_out, spacing)
        self.bad = Draw(window, share, targets, left_out, spacing, settings.degrade_strength)
        # the first ones are good: their order is random already, and they are the same for every seed
        self.low = range(len(pool) - round(settings.low_share * len(pool)), len(pool))

    def __call__(self, rng: np.random.Generator) -> Patch | None:
        """A patch, or None where the draw came to nothing."""
        if rng.random() < self.real_share:
            patch = draw_patch(self.real[int(rng.integers(len(self.real)))], rng, self.good)
        else:
            n = int(rng.integers(len(self.pool)))
            patch = draw_patch(self.pool[n], rng, self.bad if n in self.low else self.good, n)
        return None if patch is None else augment(patch, rng)
