"""Exports inside real diffusers pipelines, with tiny denoisers that have random weights: each is
saved with another autoencoder and opened with the export in its place."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import ldm_ae
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.export.export import export
from ldm_ae.models.coders import CoderConfig, DecoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.tiny import TinyConfig
from ldm_ae.quantizers.vq import VQConfig

# f8, as every public Stable Diffusion has it; latents of 8 x 8 for 64 px.
CODER = CoderConfig(channels=(8, 8, 16, 16), num_res_blocks=1, norm_groups=4)
SIDE = 64
STAGES = {
    "sample_size": SIDE // 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
}
ATTENDING = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 16,
}
TOKENS = {"sample_size": SIDE // 8, "patch_size": 2, "num_layers": 1, "attention_head_dim": 8}
SIZE = {"height": SIDE, "width": SIDE}
PROMPT = {"prompt_embeds": (1, 4, 16), "guidance_scale": 1.0, **SIZE}
POOLED = {**PROMPT, "pooled_prompt_embeds": (1, 16)}


def ddim(**settings):
    return diffusers.DDIMScheduler(clip_sample=False, **settings)


def sd1(vae):
    unet = diffusers.UNet2DConditionModel(**STAGES, **ATTENDING)
    return {"unet": unet, "scheduler": ddim(steps_offset=1), "vae": vae}


def sd2(vae):
    return {**sd1(vae), "scheduler": ddim(steps_offset=1, prediction_type="v_prediction")}


def sdxl(vae):
    unet = diffusers.UNet2DConditionModel(
        **STAGES,
        **ATTENDING,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
    )
    return {"unet": unet, "scheduler": ddim(), "vae": vae}


def pixart(vae):
    transformer = diffusers.PixArtTransformer2DModel(
        **TOKENS,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=16,
        caption_channels=16,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        use_additional_conditions=False,
    )
    return {"transformer": transformer, "scheduler": ddim(), "vae": vae}


def dit(vae):
    transformer = diffusers.DiTTransformer2DModel(
        **TOKENS,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    return {"transformer": transformer, "vae": vae, "scheduler": ddim()}


def sd3(vae):
    transformer = diffusers.SD3Transformer2DModel(
        **TOKENS,
        num_attention_heads=2,
        in_channels=16,
        out_channels=16,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return {"transformer": transformer, "scheduler": scheduler, "vae": vae}


def flux(vae):
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return {"transformer": transformer, "scheduler": scheduler, "vae": vae}


def ldm(vqvae):
    unet = diffusers.UNet2DModel(
        **STAGES,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return {"vqvae": vqvae, "unet": unet, "scheduler": ddim()}


@dataclass(frozen=True)
class Case:
    """call: what the pipeline is called with; tuples are shapes of random embeddings. absent:
    parts that stay away. honours: what is heeded beside scaling_factor."""

    pipeline: str
    parts: Callable[[Any], dict[str, Any]]
    call: dict[str, Any]
    absent: tuple[str, ...] = ()
    channels: int = 4
    honours: str = ""


TEXT = ("text_encoder", "tokenizer")
TEXT_2 = (*TEXT, "text_encoder_2", "tokenizer_2")
SAFETY = ("safety_checker", "feature_extractor")
IMAGE = ("image_encoder", "feature_extractor")
CASES = {
    "sd1": Case("StableDiffusionPipeline", sd1, PROMPT, (*TEXT, *SAFETY, "image_encoder")),
    "sd2": Case("StableDiffusionPipeline", sd2, PROMPT, (*TEXT, *SAFETY, "image_encoder")),
    "sdxl": Case("StableDiffusionXLPipeline", sdxl, POOLED, (*TEXT_2, *IMAGE), honours="channels"),
    "pixart": Case(
        "PixArtSigmaPipeline",
        pixart,
        {**PROMPT, "negative_prompt": None, "use_resolution_binning": False,
         "prompt_attention_mask": (1, 4)},
        TEXT,
    ),
    "dit": Case("DiTPipeline", dit, {"class_labels": [207]}),
    "sd3": Case(
        "StableDiffusion3Pipeline",
        sd3,
        POOLED,
        (*TEXT_2, "text_encoder_3", "tokenizer_3", *IMAGE),
        channels=16,
        honours="shift",
    ),
    "flux": Case("FluxPipeline", flux, POOLED, (*TEXT_2, *IMAGE), channels=16, honours="shift"),
    "ldm": Case("LDMPipeline", ldm, {}, channels=3),
}  # fmt: skip
KL = [name for name in CASES if name != "ldm"]


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Folders that were written, by channels and whether the rest was measured."""
    return tmp_path_factory.mktemp("exports"), {}


@pytest.fixture
def folder_for(make_model, images, exports):
    """The export of a model for a case."""
    place, written = exports

    def folder(case, measured=False):
        key = f"{case.channels}-{measured}"
        if key not in written:
            config = KLConfig(coder=CODER, latent_channels=case.channels)
            if case.channels == 3:
                config = DiscreteConfig(coder=CODER, latent_channels=3, codebook=VQConfig(size=64))
            model = make_model(config)
            with torch.no_grad():  # far from unit variance and no mean: what is forgotten shows
                model.quant_conv.weight *= 3
                model.quant_conv.bias += 0.5
            written[key] = export(
                model,
                place / key,
                batches=[images],
                sample_size=SIDE,
                resolved_config="",
                card={},
                per_channel=measured,
                shift=measured,
            )
        return written[key]

    return folder


def autoencoder(case):
    return diffusers.VQModel if case.pipeline == "LDMPipeline" else diffusers.AutoencoderKL


