import shutil
from pathlib import Path

import diffusers
import pytest
import torch

import ldm_ae
from ldm_ae.convert.convert import convert
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.train.init_from import read_pretrained_config, read_pretrained_model
from ldm_ae.train.initial import initial_model, load_experiment

REST = ["data.path=photos", "train.run_dir=run"]


def save_kl(folder: Path, **changes: object) -> Path:
    settings = {
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "block_out_channels": [8, 16],
        "norm_num_groups": 4,
        "scaling_factor": 0.37,
        "shift_factor": 0.1,
    }
    diffusers.AutoencoderKL(**{**settings, **changes}).save_pretrained(folder)
    return folder


def test_a_folder_and_a_pipelines_folder(tmp_path: Path) -> None:
    folder = save_kl(tmp_path / "pipeline" / "vae")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    for source in (folder, tmp_path / "pipeline"):
        pretrained = read_pretrained_config(str(source))
        assert pretrained.model.coder.channels == (8, 16)
        assert pretrained.scaling == LatentScaling(0.37, 0.1)
        weights = read_pretrained_model(str(source)).state_dict()
        assert torch.equal(weights["quant_conv.bias"], ldm_ae.load(folder).quant_conv.bias)


def test_a_single_file_with_ldms_names(tmp_path: Path) -> None:
    """It says what the model is, and nothing of how its latents are scaled."""
    wide = {"block_out_channels": [32, 64], "norm_num_groups": 32}
    folder = save_kl(tmp_path / "vae", **wide)
    file = convert(folder, tmp_path / "vae.ckpt").place
    told = read_pretrained_config(str(file))
    assert told.model == read_pretrained_config(str(folder)).model
    assert told.scaling == LatentScaling(0.37, 0.1)
    (tmp_path / "vae.yaml").unlink()
    assert read_pretrained_config(str(file)).scaling is None
    weights = read_pretrained_model(str(file)).state_dict()
    for name, value in ldm_ae.load(folder).state_dict().items():
        assert torch.equal(weights[name], value)
    frozen = [f"model.init_from={file}", "train.freeze_encoder=true"]
    experiment = load_experiment("finetune_decoder", [*REST, *frozen])
    with pytest.raises(ValueError, match="or set scaling.scaling_factor where that does not say"):
        initial_model(experiment)
    given = load_experiment("finetune_decoder", [*REST, *frozen, "scaling.scaling_factor=0.5"])
    assert initial_model(given).config.coder.channels == (32, 64)


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


def test_the_variant_of_its_files_may_be_named(tmp_path: Path, tiny_yaml: Path) -> None:
    folder = save_kl(tmp_path / "kl")
    weights = folder / "diffusion_pytorch_model.safetensors"
    for variant in ("fp16", "bf16"):
        shutil.copyfile(weights, folder / f"diffusion_pytorch_model.{variant}.safetensors")
    weights.unlink()
    asked = f"model={{kind: kl, init_from: {folder}}}"
    with pytest.raises(ValueError, match="choose with variant="):
        initial_model(load_experiment(tiny_yaml, [asked]))
    model = initial_model(load_experiment(tiny_yaml, [asked, "model.variant=bf16"]))
    assert torch.equal(
        model.state_dict()["decoder.conv_in.bias"],
        ldm_ae.load(folder, variant="bf16").state_dict()["decoder.conv_in.bias"],
    )
