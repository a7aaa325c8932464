"""diffusers' other autoencoders, at a tiny width with random weights, behind our calls."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

import ldm_ae
from ldm_ae.bench.latents import RawLatents
from ldm_ae.cli.main import main
from ldm_ae.codec.codec import Codec
from ldm_ae.codec.fitting.calibrate import calibrate
from ldm_ae.convert.wrap import load_any
from ldm_ae.data.images import to_float
from ldm_ae.export.statistics import measure_latents
from ldm_ae.store.encoder import LatentEncoder
from ldm_ae.store.settings import ModelChoice, Storage


def dc():
    return diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41,
    )


def tiny():
    return diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )


LEVELS = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}


def flux2():
    return diffusers.AutoencoderKLFlux2(**LEVELS, latent_channels=4)


def kl():
    return diffusers.AutoencoderKL(**LEVELS, scaling_factor=0.37, shift_factor=0.1)


def qwen_image():
    return diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.1] * 4,
        latents_std=[2.0] * 4,
    )


MODELS = {"dc": dc, "tiny": tiny, "flux2": flux2, "kl": kl, "qwen-image": qwen_image}
SAMPLED = ("flux2", "kl", "qwen-image")


@pytest.fixture(params=MODELS)
def network(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


def pictures():
    coarse = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 3), dtype=np.uint8)
    return [np.kron(picture, np.ones((8, 8, 1), dtype=np.uint8)) for picture in coarse]


@torch.no_grad()
def test_the_same_calls_give_the_networks_own_output(network, request, images):
    model = ldm_ae.wrap(network)
    name = request.node.callspec.params["network"]
    video = name == "qwen-image"
    encoded = network.encode(images[:, :, None] if video else images)
    latents = encoded.latent_dist.mode() if name in SAMPLED else encoded[0]
    decoded = network.decode(latents).sample
    if video:
        latents, decoded = latents[:, :, 0], decoded[:, :, 0]
    assert torch.equal(model.encode(images), latents)
    assert torch.equal(model.decode(latents), decoded)
    assert torch.equal(model.reconstruct(images), decoded)
    cut = images[..., :-1, :-3]
    assert model.reconstruct(cut).shape == cut.shape
    with pytest.raises(ValueError, match="not divisible"):
        model.encode(cut)
    assert (model.downsampling_factor, model.latent_channels, model.image_channels) == (2, 4, 3)
    assert type(network).__name__ in model.title


def test_scaling_is_the_configs(images):
    assert ldm_ae.wrap(dc()).scaling_factor == 0.41
    scaled = ldm_ae.wrap(kl())
    assert (scaled.scaling_factor, scaled.shift_factor) == (0.37, 0.1)
    assert ldm_ae.wrap(qwen_image()).latents_std == (2.0,) * 4
    assert ldm_ae.wrap(tiny()).scaling_factor == 1


def test_benchmarks_statistics_and_a_calibrated_codec(network, request, images, monkeypatch):
    model = ldm_ae.wrap(network)
    picture = pictures()[0]
    coder = RawLatents("foreign", model)
    assert coder.decode(coder.encode(picture)).shape == picture.shape
    assert coder.facts()["num_parameters"] == sum(p.numel() for p in network.parameters())
    statistics = measure_latents(model, images.split(1))
    sampled = request.node.callspec.params["network"] in SAMPLED
    assert (statistics.posterior_std is not None) == sampled
    codec = Codec(model, calibrate(model, pictures(), "factorised"))
    data = codec.compress(picture, quality=40)
    decoded = codec.decompress(data)
    assert decoded.shape == picture.shape
    monkeypatch.setattr("ldm_ae.codec.contents.WHOLE_PIXELS", 100)  # a large picture is no other
    assert codec.compress(picture, quality=40) == data
    assert np.array_equal(codec.decompress(data), decoded)
    with torch.no_grad():  # another decoder, another model
        next(value for key, value in network.named_parameters() if "decoder" in key).add_(1)
    other = Codec(model, codec.prior)
    with pytest.raises(ValueError, match="was written with model"):
        other.decompress(data)


def test_a_vq_model_has_its_indices(images):
    theirs = diffusers.VQModel(**LEVELS, num_vq_embeddings=32, vq_embed_dim=5).eval()
    theirs.quantize.embedding.weight.data.normal_()
    model = ldm_ae.wrap(theirs)
    with torch.no_grad():
        latents = theirs.encode(images).latents
        torch.testing.assert_close(model.encode(images), latents)
        indices = theirs.quantize(latents)[2][2].view(2, 16, 24)
        assert torch.equal(model.encode_indices(images), indices)
    weight = model.encoder.conv_in.weight
    assert weight.data_ptr() != theirs.encoder.conv_in.weight.data_ptr()


def test_half_precision_is_kept_from_the_codec(images):
    model = ldm_ae.wrap(kl().to(torch.bfloat16))
    assert model.encode(images).dtype == torch.float32
    prior = calibrate(model, pictures(), "factorised")
    with pytest.raises(ValueError, match="computes in fp32"):
        Codec(model, prior)


def test_what_is_no_image_autoencoder_is_refused():
    with pytest.raises(ValueError, match="Linear is no model of diffusers"):
        ldm_ae.wrap(torch.nn.Linear(1, 1))
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    unet = diffusers.UNet2DModel(**blocks, block_out_channels=(8,), norm_num_groups=4)
    with pytest.raises(ValueError, match="UNet2DModel does not encode and decode an image"):
        ldm_ae.wrap(unet)


def test_folders_open_by_the_commands(tmp_path, monkeypatch):
    torch.manual_seed(0)
    dc().save_pretrained(tmp_path / "dc")
    (tmp_path / "photos").mkdir()
    for index, picture in enumerate(pictures()):
        Image.fromarray(picture).save(tmp_path / "photos" / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="_class_name=AutoencoderDC is not supported"):
        ldm_ae.load("dc")
    assert "AutoencoderDC" in load_any("dc").title
    assert main(["evaluate", "dc", "photos", "--metrics", "psnr"]) == 0
    assert main(["calibrate", "dc", "--images", "photos", "--prior", "factorised"]) == 0
    assert main(["compress", "photos/0.png", "a.lae", "--model", "dc"]) == 0
    assert main(["decompress", "a.lae", "a.png", "--model", "dc"]) == 0
    with Image.open("a.png") as back:
        assert back.size == (72, 48)


def test_the_latent_store_takes_one_by_its_folder(tmp_path: Path) -> None:
    foreign = dc().eval()
    foreign.save_pretrained(tmp_path)
    encoder = LatentEncoder(ModelChoice(tmp_path), Storage(dtype="float32"))
    picture = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8)
    (stored,) = encoder.encode([picture])
    with torch.no_grad():
        wanted = foreign.encode(to_float(picture)).latent[0]
    torch.testing.assert_close(load(stored.pack())["latents"], wanted, atol=1e-5, rtol=1e-5)
    assert encoder.facts["scaling_factor"] == 0.41
