"""What an export says of its latents: one factor, a shift, or the moments of each channel."""

import json

import diffusers
import pytest
import torch

import ldm_ae
from ldm_ae.export import export as export_module
from ldm_ae.export.export import export
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.quantizers.vq import VQConfig

CODER = CoderConfig(channels=(8, 16), num_res_blocks=1, norm_groups=4, attention_factors=(2,))
CONFIGS = {
    "kl": KLConfig(coder=CODER),
    "plain": PlainConfig(coder=CODER),
    "vq": DiscreteConfig(coder=CODER, latent_channels=4, codebook=VQConfig(size=64)),
}


def write(model, out, images, **options):
    given = {"batches": images.split(1), "sample_size": 64, "resolved_config": "", "card": {}}
    return export(model, out, **{**given, **options})


def test_a_shift_is_written_when_asked_for(make_model, images, tmp_path):
    model = make_model(CONFIGS["kl"])
    with torch.no_grad():
        model.quant_conv.bias[:4] += 3
    plain = write(model, tmp_path / "plain", images)
    assert json.loads((plain / "config.json").read_text())["shift_factor"] == 0.0
    assert "shift_factor` is heeded" not in (plain / "README.md").read_text()
    folder = write(model, tmp_path / "out", images, shift=True)
    config = json.loads((folder / "config.json").read_text())
    with torch.no_grad():
        mean = float(model.encode(images).mean())
    assert config["shift_factor"] == pytest.approx(mean, rel=1e-5)
    assert ldm_ae.load(folder).shift_factor == config["shift_factor"]
    assert "shift_factor` is heeded" in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match="scaling_factor alone"):
        write(make_model(CONFIGS["vq"]), tmp_path / "vq", images, shift=True)
    kept = export_module.LatentScaling(0.5)
    with pytest.raises(ValueError, match="or a shift would replace"):
        write(model, tmp_path / "kept", images, shift=True, scaling=kept)


def test_statistics_of_few_images_say_so(make_model, images, tmp_path, caplog, monkeypatch):
    model, said = make_model(CONFIGS["kl"]), "rest on 1 images; on others they may be off"
    card = (write(model, tmp_path / "few", images, num_different=1) / "README.md").read_text()
    assert said in caplog.text and said in card
    assert "| crops measured | 2 |\n| of so many images | 1 |" in card
    caplog.clear()
    monkeypatch.setattr(export_module, "ENOUGH_IMAGES", 2)
    crops = [images] * 5
    card = (write(model, tmp_path / "enough", images, batches=crops) / "README.md").read_text()
    assert "rest on" not in caplog.text + card
    assert "| scaling_factor, 95 % interval |" in card
    kept = export_module.LatentScaling(0.5)
    card = (write(model, tmp_path / "kept", images[:1], scaling=kept) / "README.md").read_text()
    assert "rest on" not in caplog.text + card  # what is kept was not measured here


def test_per_channel_statistics_normalise_once_in_sdxl(make_model, images, tmp_path):
    model = make_model(CONFIGS["plain"])
    with torch.no_grad():
        model.quant_conv.weight *= torch.tensor([1.0, 5.0, 0.2, 2.0])[:, None, None, None]
    plain = write(model, tmp_path / "plain", images)
    content = json.loads((plain / "config.json").read_text())
    assert content["latents_mean"] is content["latents_std"] is None
    folder = write(model, tmp_path / "out", images, per_channel=True)
    config = diffusers.AutoencoderKL.from_pretrained(folder).config
    assert config.scaling_factor == content["scaling_factor"]
    mean, std = (
        torch.tensor(x).view(1, 4, 1, 1) for x in (config.latents_mean, config.latents_std)
    )
    with torch.no_grad():
        scaled = (model.encode(images) - mean) / std * config.scaling_factor
    torch.testing.assert_close(
        scaled.std((0, 2, 3), correction=0), torch.ones(4), rtol=1e-3, atol=0
    )
    with pytest.raises(ValueError, match="scaling_factor alone"):
        write(make_model(CONFIGS["vq"]), tmp_path / "vq", images, per_channel=True)
    assert not (tmp_path / "vq").exists()
