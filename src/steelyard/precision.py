"""In which number format a network computes, and where the machine makes the shorter one worth it."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["bf16", "fp32"]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which the network runs: bf16 where asked for, else untouched float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def fastest_precision(device: torch.device) -> Precision:
    """`bf16` where the processor or GPU multiplies it in hardware, else `fp32`."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # torch 2.8 does not tell
    return "bf16" if known.get("avx512_bf16") or known.get("amx_bf16") else "fp32"
