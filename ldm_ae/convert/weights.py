"""Our state dicts <-> diffusers'. Names are the same; what differs between families is here."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.dvae import DiscreteVAE
from ldm_ae.models.gaussian import MIN_LOGVAR
from ldm_ae.models.kl import KLAutoencoder
from ldm_ae.models.plain import PlainAutoencoder
from ldm_ae.models.vq import VQAutoencoder

State = dict[str, Tensor]

CODES = "quantize.embedding.weight"

# What training keeps about a codebook; no other entry may be missing from an export.
TRAINING_BUFFERS = tuple(
    f"quantize.{name}"
    for name in ("initialized", "num_updates", "passes_unused", "ema_count", "ema_sum")
)

# Of a model that was trained by its rate; the codec fits a prior of its own.
TRAINING_PRIOR = "prior."

# Attention before diffusers 0.15, which LDM's own files share up to the shape of the weights.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(r"(.*\battentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")
_ATTENTION_WEIGHT = re.compile(r".*\battentions\.\d+\.(to_[qkv]|to_out\.0)\.weight")


def to_diffusers_state(model: Autoencoder) -> State:
    """The weights of the diffusers class that computes what `model` computes: fp32, on the CPU.

    Raises ValueError for a model that is none of the four families'.
    """
    state = {
        name: value.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, value in model.state_dict().items()
        if name not in TRAINING_BUFFERS and not name.startswith(TRAINING_PRIOR)
    }
    if isinstance(model, PlainAutoencoder):
        _add_log_variance(state, model, MIN_LOGVAR)
    elif isinstance(model, KLAutoencoder):
        if model.config.posterior == "fixed":
            _add_log_variance(state, model, model.config.fixed_logvar)
    elif isinstance(model, (VQAutoencoder, DiscreteVAE)):
        state[CODES] = model.quantize.codes().detach().to("cpu", torch.float32, copy=True)
        if isinstance(model, DiscreteVAE):
            for name in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
                # The rows after the image's predict the likelihood's scale.
                state[name] = state[name][: model.image_channels].clone()
    else:
        raise ValueError(f"{type(model).__name__} has no diffusers class: it cannot be exported")
    return state


def _add_log_variance(state: State, model: Autoencoder, log_variance: float) -> None:
    """Widen the last convolution before the latents from c to 2c outputs: the new ones are the
    constant log sigma^2, with weights of 0. -30 is what AutoencoderKL clamps to, sigma = 3e-7."""
    channels = model.latent_channels
    weight, bias = state["encoder.conv_out.weight"], state["encoder.conv_out.bias"]
    constant = torch.full_like(bias, log_variance)
    state["encoder.conv_out.weight"] = torch.cat([weight, torch.zeros_like(weight)])
    if model.quant_conv is None:
        state["encoder.conv_out.bias"] = torch.cat([bias, constant])
        return
    state["encoder.conv_out.bias"] = torch.cat([bias, torch.zeros_like(bias)])
    square = torch.zeros(2 * channels, 2 * channels, 1, 1)
    square[:channels, :channels] = state["quant_conv.weight"]
    state["quant_conv.weight"] = square
    state["quant_conv.bias"] = torch.cat([state["quant_conv.bias"], constant])


def current_name(name: str) -> str:
    """Today's name of a parameter in an old diffusers file; other names as they are."""
    old = _OLD_NAME.fullmatch(name)
    return f"{old[1]}.{_OLD_ATTENTION[old[2]]}.{old[3]}" if old else name


def current_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Attention weights stored as 1x1 convolutions, (C, C, 1, 1), are linear ones today."""
    if _ATTENTION_WEIGHT.fullmatch(name) and shape[2:] == (1, 1):
        return shape[:2]
    return shape


def with_training_buffers(state: Mapping[str, Tensor]) -> State:
    """A diffusers VQModel's weights with the buffers of a codebook that is ready for training."""
    codes = state[CODES]
    fresh = (
        torch.tensor(True),
        torch.tensor(0),
        torch.zeros(len(codes), dtype=torch.int64),
        torch.ones(len(codes)),
        codes.clone(),
    )
    return {**state, **dict(zip(TRAINING_BUFFERS, fresh, strict=True))}
