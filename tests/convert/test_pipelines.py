"""Exports inside real diffusers pipelines, with tiny denoisers that have random weights."""

import json

import diffusers
import numpy as np
import pytest
import torch
import transformers

import ldm_ae
from ldm_ae.export.export import export
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.quantizers.vq import VQConfig

# f8, as every public Stable Diffusion has it; latents of 8 x 8 for 64 px.
CODER = CoderConfig(channels=(8, 8, 16, 16), num_res_blocks=1, norm_groups=4)
SIDE = 64


@pytest.fixture
def kl_folder(make_model, images, tmp_path):
    model = make_model(KLConfig(coder=CODER))
    with torch.no_grad():  # far from unit variance, so that a forgotten factor shows
        model.quant_conv.weight *= 5
    return write(model, tmp_path, images)


@pytest.fixture
def vq_folder(make_model, images, tmp_path):
    config = DiscreteConfig(coder=CODER, latent_channels=3, codebook=VQConfig(size=64))
    return write(make_model(config), tmp_path, images)


def write(model, tmp_path, images):
    return export(
        model, tmp_path / "out", batches=[images], sample_size=SIDE, resolved_config="", card={}
    )


@pytest.fixture
def decoded(monkeypatch):
    """Records what a pipeline hands to the autoencoder's decoder, as arrays."""
    seen = []

    def watch(autoencoder):
        original = autoencoder.decode

        def decode(latents, *args, **kwargs):
            seen.append(latents.detach().clone())
            return original(latents, *args, **kwargs)

        monkeypatch.setattr(autoencoder, "decode", decode)
        return seen

    return watch


def last_latents(scheduler, monkeypatch):
    """Records the scaled latents after each denoising step."""
    seen = []
    original = scheduler.step

    def step(*args, **kwargs):
        output = original(*args, **kwargs)
        seen.append((output.prev_sample if hasattr(output, "prev_sample") else output[0]).clone())
        return output

    monkeypatch.setattr(scheduler, "step", step)
    return seen


def check(folder, image, denoised, seen):
    """The image is decode(latents / scaling_factor) of our own class."""
    model = ldm_ae.load(folder)
    assert image.shape == (SIDE, SIDE, 3)
    assert np.isfinite(image).all()
    assert image.std() > 0
    assert model.scaling_factor != pytest.approx(1, rel=0.05)
    latents = denoised[-1][:1] / model.scaling_factor
    torch.testing.assert_close(seen[-1][:1], latents, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        expected = (model.decode(latents) / 2 + 0.5).clamp(0, 1)
    np.testing.assert_allclose(image, expected[0].permute(1, 2, 0).numpy(), atol=1e-4)


def test_dit_pipeline(kl_folder, decoded, monkeypatch):
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL.from_pretrained(kl_folder)
    transformer = diffusers.DiTTransformer2DModel(
        sample_size=SIDE // 8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    pipe = diffusers.DiTPipeline(transformer, vae, diffusers.DDIMScheduler())
    pipe.set_progress_bar_config(disable=True)
    denoised, seen = last_latents(pipe.scheduler, monkeypatch), decoded(vae)
    image = pipe(class_labels=[207], num_inference_steps=2, output_type="np").images[0]
    check(kl_folder, image, denoised, seen)


def test_stable_diffusion_pipeline(kl_folder, decoded, monkeypatch, tmp_path):
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL.from_pretrained(kl_folder)
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    text_config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(text_config).eval(),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    assert pipe.vae_scale_factor == 8
    pipe.set_progress_bar_config(disable=True)
    denoised, seen = last_latents(pipe.scheduler, monkeypatch), decoded(vae)
    result = pipe("a cat", num_inference_steps=2, output_type="np", height=SIDE, width=SIDE)
    check(kl_folder, result.images[0], denoised, seen)


def tiny_tokenizer(folder):
    """A byte-pair tokenizer of single letters, made without a download."""
    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16
    )


def test_ldm_pipeline(vq_folder, decoded, monkeypatch):
    torch.manual_seed(0)
    vqvae = diffusers.VQModel.from_pretrained(vq_folder)
    unet = diffusers.UNet2DModel(
        sample_size=SIDE // 8,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=2,
    )
    pipe = diffusers.LDMPipeline(vqvae, unet, diffusers.DDIMScheduler(clip_sample=False))
    pipe.set_progress_bar_config(disable=True)
    denoised, seen = last_latents(pipe.scheduler, monkeypatch), decoded(vqvae)
    image = pipe(num_inference_steps=2, output_type="np").images[0]
    check(vq_folder, image, denoised, seen)
