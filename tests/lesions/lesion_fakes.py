"""A network whose answers are known: hot is lesion, unless a background click says otherwise."""

import numpy as np
import torch
from torch import nn

from anypet.lesions.config import NetConfig
from anypet.lesions.network import Heads
from anypet.volume import Volume

CONFIG = NetConfig(organs=("warm",), patch=16)


class HotNet(nn.Module):
    """Lesion where asinh(SUV) is above that of 2.5; organ "warm" between 1 and 2.5."""

    def __init__(self, config=CONFIG, bias=0.0):
        super().__init__()
        self.config = config
        self.bias = nn.Parameter(torch.tensor(bias))
        self.seen = []

    def forward(self, x, organs=False, deep=False):
        self.seen.append(float(x[0, 3].mean()))
        pet, clicks = x[:, :1], x[:, 2:3]
        lesion = 8 * (pet - np.arcsinh(2.5)) + 40 * clicks.clamp(max=0) + self.bias
        warm = 8 * torch.minimum(pet - np.arcsinh(1.0), np.arcsinh(2.5) - pet)
        empty = torch.zeros_like(pet)
        return Heads([torch.cat([empty, lesion], 1)], [torch.cat([empty, warm], 1)] if organs else [])


def scan(shape=(40, 44, 60), affine=None, spots=((12, 20, 15, 4), (28, 22, 40, 5)), level=8.0) -> Volume:
    """A warm body (SUV 1.5) of 4 mm voxels with hot balls at (i, j, k, radius)."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0]) if affine is None else affine
    index = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij", sparse=True)
    pet = np.zeros(shape, np.float32)
    pet[4:-4, 4:-4, 2:-2] = 1.5
    for *centre, radius in spots:
        pet[sum((a - c) ** 2 for a, c in zip(index, centre, strict=True)) <= radius**2] = level
    return Volume(pet, affine, "SUVbw")
