import json
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


@pytest.mark.parametrize("name", ["owner/model", "owner/model/vae"])
def test_a_hub_name_goes_through_diffusers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a hub cache that holds the model: what a machine without a network has."""
    snapshot = tmp_path / "models--owner--model" / "snapshots" / ("0" * 40)
    folder = save_kl(snapshot / name.removeprefix("owner/model").strip("/"))
    refs = tmp_path / "models--owner--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    for method in ("load_config", "from_pretrained"):
        original = getattr(diffusers.AutoencoderKL, method)
        monkeypatch.setattr(
            diffusers.AutoencoderKL,
            method,
            lambda *a, original=original, **k: original(*a, **{"cache_dir": tmp_path, **k}),
        )
    assert read_pretrained_config(name).scaling == LatentScaling(0.37, 0.1)
    ours, theirs = ldm_ae.load(folder).state_dict(), read_pretrained_weights(name)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no folder", "neither a folder nor a name on the hub"),
        ("../elsewhere", "neither a folder nor a name on the hub"),
        ("nobody/nothing-at-all", "no folder here, and the hub does not give it"),
    ],
)
def test_what_cannot_be_had_is_named(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pretrained_config(source)


def test_a_codebook_is_refused(tmp_path: Path) -> None:
    save_kl(tmp_path)
    content = {"_class_name": "VQModel", "num_vq_embeddings": 8}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is a VQModel: training starts from an AutoencoderKL"):
        read_pretrained_config(str(tmp_path))
