"""The YAML beside LDM's checkpoints: heeded where it says more than the weights, refused where it
says otherwise, and written where LDM can hold the model."""

import json

import pytest

import ldm_ae
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.convert.ldm_yaml import to_ldm_yaml
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_resolutions": [32]}, r"attn_resolutions=\['?32'?\], the weights have \[16\]"),
        ({"ch_mult": [1, 2, 4]}, "ch_mult=.1, 2, 4., the weights have .1, 1, 2, 2, 4."),
        ({"attn_type": "none"}, "attn_type=none, the weights have vanilla"),
        ({"z_channels": 4}, "z_channels=4, the weights have 16"),
        ({"resamp_with_conv": False}, "resamp_with_conv=false, only true is supported"),
        ({"tanh_out": True}, "tanh_out=true, only false is supported"),
    ],
)
def test_a_yaml_that_says_otherwise_is_refused(change, message, ldm, tmp_path):
    path = ldm["kl-f16"].write(tmp_path / "x")
    content = json.loads((path.parent / "config.yaml").read_text())
    content["model"]["params"]["ddconfig"] |= change
    (path.parent / "config.yaml").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        ldm_ae.load(path)


def test_the_yaml_of_a_whole_diffusion_model(ldm, tmp_path):
    """Its first stage is nested, and it says the scaling itself."""
    path = ldm["kl-f8"].write(tmp_path / "x")
    first = json.loads((path.parent / "config.yaml").read_text())["model"]
    whole = {"model": {"params": {"scale_factor": 0.2, "first_stage_config": first}}}
    path.with_suffix(".yaml").write_text(json.dumps(whole))
    assert ldm_ae.load(path).scaling_factor == 0.2
    first["params"]["ddconfig"]["z_channels"] = 8
    path.with_suffix(".yaml").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="z_channels=8, the weights have 4"):
        ldm_ae.load(path)
    first["params"]["ddconfig"]["z_channels"] = 4
    for factor in ("much", -1, "inf"):
        whole["model"]["params"]["scale_factor"] = factor
        path.with_suffix(".yaml").write_text(json.dumps(whole))
        with pytest.raises(ValueError, match="scale_factor="):
            ldm_ae.load(path)
    path.with_suffix(".yaml").write_text("model: {}")
    with pytest.raises(ValueError, match=r"has no model\.params\.ddconfig"):
        ldm_ae.load(path)


@pytest.mark.parametrize(
    ("coder", "message"),
    [
        (CoderConfig(channels=(8, 16), norm_groups=4), "LDM's norms have 32 groups"),
        (CoderConfig(channels=(64, 96)), "widths are multiples of the first"),
        (CoderConfig(channels=(32,), attention_factors=(1,), mid_attention=False), "none in the m"),
    ],
)
def test_what_ldm_cannot_hold_is_refused(coder, message):
    with pytest.raises(ValueError, match=message):
        to_ldm_yaml(KLConfig(coder=coder), LatentScaling())


def test_ldm_has_no_scaling_per_channel():
    with pytest.raises(ValueError, match="one factor for all channels"):
        to_ldm_yaml(KLConfig(), LatentScaling(1.0, 0.0, (0.0,) * 4, (1.0,) * 4))
