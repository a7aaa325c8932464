"""AsymmetricAutoencoderKL and AutoencoderTiny: ours beside diffusers', both ways."""

import json
from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

import ldm_ae
from ldm_ae.convert.convert import convert
from ldm_ae.convert.diffusers_class import as_diffusers, save
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.errors import UserError
from ldm_ae.models.coders import CoderConfig, DecoderConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.tiny import TinyConfig

WEIGHTS = "diffusion_pytorch_model.safetensors"
PLAIN = CoderConfig(channels=(8, 16), num_res_blocks=1, mid_attention=False, norm_groups=4)
ATTENTIVE = CoderConfig(channels=(8, 16), num_res_blocks=2, attention_factors=(2,), norm_groups=4)
MODELS = {
    "without attention": KLConfig(coder=PLAIN, decoder=DecoderConfig((4, 8))),
    "without quant convs": KLConfig(
        coder=PLAIN, quant_conv=False, decoder=DecoderConfig((4, 8), num_res_blocks=2)
    ),
    "attention in the encoder": KLConfig(coder=ATTENTIVE, decoder=DecoderConfig((12, 8))),
    "attention in the decoder": KLConfig(
        coder=PLAIN, decoder=DecoderConfig((4, 8), 1, (1,), mid_attention=True)
    ),
    "tiny": TinyConfig(
        encoder_width=6, encoder_blocks=(1, 2), decoder_width=5, decoder_blocks=(2, 1)
    ),
}
TINY = {
    "encoder_block_out_channels": (6, 6),
    "decoder_block_out_channels": (5, 5),
    "num_encoder_blocks": (1, 2),
    "num_decoder_blocks": (2, 1),
}


@pytest.fixture
def folder_of(make_model, tmp_path: Path):
    """folder_of(config) -> the model and the folder of the diffusers class that computes it."""

    def write(config):
        model, folder = make_model(config), tmp_path / "folder"
        folder.mkdir()
        save(as_diffusers(model, LatentScaling(0.4)), folder)
        return model, folder

    return write


def latents_of(encoded):
    return encoded.latent_dist.mode() if "latent_dist" in encoded else encoded.latents


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_diffusers_computes_the_same_and_it_comes_back(name, folder_of, images) -> None:
    model, folder = folder_of(MODELS[name])
    theirs = getattr(diffusers, model.config.diffusers_class).from_pretrained(folder)
    latents = model.encode(images)
    torch.testing.assert_close(latents_of(theirs.encode(images)), latents, rtol=1e-4, atol=1e-5)
    decoded = theirs.decode(latents).sample
    torch.testing.assert_close(decoded, model.decode(latents), rtol=1e-4, atol=1e-4)
    back = ldm_ae.load(folder)
    assert back.config == MODELS[name]
    assert back.scaling_factor == 0.4
    for key, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[key], value), key


@pytest.mark.parametrize("name", MODELS)
def test_it_is_read_without_a_complaint(name, folder_of, caplog) -> None:
    """A class that notes what it does not take would warn at each start of a pipeline."""
    model, folder = folder_of(MODELS[name])
    diffusers.logging.enable_propagation()
    try:
        getattr(diffusers, model.config.diffusers_class).from_pretrained(folder)
    finally:
        diffusers.logging.disable_propagation()
    assert "not expected" not in caplog.text


