"""The lesion network as it is exported: both heads at full resolution, tiles of any size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from anypet.lesions.network import TwoHeadedUNet, build
from anypet.models.exported.graph import Graph, Piece

__all__ = ["build", "pieces", "probability", "put_in"]


class _Heads(nn.Module):
    """Both heads as a tuple, which is what is traced."""

    def __init__(self, net: TwoHeadedUNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        heads = self.net(x, organs=True)
        return heads.lesion[0], heads.organs[0]


def pieces(model: TwoHeadedUNet) -> list[Piece]:
    """The whole network; the organ head is a thousandth of its work."""
    channels, side = len(model.config.channels), model.config.patch
    tile = torch.rand(1, channels, side, side, side)
    return [Piece("network", _Heads(model), (tile,), ((1, channels, -1, -1, -1),))]


def put_in(model: TwoHeadedUNet, graphs: Mapping[str, Graph]) -> None:
    """The export runs what the network is asked for on the CPU; on other devices torch does."""
    model.exported = graphs["network"]


@torch.inference_mode()
def probability(model: TwoHeadedUNet) -> Tensor:
    """Of a made-up tile: noise around a warm ball."""
    side = model.config.patch
    generator = torch.Generator().manual_seed(0)
    tile = torch.rand(1, len(model.config.channels), side, side, side, generator=generator)
    third = slice(side // 3, side // 2)
    tile[:, 0, third, third, third] += 2
    heads = model(tile, organs=True)
    return torch.cat([torch.softmax(v, 1) for v in (heads.lesion[0], heads.organs[0])], 1)
