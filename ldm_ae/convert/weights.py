"""Our state dicts <-> diffusers'. Names are the same; each family states what else differs."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ldm_ae.models.base import Autoencoder

# Attention before diffusers 0.15, which LDM's own files share up to the shape of the weights.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(r"(.*\battentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")
_ATTENTION_WEIGHT = re.compile(r".*\battentions\.\d+\.(to_[qkv]|to_out\.0)\.weight")


def to_diffusers_state(model: Autoencoder) -> dict[str, Tensor]:
    """The weights of the diffusers class that computes what `model` computes: copies, fp32, on the
    CPU."""
    return {
        name: value.to("cpu", torch.float32, copy=True).contiguous()
        for name, value in model.diffusers_state().items()
    }


def current_name(name: str) -> str:
    """Today's name of a parameter in an old diffusers file; other names as they are."""
    old = _OLD_NAME.fullmatch(name)
    return f"{old[1]}.{_OLD_ATTENTION[old[2]]}.{old[3]}" if old else name


def current_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Attention weights stored as 1x1 convolutions, (C, C, 1, 1), are linear ones today."""
    if _ATTENTION_WEIGHT.fullmatch(name) and shape[2:] == (1, 1):
        return shape[:2]
    return shape