def opened(case, folder, tmp_path):
    """The pipeline, saved with some autoencoder, opened with the export as its own."""
    cls, slot = getattr(diffusers, case.pipeline), slot_of(case)
    torch.manual_seed(0)
    other = autoencoder(case)(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=list(CODER.channels),
        norm_num_groups=4,
        latent_channels=case.channels,
    )
    absent = dict.fromkeys(case.absent)
    safety = {"requires_safety_checker": False} if "safety_checker" in absent else {}
    cls(**case.parts(other), **absent, **safety).save_pretrained(tmp_path / "pipeline")
    name = json.loads((folder / "config.json").read_text())["_class_name"]
    vae = getattr(diffusers, name).from_pretrained(folder)
    pipe = cls.from_pretrained(tmp_path / "pipeline", **{slot: vae}, **absent)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def slot_of(case):
    return "vqvae" if case.pipeline == "LDMPipeline" else "vae"


def generate(case, pipe):
    """float (H, W, 3) in [0, 1], the same at each call."""
    random = torch.Generator().manual_seed(1)
    dtype = next(getattr(pipe, "unet", getattr(pipe, "transformer", None)).parameters()).dtype
    call = {
        key: torch.randn(value, generator=random).to(dtype) if isinstance(value, tuple) else value
        for key, value in case.call.items()
    }
    if "prompt_attention_mask" in call:
        call["prompt_attention_mask"] = torch.ones(1, 4)
    generator = torch.Generator().manual_seed(2)
    image = pipe(**call, num_inference_steps=2, output_type="np", generator=generator).images[0]
    assert image.shape == (SIDE, SIDE, 3)
    assert np.isfinite(image).all()
    assert image.std() > 0
    return image


def last_latents(pipe, monkeypatch):
    """Records the scaled latents after each denoising step."""
    seen = []
    original = pipe.scheduler.step

    def step(*args, **kwargs):
        output = original(*args, **kwargs)
        seen.append((output.prev_sample if hasattr(output, "prev_sample") else output[0]).clone())
        return output

    monkeypatch.setattr(pipe.scheduler, "step", step)
    return seen


@pytest.mark.parametrize(
    ("name", "measured"), [*((name, False) for name in CASES), *((name, True) for name in KL)]
)
def test_pipelines_decode_what_our_model_does(name, measured, folder_for, tmp_path, monkeypatch):
    """The image is decode(latents / scaling_factor) of our own class, and each pipeline heeds the
    measured shift or statistics per channel that it is known to heed."""
    case = CASES[name]
    folder = folder_for(case, measured)
    model = ldm_ae.load(folder)
    assert model.scaling_factor != pytest.approx(1, rel=0.05)
    assert (abs(model.shift_factor) > 0.1) == measured
    check_image(case, folder, measured, tmp_path, monkeypatch)


SMALL = {
    "AsymmetricAutoencoderKL": KLConfig(coder=CODER, decoder=DecoderConfig((4, 8, 8, 8))),
    "AutoencoderTiny": TinyConfig(encoder_width=6, decoder_width=5),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_decoders(name, make_model, images, tmp_path, monkeypatch):
    folder = export(
        make_model(SMALL[name]),
        tmp_path / "export",
        batches=[images],
        sample_size=SIDE,
        resolved_config="",
        card={},
        scaling=LatentScaling(1.0 if name == "AutoencoderTiny" else 0.3),
    )
    check_image(CASES["sd1"], folder, False, tmp_path, monkeypatch)


def check_image(case, folder, measured, tmp_path, monkeypatch):
    """It is what our own class decodes from the latents that the pipeline ends with."""
    model = ldm_ae.load(folder)
    pipe = opened(case, folder, tmp_path)
    denoised = last_latents(pipe, monkeypatch)
    image = generate(case, pipe)
    latents = denoised[-1][:1]
    if case.pipeline == "FluxPipeline":
        latents = pipe._unpack_latents(latents, SIDE, SIDE, pipe.vae_scale_factor)
    latents = latents / model.scaling_factor
    if case.honours == "shift":
        latents = latents + model.shift_factor
    if case.honours == "channels" and measured:
        mean, std = torch.tensor([model.latents_mean, model.latents_std]).view(2, 1, -1, 1, 1)
        latents = latents * std + mean
    with torch.no_grad():
        expected = (model.decode(latents) / 2 + 0.5).clamp(0, 1)
    np.testing.assert_allclose(image, expected[0].permute(1, 2, 0).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", KL)
def test_another_export_is_swapped_in(name, folder_for, tmp_path):
    case = CASES[name]
    pipe = opened(case, folder_for(case), tmp_path)
    before = generate(case, pipe)
    pipe.vae = diffusers.AutoencoderKL.from_pretrained(folder_for(case, measured=True))
    after = generate(case, pipe)
    assert np.allclose(before, after, atol=1e-5) == (not case.honours)


@pytest.mark.parametrize("name", KL)
def test_slices_tiles_and_half_precision(name, folder_for, tmp_path):
    case = CASES[name]
    pipe = opened(case, folder_for(case), tmp_path)
    whole = generate(case, pipe)
    pipe.vae.enable_slicing()
    np.testing.assert_allclose(generate(case, pipe), whole, atol=1e-5)
    pipe.to(torch.bfloat16)
    assert np.abs(generate(case, pipe) - whole).mean() < 0.05
    pipe.vae.enable_tiling()
    pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size = SIDE // 2, SIDE // 16
    assert not np.allclose(generate(case, pipe), whole)
