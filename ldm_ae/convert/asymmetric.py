"""What AsymmetricAutoencoderKL of diffusers has and a model of ours may do without.

The class always has attention in the middle of both coders, both 1x1 convolutions beside the
latents, and an encoder of masks. Attention whose last layer is 0 adds nothing to its residual, and
an identity changes no bit; the encoder of masks is computed only where there is a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ldm_ae.convert.tensors import Tensors
from ldm_ae.convert.weights import current_name
from ldm_ae.models.kl import KLConfig

CLASS = "AsymmetricAutoencoderKL"
_MASKS = "decoder.condition_encoder."
_MID = "{}.mid_block.attentions.0."
_IDENTITIES = ("quant_conv.", "post_quant_conv.")


def is_filler(config: KLConfig) -> Callable[[str], bool]:
    """Whether a name of the class' weights is one that this model does without."""
    assert config.decoder is not None
    without = [_MASKS]
    if not config.coder.mid_attention:
        without.append(_MID.format("encoder"))
    if not config.decoder.mid_attention:
        without.append(_MID.format("decoder"))
    if not config.quant_conv:
        without.extend(_IDENTITIES)
    return lambda name: name.startswith(tuple(without))


def fillers(config: KLConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values of the class' weights, of which `state` has the shapes, for all that the model does
    without."""
    wanted = is_filler(config)
    found = {name: torch.zeros_like(value) for name, value in state.items() if wanted(name)}
    for name, value in found.items():
        if name.startswith(_IDENTITIES) and value.ndim == 4:
            found[name] = _identity(len(value))
    return found


def paints(found: Tensors) -> bool:
    """Whether the encoder of masks has weights other than 0."""
    masks = [name for name in found.shapes if name.startswith(_MASKS)]
    return any(bool(found.value(name).any()) for name in masks)


def trimmed(config: KLConfig, found: Tensors) -> KLConfig:
    """The settings less the parts of which these weights make no use."""
    assert config.decoder is not None
    names = {current_name(name): name for name in found.shapes}

    def all_zero(*of: str) -> bool:
        present = [names[name] for name in of if name in names]
        return len(present) == len(of) and not any(found.value(name).any() for name in present)

    def idle(coder: str) -> bool:
        last = _MID.format(coder) + "to_out.0."
        return all_zero(f"{last}weight", f"{last}bias")

    def identity(prefix: str) -> bool:
        weight = names.get(f"{prefix}weight", "")
        shape = found.shapes.get(weight, ())
        if len(shape) != 4 or shape != (shape[0], shape[0], 1, 1):
            return False
        return torch.equal(found.value(weight).float(), _identity(shape[0])) and all_zero(
            f"{prefix}bias"
        )

    return replace(
        config,
        coder=replace(config.coder, mid_attention=not idle("encoder")),
        decoder=replace(config.decoder, mid_attention=not idle("decoder")),
        quant_conv=not all(identity(prefix) for prefix in _IDENTITIES),
    )


def _identity(channels: int) -> Tensor:
    """(c, c, 1, 1)."""
    return torch.eye(channels)[:, :, None, None]
