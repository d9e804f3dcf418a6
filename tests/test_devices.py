"""What a device computes in."""

from __future__ import annotations

import pytest
import torch

from anypet import devices
from anypet.errors import AnyPETError

CPU = torch.device("cpu")


def test_bfloat16_is_asked_for_and_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, native, expected in (
        ("", True, False),
        ("float32", True, False),
        ("BFloat16", True, True),
        ("bfloat16", False, False),
    ):
        monkeypatch.setenv("ANYPET_PRECISION", told)
        monkeypatch.setattr(devices, "has_bfloat16", lambda device, native=native: native)
        assert devices.wants_bfloat16(CPU) is expected


def test_another_precision_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYPET_PRECISION", "int8")
    with pytest.raises(AnyPETError, match="int8"):
        devices.wants_bfloat16(CPU)


def test_no_device_without_native_bfloat16_has_it() -> None:
    assert not devices.has_bfloat16(torch.device("mps"))
    assert devices.has_bfloat16(CPU) == torch.cpu._is_avx512_bf16_supported()
