import json

import pytest
import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from torch import nn

from anypet.errors import WeightsError
from anypet.lesions.config import CONFIGS, ORGANS, PAPER_ORGANS, NetConfig
from anypet.lesions.network import ImageNorm, TwoHeadedUNet, build, load_encoder
from anypet.models.weights import own_tensors

TINY = NetConfig(patch=16, widths=(4, 6, 8), blocks=(1, 1, 1))


def tiny() -> TwoHeadedUNet:
    torch.manual_seed(0)
    return TwoHeadedUNet(TINY).eval()


@torch.no_grad()
def test_the_lesion_head_is_the_librarys_own_network():
    net, x = tiny(), torch.randn(2, 4, 16, 8, 24)
    assert torch.allclose(net(x).lesion[0], net.unet(x), atol=1e-6)


@torch.no_grad()
def test_heads_give_what_is_asked_for():
    net, x = tiny(), torch.randn(1, 4, 16, 16, 16)
    assert net(x).organs == []
    heads = net(x, organs=True, deep=True)
    assert [tuple(v.shape) for v in heads.lesion] == [(1, 2, 16, 16, 16), (1, 2, 8, 8, 8)]
    assert [tuple(v.shape) for v in heads.organs] == [(1, 16, 16, 16, 16), (1, 16, 8, 8, 8)]
    assert torch.equal(heads.lesion[0], net(x).lesion[0])


def test_the_organ_head_reads_the_shared_features():
    """Its loss must reach the encoder: that is what it is for."""
    net = tiny().train()
    net(torch.randn(1, 4, 16, 16, 16), organs=True).organs[0].square().mean().backward()
    stem = net.unet.encoder.stem.convs[0].conv.weight
    assert stem.grad is not None
    assert float(stem.grad.abs().sum()) > 0


def test_weights_come_back_each_once():
    net = tiny()
    kept = {k: v.clone() for k, v in own_tensors(net).items()}
    assert sum(v.numel() for v in kept.values()) == sum(p.numel() for p in net.parameters())
    again = build(kept, {"config": json.dumps(TINY.to_dict())})
    x = torch.randn(1, 4, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(x, organs=True).organs[0], net(x, organs=True).organs[0])
    assert again.config == TINY


@pytest.mark.parametrize(
    ("metadata", "spoil", "said"),
    [
        ({}, {}, "config"),
        ({"config": "[1]"}, {}, "config"),
        ({"config": '{"depth": 3}'}, {}, "depth"),
        ({"config": json.dumps(TINY.to_dict())}, {"extra": torch.zeros(1)}, "1 unexpected: extra"),
        ({"config": json.dumps(NetConfig(organs=("liver",)).to_dict())}, {}, "of another shape"),
    ],
)
def test_foreign_weights_are_refused(metadata, spoil, said):
    with pytest.raises(WeightsError, match=said):
        build({**own_tensors(tiny()), **spoil}, metadata)


def test_a_pretrained_encoder_of_nnunet_is_taken_over():
    torch.manual_seed(1)
    pretrained = ResidualEncoderUNet(
        1, 3, [4, 6, 8], nn.Conv3d, 3, [1, 2, 2], [1, 1, 1], 5, 1, True, nn.InstanceNorm3d,
        {"affine": True}, nonlin=nn.LeakyReLU,
    )  # fmt: skip
    net = tiny()
    first = net.unet.encoder.stem.convs[0].conv.weight.clone()
    taken = load_encoder(net, pretrained.state_dict())
    assert "unet.encoder.stages.1.blocks.0.conv1.conv.weight" in taken
    mine, theirs = net.unet.encoder.stages[1], pretrained.encoder.stages[1]
    x = torch.randn(1, 4, 8, 8, 8)
    assert torch.equal(mine(x), theirs(x))
    assert torch.equal(net.unet.encoder.stem.convs[0].conv.weight, first)  # other channels: left as it was
    with pytest.raises(WeightsError, match="residual-encoder"):
        load_encoder(net, {"layer.weight": torch.zeros(3)})


def test_presets():
    """The large one is the paper's patch and nnU-Net's L sizes; sides of tiles must be divisible."""
    large = CONFIGS["large"]
    assert large.patch == 192
    assert large.organs == PAPER_ORGANS
    assert large.blocks == (1, 3, 4, 6, 6, 6)
    assert set(ORGANS) >= {"left kidney", "right kidney", "liver"}
    for config in CONFIGS.values():
        assert config.patch % 2 ** (len(config.widths) - 1) == 0
        assert len(config.widths) == len(config.blocks)
    assert TwoHeadedUNet(TINY).divisor == 4


def test_normalisation_is_instance_norm_and_keeps_channels_last():
    ours, torchs = ImageNorm(3), torch.nn.InstanceNorm3d(3, affine=True)
    state = {"weight": torch.tensor([1.0, -2.0, 0.5]), "bias": torch.tensor([0.0, 1.0, -1.0])}
    ours.load_state_dict(state)
    torchs.load_state_dict(state)
    x = torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    found = ours(x)
    assert torch.allclose(found, torchs(x), atol=1e-5)
    assert ours(x[:1]).is_contiguous(memory_format=torch.channels_last_3d)
