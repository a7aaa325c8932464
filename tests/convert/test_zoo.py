"""The nine models of the latent diffusion zoo: same output and size as diffusers' classes."""

import dataclasses

import diffusers
import pytest
import torch

from ldm_ae.config import load
from ldm_ae.convert.agreement import compare
from ldm_ae.convert.diffusers_config import (
    LatentScaling,
    from_diffusers_config,
    to_diffusers_config,
)
from ldm_ae.convert.weights import to_diffusers_state
from ldm_ae.models.build import ModelConfig, build_model
from ldm_ae.train.config import Experiment

# name: kind, widths / 128, latent channels, codes, attention factors, attention in the middle
ZOO = {
    "kl_f4": ("kl", (1, 2, 4), 3, None, (), True),
    "kl_f8": ("kl", (1, 2, 4, 4), 4, None, (), True),
    "kl_f16": ("kl", (1, 1, 2, 2, 4), 16, None, (16,), True),
    "kl_f32": ("kl", (1, 1, 2, 2, 4, 4), 64, None, (16, 32), True),
    "vq_f4": ("vq", (1, 2, 4), 3, 8192, (), True),
    "vq_f4_noattn": ("vq", (1, 2, 4), 3, 8192, (), False),
    "vq_f8": ("vq", (1, 2, 2, 4), 4, 16384, (8,), True),
    "vq_f8_n256": ("vq", (1, 2, 2, 4), 4, 256, (8,), True),
    "vq_f16": ("vq", (1, 1, 2, 2, 4), 8, 16384, (16,), True),
}


def zoo_config(name: str) -> ModelConfig:
    return load(Experiment, name, ["data.path=unused"]).model


def diffusers_class(config: ModelConfig):
    settings = to_diffusers_config(config, LatentScaling(1.0), sample_size=256)
    return getattr(diffusers, settings.pop("_class_name"))(**settings).eval()


@pytest.mark.parametrize("name", ZOO)
def test_settings_are_the_published_ones(name):
    kind, widths, channels, codes, attention, mid = ZOO[name]
    config = zoo_config(name)
    assert (config.codebook is not None) == (kind == "vq")
    assert config.coder.channels == tuple(128 * width for width in widths)
    assert config.latent_channels == channels
    assert set(config.coder.attention_factors) == set(attention)
    assert (config.coder.num_res_blocks, config.coder.mid_attention) == (2, mid)
    if kind == "vq":
        assert (config.codebook.size, config.code_dim) == (codes, channels)
    else:
        assert config.quant_conv


@pytest.mark.parametrize("name", [*ZOO, "kl_f8_16ch"])
def test_full_width_has_as_many_parameters_as_diffusers(name):
    config = zoo_config(name)
    with torch.device("meta"):
        ours = sum(p.numel() for p in build_model(config).parameters())
        theirs = sum(p.numel() for p in diffusers_class(config).parameters())
    assert ours == theirs
    if name == "kl_f8":
        assert ours == 83_653_863


@pytest.mark.parametrize("name", [*ZOO, "kl_f8_16ch"])
def test_quarter_width_gives_diffusers_output(name, make_model, images):
    config = zoo_config(name)
    narrow = tuple(width // 4 for width in config.coder.channels)
    config = dataclasses.replace(config, coder=dataclasses.replace(config.coder, channels=narrow))
    model, exported = make_model(config), diffusers_class(config)
    exported.load_state_dict(to_diffusers_state(model), strict=True)
    side = max(64, 2 * model.downsampling_factor)
    resized = torch.nn.functional.interpolate(images, (side, side * 3 // 2), mode="bilinear")
    agreement = compare(model, exported, [resized])
    assert max(agreement.encode, agreement.decode) <= 1e-4
    assert agreement.num_ties <= agreement.num_tokens / 100


@pytest.mark.parametrize("name", ZOO)
def test_diffusers_config_leads_back(name):
    config = zoo_config(name)
    back = from_diffusers_config(to_diffusers_config(config, LatentScaling(1.0), 256))
    for field in ("channels", "num_res_blocks", "mid_attention", "norm_groups", "image_channels"):
        assert getattr(back.coder, field) == getattr(config.coder, field)
    assert set(back.coder.attention_factors) == set(config.coder.attention_factors)
    assert back.latent_channels == config.latent_channels
