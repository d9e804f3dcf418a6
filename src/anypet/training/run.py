"""A training run: batches, optimiser, schedule, averaging, checkpoints; alone or one of several processes.

Everything random is drawn from the seed, the number of the step and the place in the batch. So a run goes on
from a checkpoint as if it had never stopped, and several processes share a batch out among themselves and
learn from it what one would.
"""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from anypet.devices import has_bfloat16
from anypet.errors import AnyPETError
from anypet.models.weights import own_tensors
from anypet.training.config import RunSettings, Settings
from anypet.training.distributed import World
from anypet.training.objective import Scores, promptable_objective
from anypet.training.record import ROW_EVERY, Record

CHECKPOINT_EVERY_S = 240.0
Source = Callable[[np.random.Generator], Any]


class Look(Protocol):
    """What looks at a run from outside, see `anypet.training.validation`."""

    def score(self, learner: Any, weights: dict[str, Tensor]) -> tuple[float, float]: ...

    def picture(self, learner: Any, weights: dict[str, Tensor], path: Path) -> None: ...


@dataclass
class Progress:
    """Where a run stands; scores are those of the last step."""

    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    parts: float = math.nan
    dice_first: float = math.nan
    dice_last: float = math.nan
    rectified: float = 0.0
    best: float = -1.0  # of validation, DSC averaged over the first and the last click
    stale: int = 0  # looks at it since then


@dataclass(frozen=True)
class Budget:
    """When a run ends: at the first of the two that is reached. Earlier, resumed time and steps count."""

    minutes: float = math.inf
    steps: float = math.inf

    def share(self, progress: Progress) -> float:
        """How much of it is spent, 0 to 1."""
        return min(1.0, max(progress.seconds / (self.minutes * 60), progress.step / self.steps))


