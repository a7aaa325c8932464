"""Whole runs with the switches that are off by default: they resume and export like any other."""

from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file

import ldm_ae
from ldm_ae.train import loop
from ldm_ae.train.loop import train
from ldm_ae.train.steps import train_step

EVERYTHING = [
    "model.posterior=fixed",
    "model.fixed_std=0.2",
    "loss.multi_scale_weight=0.5",
    "loss.multi_scale_levels=1",
    "loss.frequency={haar_weight: 0.5, haar_levels: 1, focal_weight: 0.5,"
    " high_pass_weight: 0.5, high_pass_sigma: 0.3}",
    "loss.equivariance={probability: 0.7, min_scale: 0.4}",
    "train.progressive=[{until_step: 3, size: 8}]",
]


def final(run: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "step-00000004" / f"{name}.safetensors")


def test_resumed_run_ends_with_the_same_bits(
    make_experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = (
        make_experiment(*EVERYTHING, f"train.run_dir={tmp_path / name}")
        for name in ("whole", "cut")
    )
    export = train(cut)
    monkeypatch.setattr(loop, "export_run", lambda *_, **__: None)  # one is enough
    train(whole)
    (tmp_path / "cut" / "checkpoints" / "step-00000004").rename(tmp_path / "lost")
    train(cut, resume="latest")  # from step 2: the stage ends, and transforms are drawn, after it
    for name in ("model", "ema"):
        expected, resumed = final(tmp_path / "whole", name), final(tmp_path / "cut", name)
        assert all(torch.equal(value, resumed[key]) for key, value in expected.items())
    ours, theirs = ldm_ae.load(export), diffusers.AutoencoderKL.from_pretrained(export)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        assert ours.posterior(images).std.unique().tolist() == [pytest.approx(0.2)]
        std = theirs.encode(images).latent_dist.std
    assert std.unique().tolist() == [pytest.approx(0.2)]


@pytest.mark.parametrize("family", ["kl", "plain"])
def test_gram_and_equivariance_move_every_family(family: str, make_state, make_batch) -> None:
    coder = "coder: {channels: [8, 8], num_res_blocks: 1, mid_attention: false, norm_groups: 4}"
    state = make_state(
        f"model={{kind: {family}, latent_channels: 2, {coder}}}",
        "data.size=64",
        "loss.reconstruction_weight=0",
        "loss.perceptual.net=embedded",
        "loss.gram_weight=1",
        "loss.perceptual_weight=0",
        "loss.equivariance={probability: 1.0, min_scale: 0.6}",
    )
    images = torch.nn.functional.interpolate(make_batch(1).images, scale_factor=4)
    before = state.autoencoder.encoder.conv_in.weight.detach().clone()
    terms = train_step(state, [replace(make_batch(1), images=images)], 1)
    assert {"gram", "equivariance"} <= set(terms) and "perceptual" not in terms
    assert not torch.equal(state.autoencoder.encoder.conv_in.weight, before)


def test_gram_without_a_network_is_refused(make_state) -> None:
    with pytest.raises(ValueError, match="loss.gram_weight=1.0 with loss.perceptual.net=none"):
        make_state("loss.gram_weight=1")
