"""The two-headed residual-encoder U-Net: lesions from one head, organs from the other, the rest shared.

After QuantIF's autoPET IV method and what it builds on (Rokuss et al., arXiv 2409.09478), on the network
library that nnU-Net itself uses. The organ head teaches the shared features what is no lesion; at inference
it is left out unless it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from torch import Tensor, nn

from anypet.errors import WeightsError
from anypet.lesions.config import CONFIGS, NetConfig
from anypet.models.exported.folder import attach
from anypet.models.exported.graph import Graph
from anypet.models.registry import load_named
from anypet.models.weights import check_fits, own_tensors


class Heads(NamedTuple):
    """Logits at the full resolution first, then, in training, at each halved one.

    Args:
        lesion: each (B, 2, d, h, w), background and lesion.
        organs: each (B, 1 + organs, d, h, w), background first; empty where they were not asked for.
    """

    lesion: list[Tensor]
    organs: list[Tensor]


class ImageNorm(nn.Module):
    """Instance normalisation that keeps channels-last memory on CPUs: torch's own copies there and back,
    which makes a training step a third slower.

    Args:
        features: channels.
        eps: added to the variance.
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        weight, bias = self.weight, self.bias
        single = [F.batch_norm(v, None, None, weight, bias, True, 0.0, self.eps) for v in x.split(1)]
        return torch.cat(single) if len(single) > 1 else single[0]


class TwoHeadedUNet(nn.Module):
    """See the module.

    Args:
        config: sizes.
    """

    def __init__(self, config: NetConfig = CONFIGS["compact"]) -> None:
        super().__init__()
        self.config = config
        self.exported: Graph | None = None  # runs in its place on the CPU; see `anypet.models.exported`
        stages = len(config.widths)
        self.unet = ResidualEncoderUNet(
            input_channels=len(config.channels),
            n_stages=stages,
            features_per_stage=list(config.widths),
            conv_op=nn.Conv3d,
            kernel_sizes=3,
            strides=[1] + [2] * (stages - 1),
            n_blocks_per_stage=list(config.blocks),
            num_classes=2,
            n_conv_per_stage_decoder=1,
            conv_bias=True,
            norm_op=ImageNorm,  # type: ignore[arg-type]  # it asks for what takes a number of features
            norm_op_kwargs={"eps": 1e-5},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            deep_supervision=False,
        )
        self.organ_layers = nn.ModuleList(
            nn.Conv3d(width, 1 + len(config.organs), 1) for width in reversed(config.widths[:-1])
        )

    def forward(self, x: Tensor, organs: bool = False, deep: bool = False) -> Heads:
        """Logits of one tile or a batch of them.

        Args:
            x: (B, channels, D, H, W), each side a multiple of 2^(stages - 1).
            organs: whether the organ head is wanted.
            deep: logits of every resolution but the coarsest, for deep supervision; else the full one alone.
        """
        if self.exported is not None and x.device.type == "cpu" and not (deep or self.training):
            lesion, named = self.exported(x.float())
            return Heads([lesion], [named] if organs else [])
        decoder = self.unet.decoder
        skips = self.unet.encoder(x)
        features, last = skips[-1], len(decoder.stages) - 1
        found = Heads([], [])
        for n, (up, stage) in enumerate(zip(decoder.transpconvs, decoder.stages, strict=True)):
            features = stage(torch.cat((up(features), skips[-(n + 2)]), 1))
            if deep or n == last:
                found.lesion.insert(0, decoder.seg_layers[n](features))
                if organs:
                    found.organs.insert(0, self.organ_layers[n](features))
        return found

    @property
    def divisor(self) -> int:
        """What the sides of a tile must be multiples of."""
        return 2 ** (len(self.config.widths) - 1)


def build(state_dict: Mapping[str, Tensor], metadata: Mapping[str, str]) -> TwoHeadedUNet:
    """Weights and their metadata (`config`: JSON of `NetConfig`) -> network in evaluation mode.

    Raises:
        WeightsError: the metadata is of no such network, or keys or shapes differ; the message names them.
    """
    try:
        fields: dict[str, Any] = json.loads(metadata["config"])
        config = NetConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"these are no weights of a lesion network: metadata `config`: {error}") from error
    net = TwoHeadedUNet(config)
    check_fits(own_tensors(net), state_dict, "lesions")
    net.load_state_dict(dict(state_dict), strict=False)  # what is missing are other names of the same
    return net.eval()


@cache
def load_net(name: str = "lesions", weights: str | Path | None = None) -> TwoHeadedUNet:
    """The network of a registered model, or of a weights file; kept for the next call.

    Raises:
        WeightsError: there are no such weights, or they are of another network.
    """
    path, state, metadata = load_named(name, weights)
    try:
        net = build(state, metadata)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    attach("lesions", net, path)
    return net


def load_encoder(net: TwoHeadedUNet, state_dict: Mapping[str, Tensor]) -> list[str]:
    """Takes over what fits of a pretrained network (nnU-Net's or ours) -> keys that were taken.

    Heads and layers of other shapes stay as they are; the first layer too where the channels differ.

    Raises:
        WeightsError: nothing fits.
    """
    own = own_tensors(net)
    named = {k if k in own else f"unet.{k}": v for k, v in state_dict.items()}
    taken = {k: v for k, v in named.items() if k in own and own[k].shape == v.shape}
    if not taken:
        raise WeightsError("nothing in these weights fits the network: is it a residual-encoder U-Net?")
    net.load_state_dict(taken, strict=False)
    return sorted(taken)
