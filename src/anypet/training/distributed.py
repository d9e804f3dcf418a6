"""Several processes that share one batch, started by `torchrun`; or one that is alone."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Args:
        rank: which one this is.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over the processes."""
        if self.size == 1:
            return module
        # prompts of a kind that a batch happens not to have leave some weights without a gradient
        return DistributedDataParallel(module, find_unused_parameters=True)

    def accumulate(self, module: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around a micro-batch: gradients are exchanged after the last one only."""
        if isinstance(module, DistributedDataParallel) and not last:
            return module.no_sync()
        return nullcontext()

    def mean(self, values: list[float]) -> list[float]:
        """Means over the processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            tensor = tensor.cuda()
        dist.all_reduce(tensor)
        return [float(v) for v in tensor / self.size]

    def agree(self, value: float) -> float:
        """One value for all, so that no process stops or slows before the others."""
        return self.mean([value])[0]

    def wait(self) -> None:
        """Until all have come so far."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        """At the end; together, since gloo aborts a process whose peer has hung up first."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()


def join_world(device: str) -> World:
    """The world that torchrun's environment variables describe; a process alone without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    if not dist.is_initialized():
        if device.startswith("cuda"):
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return World(dist.get_rank(), size)
