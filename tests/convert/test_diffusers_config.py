import pytest

from ldm_ae.convert.diffusers_config import (
    LatentScaling,
    from_diffusers_config,
    scaling_of,
    to_diffusers_config,
)
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig

# The file beside the weights of Stable Diffusion 1, with the keys it has and no more.
SD1 = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.2.2",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
VQ = {
    "_class_name": "VQModel",
    "block_out_channels": [32, 64],
    "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
    "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
    "num_vq_embeddings": 512,
    "vq_embed_dim": 8,
}


def test_missing_keys_mean_diffusers_defaults():
    assert from_diffusers_config(SD1) == KLConfig(
        coder=CoderConfig(channels=(128, 256, 512, 512), num_res_blocks=2), latent_channels=4
    )
    assert scaling_of(SD1) == LatentScaling(scaling_factor=0.18215)
    vq = from_diffusers_config(VQ)
    assert isinstance(vq, DiscreteConfig)
    assert (vq.codebook.size, vq.code_dim, vq.latent_channels) == (512, 8, 3)
    assert vq.coder.attention_factors == (2,)
    assert vq.coder.num_res_blocks == 1


@pytest.mark.parametrize(
    ("base", "change", "named"),
    [
        (SD1, {"_class_name": "AutoencoderDC"}, "_class_name=AutoencoderDC"),
        (SD1, {"act_fn": "mish"}, "act_fn=mish"),
        (SD1, {"out_channels": 6}, "out_channels=6"),
        (SD1, {"use_post_quant_conv": False}, "use_post_quant_conv=False"),
        (SD1, {"down_block_types": ["AttnDownEncoderBlock2D"] * 4}, "same resolutions"),
        (SD1, {"down_block_types": ["DownEncoderBlock2D"] * 3}, "one for each of the 4 widths"),
        (SD1, {"up_block_types": ["CrossAttnUpBlock2D"] * 4}, "up_block_types"),
        (SD1, {"layers_per_block": 10**9}, "layers_per_block=1000000000"),
        (SD1, {"latent_channels": "4"}, "latent_channels=4"),
        (SD1, {"scaling_factor": 0}, "scaling_factor=0"),
        (SD1, {"some_new_switch": True}, "some_new_switch"),
        (VQ, {"norm_type": "spatial"}, "norm_type=spatial"),
    ],
)
def test_what_is_not_supported_is_named(base, change, named):
    with pytest.raises(ValueError, match=named):
        content = {**base, **change}
        from_diffusers_config(content)
        scaling_of(content)


def test_scaling_passes_through():
    scaling = LatentScaling(1.5, 0.1, (0.0,) * 4, (1.0,) * 4)
    assert scaling_of(to_diffusers_config(KLConfig(), scaling, 256)) == scaling
    nothing = {**SD1, "shift_factor": None}
    assert scaling_of(nothing) == scaling_of(SD1) == LatentScaling(0.18215, 0.0)
    assert to_diffusers_config(KLConfig(), LatentScaling(), 256)["shift_factor"] == 0.0
    with pytest.raises(ValueError, match="VQModel's config holds scaling_factor alone"):
        to_diffusers_config(DiscreteConfig(), scaling, 256)