@pytest.mark.parametrize(
    ("coder", "quant_conv"), [(PLAIN, True), (PLAIN, False), (ATTENTIVE, True), (ATTENTIVE, False)]
)
@torch.no_grad()
def test_latents_stay_the_teachers_bits(coder, quant_conv, make_model, tmp_path, images) -> None:
    """In diffusers, too, where the teacher has the class' attention; an identity changes none. The
    attention that adds 0 leaves another memory layout, in which convolutions round otherwise."""
    config = KLConfig(coder=coder, quant_conv=quant_conv)
    teacher, model = (
        make_model(replace(config, decoder=decoder)) for decoder in (None, DecoderConfig((4, 8)))
    )
    model.load_pretrained(teacher.state_dict())
    theirs = [as_diffusers(each, LatentScaling(0.4)) for each in (teacher, model)]
    save(theirs[1], tmp_path)
    assert torch.equal(ldm_ae.load(tmp_path).encode(images), teacher.encode(images))
    before, after = (latents_of(each.encode(images)) for each in theirs)
    assert torch.equal(before, after) or coder is PLAIN
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_strangers_attention_and_quant_convs_are_kept(tmp_path: Path, images) -> None:
    theirs = diffusers.AsymmetricAutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        down_block_out_channels=[8, 16],
        up_block_out_channels=[12, 8],
        norm_num_groups=4,
    ).eval()
    theirs.save_pretrained(tmp_path)
    model = ldm_ae.load(tmp_path)
    assert model.config.coder.mid_attention and model.config.decoder.mid_attention
    latents = theirs.encode(images).latent_dist.mode()
    torch.testing.assert_close(model.encode(images), latents, rtol=1e-5, atol=1e-5)
    decoded = theirs.decode(latents).sample
    torch.testing.assert_close(model.decode(latents), decoded, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="also decodes around masks"):
        convert(tmp_path, tmp_path / "copy")
    # Without a mask the encoder of masks is not asked.
    torch.nn.init.constant_(theirs.decoder.condition_encoder.layers[0].bias, 100.0)
    assert torch.equal(theirs.decode(latents).sample, decoded)


@torch.no_grad()
def test_a_strangers_tiny_one(tmp_path: Path, images) -> None:
    theirs = diffusers.AutoencoderTiny(**TINY, scaling_factor=0.5, shift_factor=0.25).eval()
    theirs.save_pretrained(tmp_path)
    model = ldm_ae.load(tmp_path)
    assert (model.scaling_factor, model.shift_factor) == (0.5, 0.25)
    latents = theirs.encode(images).latents
    torch.testing.assert_close(model.encode(images), latents)
    torch.testing.assert_close(model.decode(9 * latents), theirs.decode(9 * latents).sample)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"act_fn": "silu"}, "act_fn=silu is not supported; only relu is"),
        ({"upsample_fn": "bilinear"}, "only nearest is"),
        ({"upsampling_scaling_factor": 4}, "only 2 is"),
        ({"decoder_block_out_channels": [5, 6]}, "one width"),
        ({"num_encoder_blocks": [1, 2, 3]}, "one width"),
        ({"num_decoder_blocks": [1, 1000]}, "an integer from 0 to 64"),
        ({"decoder_block_out_channels": []}, "a list of 1 to 12 integers"),
    ],
)
def test_other_tiny_ones_are_refused(change, named, tmp_path: Path) -> None:
    diffusers.AutoencoderTiny(**TINY).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=named):
        ldm_ae.load(tmp_path)


@pytest.mark.parametrize("name", ["decoder.conv_out.bias", "quant_conv.weight"])
def test_what_is_missing_is_named(name, folder_of) -> None:
    _, folder = folder_of(MODELS["without attention"])
    state = load_file(folder / WEIGHTS)
    del state[name]
    save_file(state, folder / WEIGHTS)
    with pytest.raises(UserError, match=f"missing: {name}"):
        ldm_ae.load(folder)


@pytest.mark.parametrize("name", MODELS)
def test_convert_writes_the_folder_and_refuses_ldms_file(name, folder_of, tmp_path: Path) -> None:
    model, folder = folder_of(MODELS[name])
    out = convert(folder, tmp_path / "out").place
    assert ldm_ae.load(out).config == model.config
    with pytest.raises(UserError, match="keep the diffusers folder"):
        convert(folder, tmp_path / "out.safetensors")


def test_a_shift_that_the_class_cannot_hold_is_refused(make_model) -> None:
    model = make_model(MODELS["without attention"])
    with pytest.raises(UserError, match="AsymmetricAutoencoderKL's config holds scaling_factor"):
        as_diffusers(model, LatentScaling(0.4, shift_factor=0.1))


@pytest.mark.parametrize(
    ("decoder", "named"),
    [
        ({"channels": (4,)}, "list 2 widths, as many as the encoder has resolutions"),
        ({"channels": (4, 6)}, r"model.decoder: .* \[6\], not divisible by coder.norm_groups=4"),
        ({"channels": (4, 8), "num_res_blocks": -1}, "num_res_blocks=-1: use 0 or more"),
        ({"channels": (4, 8), "attention_factors": (4,)}, "resolutions"),
    ],
)
def test_decoders_that_do_not_fit_are_named(decoder, named) -> None:
    with pytest.raises(UserError, match=named):
        KLConfig(coder=PLAIN, decoder=DecoderConfig(**decoder))
