"""Whole runs with the switches that are off by default: they resume and export like any other."""

from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file

import ldm_ae
from ldm_ae.train import loop
from ldm_ae.train.loop import train

EVERYTHING = [
    "model.posterior=fixed",
    "model.fixed_std=0.2",
    "loss.learn_log_variance=true",
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
    train(cut, resume="latest")  # from step 2
    for name in ("model", "ema"):
        expected, resumed = final(tmp_path / "whole", name), final(tmp_path / "cut", name)
        assert all(torch.equal(value, resumed[key]) for key, value in expected.items())
    ours, theirs = ldm_ae.load(export), diffusers.AutoencoderKL.from_pretrained(export)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        assert ours.posterior(images).std.unique().tolist() == [pytest.approx(0.2)]
        std = theirs.encode(images).latent_dist.std
    assert std.unique().tolist() == [pytest.approx(0.2)]
