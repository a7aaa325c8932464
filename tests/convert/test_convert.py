"""LDM's, taming's and sgm's checkpoints <-> ours <-> diffusers', at a quarter of a width."""

import json

import diffusers
import pytest
import torch
from safetensors.torch import save_file

import ldm_ae
from ldm_ae.cli.main import main
from ldm_ae.config import read_yaml
from ldm_ae.convert import convert as module
from ldm_ae.convert.convert import convert, to_ldm_state
from ldm_ae.convert.ldm_network import LDMNetwork


def test_ldm_to_ours_to_diffusers_and_back(ldm_name, ldm, agree, open_in_diffusers, tmp_path):
    source = ldm[ldm_name]
    path = source.write(tmp_path / "x")
    folder, back = tmp_path / "folder", tmp_path / "back.ckpt"
    assert [part.split(".")[0] for part in convert(path, folder, scaling_factor=0.5).left_out] == (
        ["loss"] * 3
    )
    convert(folder, back)
    model, weights = ldm_ae.load(path), source.weights()
    for other in (LDMNetwork(weights), open_in_diffusers(folder)):
        agree(model, other)
    for place in (folder, back):
        other = ldm_ae.load(place)
        assert other.scaling_factor == 0.5
        same = model.state_dict()
        assert all(torch.equal(value, same[key]) for key, value in other.state_dict().items())
    stored = torch.load(back, weights_only=True)["state_dict"]
    assert stored.keys() == weights.keys()
    assert all(torch.equal(stored[key], value) for key, value in weights.items())
    ours, theirs = read_yaml(tmp_path / "back.yaml"), json.loads(source.yaml())
    for claims in (ours, theirs):
        claims["model"] = claims["model"]["params"]
    if source.kind != "sgm":
        assert ours["model"]["embed_dim"] == str(theirs["model"]["embed_dim"])
        given = {key: str(value) for key, value in theirs["model"]["ddconfig"].items()}
        for key in ("ch", "z_channels", "num_res_blocks", "in_channels", "out_ch"):
            assert ours["model"]["ddconfig"][key] == given[key]


def test_diffusers_own_converter_reads_what_we_write(ldm, agree, tmp_path):
    """An independent reader of LDM's names, for a shape that it is right for."""
    path, file = ldm["kl-f8"].write(tmp_path / "x"), tmp_path / "vae.safetensors"
    convert(path, tmp_path / "out", scaling_factor=0.5)
    convert(path, file, scaling_factor=0.5)
    theirs = diffusers.AutoencoderKL.from_single_file(str(file), config=str(tmp_path / "out"))
    agree(ldm_ae.load(file), theirs)


def test_a_scaling_that_nothing_says_is_asked_for(ldm, open_in_diffusers, tmp_path, capsys):
    save_file(ldm["kl-f8"].weights(), tmp_path / "vae.safetensors")
    assert main(["convert", str(tmp_path / "vae.safetensors"), str(tmp_path / "out")]) == 2
    assert "does not say what its latents are multiplied by" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["vae.safetensors"]
    arguments = ["--scaling-factor", "1.5", "--shift-factor", "0.25"]
    assert (
        main(["convert", str(tmp_path / "vae.safetensors"), str(tmp_path / "out"), *arguments]) == 0
    )
    config = open_in_diffusers(tmp_path / "out").config
    assert (config.scaling_factor, config.shift_factor) == (1.5, 0.25)
    assert "agree with the source's within" in capsys.readouterr().out
    assert (
        main(["convert", str(tmp_path / "vae.safetensors"), str(tmp_path / "out"), *arguments]) == 2
    )
    assert "is there already" in capsys.readouterr().err


def test_a_wrong_result_is_not_written(ldm, tmp_path, monkeypatch):
    path = ldm["kl-f4"].write(tmp_path / "x")

    def spoiled(model):
        state = to_ldm_state(model)
        q, k = (f"encoder.mid.attn_1.{part}.weight" for part in "qk")
        state[q], state[k] = state[k], state[q]
        return state

    monkeypatch.setattr(module, "to_ldm_state", spoiled)
    with pytest.raises(ValueError, match="refused to write: encode of LDM's network, of the file"):
        convert(path, tmp_path / "out.ckpt", scaling_factor=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_misread_source_is_not_written(ldm, tmp_path, monkeypatch):
    path = ldm["kl-f4"].write(tmp_path / "x")
    right = module.LDMNetwork

    def other(weights):
        return right({**weights, "encoder.conv_out.bias": weights["encoder.conv_out.bias"] + 1})

    monkeypatch.setattr(module, "LDMNetwork", other)
    with pytest.raises(ValueError, match="encode of LDM's network, of the file's own weights"):
        convert(path, tmp_path / "out", scaling_factor=1.0)
    assert not (tmp_path / "out").exists()
