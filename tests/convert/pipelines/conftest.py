"""diffusers' pipelines around tiny denoisers that have random weights, for latents at f8 as every
public Stable Diffusion has them: each is saved with another autoencoder and opened with ours."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

SIDE = 64  # of the images; latents are 8 x 8
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


def ldm_unconditional(vqvae):
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

    @property
    def slot(self) -> str:
        """Of the autoencoder."""
        return "vqvae" if self.pipeline == "LDMPipeline" else "vae"

    def save(self, folder: Path) -> None:
        """With some autoencoder."""
        torch.manual_seed(0)
        autoencoder = diffusers.VQModel if self.slot == "vqvae" else diffusers.AutoencoderKL
        some = autoencoder(
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=[8, 8, 16, 16],
            norm_num_groups=4,
            latent_channels=self.channels,
        )
        safety = {"requires_safety_checker": False} if "safety_checker" in self.absent else {}
        parts = {**self.parts(some), **dict.fromkeys(self.absent), **safety}
        getattr(diffusers, self.pipeline)(**parts).save_pretrained(folder)

    def generate(self, pipe: Any) -> np.ndarray:
        """float (SIDE, SIDE, 3) in [0, 1], the same at each call."""
        random = torch.Generator().manual_seed(1)
        denoiser = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
        call = {
            key: torch.randn(value, generator=random).to(denoiser.dtype)
            if isinstance(value, tuple)
            else value
            for key, value in self.call.items()
        }
        if "prompt_attention_mask" in call:
            call["prompt_attention_mask"] = torch.ones(1, 4)
        generator = torch.Generator().manual_seed(2)
        settings = {"num_inference_steps": 2, "output_type": "np", "generator": generator}
        image = pipe(**call, **settings).images[0]
        assert image.shape == (SIDE, SIDE, 3)
        assert np.isfinite(image).all()
        assert image.std() > 0
        return image


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
    "ldm": Case("LDMPipeline", ldm_unconditional, {}, channels=3),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(params=[name for name in CASES if name != "ldm"])
def kl_case(request: pytest.FixtureRequest) -> Case:
    """Of every pipeline that takes an AutoencoderKL."""
    return CASES[request.param]


@pytest.fixture
def sd1_case() -> Case:
    return CASES["sd1"]


@pytest.fixture
def opened(open_in_diffusers: Callable[[Path], Any], tmp_path: Path) -> Callable[..., Any]:
    """opened(case, folder) -> the pipeline with the export in `folder` as its autoencoder"""

    def open_pipeline(case: Case, folder: Path) -> Any:
        case.save(tmp_path / "pipeline")
        parts = {case.slot: open_in_diffusers(folder), **dict.fromkeys(case.absent)}
        pipe = getattr(diffusers, case.pipeline).from_pretrained(tmp_path / "pipeline", **parts)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return open_pipeline
