"""What a device can do."""

from __future__ import annotations

import os

import torch

from anypet.errors import AnyPETError


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is native there; where it is emulated it is a hundred times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def wants_bfloat16(device: torch.device) -> bool:
    """Whether a promptable network that can should compute in bfloat16 there.

    ANYPET_PRECISION says so: "float32" (also where it is unset), the same masks on every machine; or
    "bfloat16" where the device has it natively, several times as fast and a voxel of the rim here and there
    on the other side.

    Raises:
        AnyPETError: it says anything else.
    """
    told = os.environ.get("ANYPET_PRECISION", "").lower() or "float32"
    if told not in ("float32", "bfloat16"):
        raise AnyPETError(f"ANYPET_PRECISION is {told!r}; it must be float32 or bfloat16")
    return told == "bfloat16" and has_bfloat16(device)
