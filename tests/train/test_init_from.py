from pathlib import Path

import diffusers
import pytest
import torch

import ldm_ae
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.train.init_from import read_pretrained_config, read_pretrained_weights


def save_kl(folder: Path) -> Path:
    diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 16],
        norm_num_groups=4,
        scaling_factor=0.37,
        shift_factor=0.1,
    ).save_pretrained(folder)
    return folder


def test_a_folder_and_a_pipelines_folder(tmp_path: Path) -> None:
    folder = save_kl(tmp_path / "pipeline" / "vae")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    for source in (folder, tmp_path / "pipeline"):
        pretrained = read_pretrained_config(str(source))
        assert pretrained.model.coder.channels == (8, 16)
        assert pretrained.scaling == LatentScaling(0.37, 0.1)
        weights = read_pretrained_weights(str(source))
        assert torch.equal(weights["quant_conv.bias"], ldm_ae.load(folder).quant_conv.bias)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no folder", "no folder here: check its path, or name hub:owner/model on the hub"),
        ("nobody/nothing-at-all", "no folder here: check its path, or name hub:"),
        ("hub:nobody/nothing-at-all", "the hub does not give it"),
    ],
)
def test_what_cannot_be_had_is_named(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"model.init_from={source}: .*{message}"):
        read_pretrained_config(source)
