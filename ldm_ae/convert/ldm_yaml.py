"""The YAML beside latent diffusion's, taming-transformers' and sgm's checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldm_ae import config as yaml
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.errors import UserError
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.tiny import TinyConfig

_RESOLUTION = 256  # that attention is counted from where a YAML does not say
# What nobody trained with, and this package does not compute; the value that each must have.
_MUST_BE = {
    "resamp_with_conv": "true",
    "give_pre_end": "false",
    "tanh_out": "false",
    "use_linear_attn": "false",
    "remap": "null",
}


def to_ldm_yaml(config: KLConfig | DiscreteConfig | TinyConfig, scaling: LatentScaling) -> str:
    """What LDM builds the model from; sgm's class where there are no quant convs.

    `scale_factor`, and `shift_factor` if there is one, stand beside `model`, since the first
    stage's class does not take them. Raises UserError for a model or a scaling that they cannot
    hold.
    """
    if isinstance(config, TinyConfig) or config.decoder is not None:
        raise UserError(
            "LDM's decoders mirror their encoders, so that its format cannot hold this"
            f" {config.diffusers_class}; keep the diffusers folder"
        )
    coder = config.coder
    if scaling.latents_std is not None:
        raise UserError(
            "latents_mean and latents_std: LDM has one factor for all channels; keep the diffusers"
            " folder"
        )
    if coder.norm_groups != 32:
        raise UserError(
            f"coder.norm_groups={coder.norm_groups}: LDM's norms have 32 groups, so that its"
            " format cannot hold this model; keep the diffusers folder"
        )
    if any(width % coder.channels[0] for width in coder.channels):
        raise UserError(
            f"coder.channels={list(coder.channels)}: in LDM's format all widths are multiples of"
            " the first; keep the diffusers folder"
        )
    if coder.attention_factors and not coder.mid_attention:
        raise UserError(
            "attention inside the blocks and none in the middle: LDM has no such models; keep the"
            " diffusers folder"
        )
    claims = _claims(config, _RESOLUTION)
    stage: dict[str, Any] = {
        key: claims.pop(key) for key in ("embed_dim", "n_embed") if key in claims
    }
    net = {"resolution": _RESOLUTION, "dropout": 0.0, **claims}
    if not config.quant_conv:
        inner = "sgm.modules.diffusionmodules.model"
        regularizer = "sgm.modules.autoencoding.regularizers.DiagonalGaussianRegularizer"
        target, params = "sgm.models.autoencoder.AutoencodingEngine", {
            "loss_config": {"target": "torch.nn.Identity"},
            "regularizer_config": {"target": regularizer},
            "encoder_config": {"target": f"{inner}.Encoder", "params": net},
            "decoder_config": {"target": f"{inner}.Decoder", "params": copy.deepcopy(net)},
        }  # fmt: skip
    else:
        kind = "AutoencoderKL" if config.codebook is None else "VQModel"
        target = f"ldm.models.autoencoder.{kind}"
        params = {**stage, "ddconfig": net, "lossconfig": {"target": "torch.nn.Identity"}}
    model = {"target": target, "params": params}
    scales = {"scale_factor": scaling.scaling_factor}
    if scaling.shift_factor:
        scales["shift_factor"] = scaling.shift_factor
    return yaml.dump({**scales, "model": model})


def beside(path: Path) -> Path | None:
    """The YAML of a checkpoint: of the same name, or `config.yaml` in its folder if that is one of
    LDM's."""
    named = path.with_suffix(".yaml")
    if named.is_file():
        return named
    common = path.with_name("config.yaml")
    if common.is_file() and _first_stage(yaml.read_yaml(common)) is not None:
        return common
    return None


def check(path: Path, config: KLConfig | DiscreteConfig) -> LatentScaling | None:
    """Compare what a YAML says with what the weights are; its scaling, if it has one.

    Raises UserError that lists every key that says otherwise, and what would be computed otherwise
    here.
    """
    content = yaml.read_yaml(path)
    params = _first_stage(content)
    if params is None:
        raise UserError(f"{path} has no model.params.ddconfig: it is no YAML of LDM's or sgm's")
    given = {**params, **_net(params)}
    resolution = int(_number(path, "resolution", given.get("resolution", _RESOLUTION)))
    without = _text(given.get("attn_type", "vanilla")) == "none"
    wrong = []
    for key, value in _claims(config, resolution).items():
        if key == "attn_type":
            if without != (value == "none"):
                wrong.append(f"{key}={given.get(key)}, the weights have {value}")
        elif key == "attn_resolutions":
            found = [] if without else given.get(key, [])
            found = found if isinstance(found, list) else [found]
            if sorted(map(_text, found)) != sorted(map(_text, value)):
                wrong.append(f"{key}={found}, the weights have {value}")
        elif key in given and _text(given[key]) != _text(value):
            wrong.append(f"{key}={_text(given[key])}, the weights have {_text(value)}")
    for key, value in _MUST_BE.items():
        if key in given and _text(given[key]) != value:
            wrong.append(f"{key}={_text(given[key])}, only {value} is supported")
    if _text(given.get("attn_type", "vanilla")) == "linear":
        wrong.append("attn_type=linear, only vanilla and none are supported")
    if wrong:
        raise UserError(f"{path} does not fit the weights beside it: {'; '.join(wrong)}")
    outer = content.get("model")
    outer = outer.get("params", {}) if isinstance(outer, dict) else {}
    factor = content.get("scale_factor", outer.get("scale_factor"))
    if factor is None:
        return None
    shift = _number(path, "shift_factor", content.get("shift_factor", 0))
    scale = _number(path, "scale_factor", factor)
    if scale <= 0:
        raise UserError(f"{path}: scale_factor={factor} is no positive number")
    return LatentScaling(scale, shift)


def _claims(config: KLConfig | DiscreteConfig, resolution: int) -> dict[str, Any]:
    """The keys that decide what is computed, with the values that this model has."""
    coder = config.coder
    claims: dict[str, Any] = {
        "double_z": config.codebook is None,
        "z_channels": config.latent_channels,
        "in_channels": coder.image_channels,
        "out_ch": coder.image_channels,
        "ch": coder.channels[0],
        "ch_mult": [width // coder.channels[0] for width in coder.channels],
        "num_res_blocks": coder.num_res_blocks,
        "attn_resolutions": [resolution // factor for factor in coder.attention_factors],
        "attn_type": "vanilla" if coder.mid_attention else "none",
        "embed_dim": config.code_dim,
    }
    if config.codebook is not None:
        claims["n_embed"] = config.codebook.num_codes
    return claims


def _first_stage(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first stage's `params`, of a YAML of its own or of a whole diffusion model."""
    model: Any = content.get("model")
    for _ in range(2):
        params = model.get("params") if isinstance(model, dict) else None
        if not isinstance(params, dict):
            return None
        if _net(params):
            return params
        model = params.get("first_stage_config")
    return None


def _net(params: Mapping[str, Any]) -> dict[str, Any]:
    sgm = params.get("encoder_config")
    net = sgm.get("params") if isinstance(sgm, dict) else params.get("ddconfig")
    return net if isinstance(net, dict) else {}


def _text(value: Any) -> str:
    """YAML's scalars come as text, our values as they are."""
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    return str(value).lower()


def _number(path: Path, key: str, text: Any) -> float:
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = float("inf")
    if not abs(number) < float("inf"):
        raise UserError(f"{path}: {key}={text} is no number")
    return number
