"""Convolutions by oneDNN against torch's own in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from anypet.models.convolution import Conv3d


@pytest.mark.parametrize(("kernel", "stride", "padding", "bias"), [(3, 1, 1, False), (2, 2, 0, True)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_it_convolves(kernel, stride, padding, bias, layout, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    conv = Conv3d(16, 8, kernel, stride=stride, padding=padding, bias=bias).to(memory_format=layout)
    x = torch.randn(1, 16, 12, 12, 12).contiguous(memory_format=layout)
    called = []
    plain = torch.mkldnn_convolution
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda *a: called.append(1) or plain(*a))
    with torch.inference_mode():
        found = conv(x)
    offset = conv.bias.double() if bias else None
    expected = F.conv3d(x.double(), conv.weight.double(), offset, stride, padding)
    assert torch.allclose(found.double(), expected, atol=1e-5)
    assert bool(called) == torch.backends.mkldnn.is_available()
    # gradients, bfloat16 and 1^3 kernels stay torch's own
    called.clear()
    conv(x).sum().backward()
    assert conv.weight.grad is not None
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
    with torch.no_grad():
        Conv3d(16, 8, 1)(x)
        with torch.backends.mkldnn.flags(enabled=False):
            assert torch.allclose(conv(x).double(), expected, atol=1e-5)
    assert called == []
