"""What an autoencoder in one file says of itself, and whose names it may have."""

import dataclasses

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

import ldm_ae
from ldm_ae.config import load
from ldm_ae.convert.convert import convert
from ldm_ae.convert.ldm_network import LDMNetwork
from ldm_ae.train.config import Experiment


def test_our_zoo_config_is_what_the_weights_say(published_name, ldm, tmp_path):
    """The settings found from shapes alone are those of the config that trains such a model."""
    path = ldm[published_name].write(tmp_path / "x")
    found = ldm_ae.load(path).config
    ours = load(Experiment, published_name.replace("-", "_"), ["data.path=unused"]).model
    narrow = tuple(width // 4 for width in ours.coder.channels)
    assert found.coder == dataclasses.replace(
        ours.coder,
        channels=narrow,
        attention_factors=tuple(sorted(ours.coder.attention_factors)),
        gradient_checkpointing=False,
    )
    assert (found.latent_channels, found.code_dim) == (ours.latent_channels, ours.code_dim)
    if ours.codebook:
        assert found.codebook.num_codes == ours.codebook.num_codes


def test_missing_unexpected_and_misshapen_keys_are_listed(ldm, tmp_path):
    weights = ldm["kl-f16"].weights()
    del weights["decoder.up.4.attn.1.proj_out.bias"]
    weights["encoder.down.0.block.2.stranger"] = torch.zeros(1)
    weights["encoder.down.1.block.0.norm1.weight"] = torch.zeros(7)
    save_file(weights, tmp_path / "vae.safetensors")
    with pytest.raises(ValueError) as caught:
        ldm_ae.load(tmp_path / "vae.safetensors")
    message = str(caught.value)
    assert "1 missing: decoder.up.4.attn.1.proj_out.bias" in message
    assert "1 unexpected: encoder.down.0.block.2.stranger" in message
    assert "encoder.down.1.block.0.norm1.weight (7,) instead of (32,)" in message


def test_weights_of_another_network_are_no_model(tmp_path):
    save_file({"bn.running_mean": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"has no encoder\.conv_in\.weight.*ldm_ae\.wrap"):
        ldm_ae.load(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"files that end in \.safetensors, \.ckpt"):
        (tmp_path / "a.txt").touch()
        ldm_ae.load(tmp_path / "a.txt")


@pytest.fixture
def stable_diffusion(ldm):
    """A whole model's weights, with a part of the name `other`."""

    def make(other):
        first = ldm["kl-f8"].weights()
        weights = {f"first_stage_model.{key}": value for key, value in first.items()}
        weights[other] = torch.ones(3)
        weights["model.diffusion_model.out.2.bias"] = torch.ones(3)
        return weights

    return make


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_the_first_stage_of_a_whole_stable_diffusion(
    ending, ldm, stable_diffusion, agree, open_in_diffusers, tmp_path
):
    path = tmp_path / f"sd.{ending}"
    weights = stable_diffusion("cond_stage_model.transformer.text_model.final_layer_norm.weight")
    half = {key: value.half() for key, value in weights.items()}
    if ending == "ckpt":
        torch.save({"state_dict": half}, path)
    else:
        save_file(half, path)
    model = ldm_ae.load(path)
    assert model.scaling_factor == 0.18215
    rounded = {key: value.half().float() for key, value in ldm["kl-f8"].weights().items()}
    agree(model, LDMNetwork(rounded))
    convert(path, tmp_path / "vae")
    assert open_in_diffusers(tmp_path / "vae").config.scaling_factor == 0.18215


@pytest.mark.parametrize(
    ("key", "factor", "shift"),
    [
        ("conditioner.embedders.1.model.ln_final.bias", 0.13025, 0.0),
        ("model.diffusion_model.joint_blocks.0.x", 1.5305, 0.0609),
        ("model.diffusion_model.double_blocks.0.x", 0.3611, 0.1159),
        ("something.else", 1.0, 0.0),
    ],
)
def test_the_scaling_of_a_whole_model_is_told_by_its_other_parts(
    key, factor, shift, stable_diffusion, tmp_path
):
    save_file(stable_diffusion(key), tmp_path / "a.safetensors")
    model = ldm_ae.load(tmp_path / "a.safetensors")
    assert (model.scaling_factor, model.shift_factor) == (factor, shift)


def test_ldms_own_measured_factor_is_kept(ldm, tmp_path):
    weights = {f"first_stage_model.{key}": value for key, value in ldm["vq-f4"].weights().items()}
    save_file({**weights, "scale_factor": torch.tensor(0.25)}, tmp_path / "ldm.safetensors")
    assert ldm_ae.load(tmp_path / "ldm.safetensors").scaling_factor == 0.25


@pytest.mark.parametrize("names", ["diffusers", "old diffusers"])
def test_a_bare_file_with_diffusers_names(names, ldm, agree, tmp_path):
    path = ldm["kl-f8"].write(tmp_path / "x")
    convert(path, tmp_path / "out", scaling_factor=0.5)
    state = load_file(tmp_path / "out" / "diffusion_pytorch_model.safetensors")
    if names == "old diffusers":
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"),
                         ("to_out.0", "proj_attn")):  # fmt: skip
            state = {key.replace(f".{new}.", f".{old}."): value for key, value in state.items()}
    save_file(state, tmp_path / "bare.safetensors")
    model = ldm_ae.load(tmp_path / "bare.safetensors")
    agree(model, LDMNetwork(ldm["kl-f8"].weights()))


def test_a_weights_file_beside_its_config_goes_by_it(tmp_path):
    diffusers.AutoencoderKL(
        block_out_channels=[8], norm_num_groups=4, scaling_factor=0.37
    ).save_pretrained(tmp_path)
    model = ldm_ae.load(tmp_path / "diffusion_pytorch_model.safetensors")
    assert (model.scaling_factor, model.config.coder.norm_groups) == (0.37, 4)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("kl-f4", torch.bfloat16), ("vq-f4", torch.bfloat16), ("kl-f4", torch.float16)],
)
def test_half_precision_weights(name, dtype, ldm, images, tmp_path):
    path = ldm[name].write(tmp_path / "x")
    whole, half = ldm_ae.load(path), ldm_ae.load(path, dtype=dtype)
    images = images[:1]
    assert half.encoder.conv_in.weight.dtype == half.decoder.conv_out.weight.dtype == dtype
    with torch.no_grad():
        latents = whole.encode(images)
        assert half.encode(images).dtype == half.decode(latents).dtype == torch.float32
        assert float((half.encode(images) - latents).abs().mean()) < 0.05
        assert float((half.decode(latents) - whole.decode(latents)).abs().mean()) < 0.05
    with pytest.raises(ValueError, match="with precision=fast"):
        ldm_ae.load(path, dtype=dtype, precision="fast")
    with pytest.raises(ValueError, match=r"dtype=torch\.float64"):
        ldm_ae.load(path, dtype=torch.float64)