def learning_rate(settings: RunSettings, share: float, step: int) -> float:
    """The rate of a step when `share` of the budget is spent.

    "cosine": 100 steps of warm-up, or a twentieth of the budget if that is less, then a cosine to 1 %.
    "poly": (1 - share)^0.9, as nnU-Net.
    "steps": times `gamma` at each milestone, as the SegAnyPET paper's MultiStepLR, with the budget as its
    200 epochs.
    """
    if settings.schedule == "steps":
        passed = sum(share * settings.epochs >= milestone for milestone in settings.milestones)
        return settings.learning_rate * settings.gamma**passed
    if settings.schedule == "poly":
        return settings.learning_rate * (1 - share) ** 0.9
    warm = min(1.0, max((step + 1) / 100, share / 0.05))
    return settings.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def make_optimiser(net: nn.Module, settings: RunSettings) -> torch.optim.Optimizer:
    """The optimiser that settings ask for."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        return torch.optim.SGD(net.parameters(), lr=rate, weight_decay=decay, momentum=0.99, nesterov=True)
    return torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)


class Run:
    """One run in a folder, see `Record` for what it writes.

    Args:
        folder: where everything is written.
        settings: of the run.
        learner: the network that learns; it is moved to `device`.
        source: gives a patch from a generator, or None where a draw came to nothing.
        device: where the network is trained; patches and clicks are made on the CPU.
        world: the processes that share the batches.
        validation: what is looked at every `validate_every` steps, or None.
        objective: gives the loss of a batch; that of a promptable network without.
    """

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        learner: nn.Module,
        source: Source,
        device: str | torch.device = "cpu",
        world: World | None = None,
        validation: Look | None = None,
        objective: nn.Module | None = None,
    ):
        torch.manual_seed(settings.seed)
        self.settings, self.source, self.world = settings, source, world or World()
        if settings.batch % self.world.size:
            raise AnyPETError(
                f"batch {settings.batch} cannot be shared out among {self.world.size} processes"
            )
        self.device = torch.device(device)
        self.learner = learner.to(self.device)
        if any(p.ndim == 5 for p in learner.parameters()):
            self.learner.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.half = settings.half and has_bfloat16(self.device)
        if objective is None:
            assert isinstance(settings, Settings)
            objective = promptable_objective(self.learner, settings, self.half)
        self.turns: Callable[[np.random.Generator], int] = objective.turns  # type: ignore[assignment]
        self.objective: nn.Module = self.world.wrap(objective)
        self.average = {k: v.detach().clone() for k, v in own_tensors(self.learner).items()}
        self.optimiser = make_optimiser(self.learner, settings)
        self.validation = validation
        self.progress = Progress()
        self.record = Record(folder, settings)
        self.folder = folder

    # -- one step --------------------------------------------------------------------------------------------

    def draw(self, step: int) -> list[list[Any]]:
        """This process's share of a step's micro-batches: the same whenever asked for."""
        return [
            [self._patch(step, micro, place) for place in self._places()]
            for micro in range(self.settings.accumulate)
        ]

    def _places(self) -> range:
        return range(self.world.rank, self.settings.batch, self.world.size)

    def _rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng((self.settings.seed, *what))

    def _patch(self, step: int, micro: int, place: int) -> Any:
        rng = self._rng(step, micro, place, 0)
        for _ in range(200):
            patch = self.source(rng)
            if patch is not None:
                return patch
        raise AnyPETError("200 draws in a row gave no patch: the pool's targets lie outside of their scans")

    def step(self, share: float, batches: list[list[Any]]) -> None:
        """One optimiser step; `share` of the budget is spent.

        Raises:
            AnyPETError: the gradient is not finite; no weight has been touched by it.
        """
        step = self.progress.step
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, share, step)
        self.optimiser.zero_grad(set_to_none=True)
        scores = []
        for micro, patches in enumerate(batches):
            rngs = [self._rng(step, micro, place, 1) for place in self._places()]
            count = self.turns(self._rng(step, micro))
            last = micro == len(batches) - 1
            with self.world.accumulate(self.objective, last):
                loss, found = self.objective(patches, rngs, count, share)
                (loss / len(batches)).backward()
            scores.append(found)
        norm = nn.utils.clip_grad_norm_(self.learner.parameters(), self.settings.gradient_clip)
        if not torch.isfinite(norm):
            at = f"at step {step}: loss {scores[-1].loss}, gradient {float(norm)}"
            raise AnyPETError(f"training has diverged {at}; go on with --resume and a lower learning_rate")
        self.optimiser.step()
        self._follow()
        self._note(scores)

    def _follow(self) -> None:
        """The moving average of the weights."""
        step = self.progress.step
        decay = min(self.settings.ema, (1 + step) / (10 + step)) if self.settings.ema else 0.0
        for key, value in own_tensors(self.learner).items():
            self.average[key].lerp_(value, 1 - decay)

    def _note(self, scores: list[Scores]) -> None:
        names = list(asdict(scores[0]))
        means = self.world.mean([float(np.mean([getattr(s, name) for s in scores])) for name in names])
        for name, value in zip(names, means, strict=True):
            setattr(self.progress, name, value)
        self.progress.step += 1

    # -- the whole -------------------------------------------------------------------------------------------

    def train(self, budget: Budget, report: Callable[[Progress], None] | None = None) -> None:
        """Steps until the budget is spent; then exports the averaged weights."""
        self.learner.train()
        self.record.begin(self.progress.step)
        started, saved = time.monotonic() - self.progress.seconds, time.monotonic()
        with ThreadPoolExecutor(1) as ahead:  # the next batch is cut while the network learns from this one
            coming = ahead.submit(self.draw, self.progress.step)
            while self.world.agree(budget.share(self.progress)) < 1.0 and not self._exhausted():
                batches = coming.result()
                coming = ahead.submit(self.draw, self.progress.step + 1)
                self.step(self.world.agree(budget.share(self.progress)), batches)
                self._validate()
                self.progress.seconds = time.monotonic() - started
                if self.world.leads:
                    self.record.step(self.progress)
                    if self.progress.step % ROW_EVERY == 0 and report:
                        report(self.progress)
                    if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                        self.save_checkpoint()
                        saved = time.monotonic()
            coming.cancel()
        if self.world.leads:
            self.save_checkpoint()
            self.record.finish(self.average, self.progress.step)

    def _validate(self) -> None:
        """A look at the validation windows, when one is due; all processes come to the same result."""
        every = self.settings.validate_every
        if not every or self.validation is None or self.progress.step % every:
            return
        first, last = self.validation.score(self.learner, self.average)
        better = (first + last) / 2 > self.progress.best
        self.progress.best = max(self.progress.best, (first + last) / 2)
        self.progress.stale = 0 if better else self.progress.stale + 1
        if self.world.leads:
            self.record.validated(self.progress.step, first, last)
            if better:
                self.record.export(self.average, self.progress.step, self.folder / "best.safetensors")
                self.validation.picture(self.learner, self.average, self.folder / "samples.png")

    def _exhausted(self) -> bool:
        return 0 < self.settings.patience <= self.progress.stale

    def save_checkpoint(self) -> None:
        """Everything needed to go on, written under a temporary name first."""
        state: dict[str, Any] = {
            "net": self.learner.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "progress": vars(self.progress),
        }
        partial = self.folder / "checkpoint.part"
        torch.save(state, partial)
        os.replace(partial, self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Goes on where `checkpoint.pt` ended.

        Raises:
            AnyPETError: there is no checkpoint, it is damaged, or it is of another network.
        """
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            raise AnyPETError(f"nothing to resume: no {path}; leave --resume out to start anew")
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
            self.learner.load_state_dict(state["net"])
            self.average = dict[str, Tensor](state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.progress = Progress(**state["progress"])
        except (
            RuntimeError,
            KeyError,
            TypeError,
            ValueError,
            EOFError,
            OSError,
            pickle.UnpicklingError,
        ) as fault:
            cause = str(fault).splitlines()[0]
            raise AnyPETError(
                f"{path} cannot be gone on from: {cause}; it is damaged, or of other settings"
            ) from fault
