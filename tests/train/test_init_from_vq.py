"""Fine-tuning of a VQModel, as of an AutoencoderKL."""

from pathlib import Path

import diffusers
import pytest
import torch
import yaml

import ldm_ae
from ldm_ae.train.initial import initial_model, load_experiment
from ldm_ae.train.loop import train


@pytest.fixture
def vq_folder(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    theirs = diffusers.VQModel(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 16],
        norm_num_groups=4,
        num_vq_embeddings=32,
        vq_embed_dim=5,
    )
    theirs.quantize.embedding.weight.data.normal_()
    theirs.save_pretrained(tmp_path / "vq")
    return tmp_path / "vq"


@pytest.fixture
def finetuning(tiny_yaml: Path, vq_folder: Path) -> Path:
    content = yaml.safe_load(tiny_yaml.read_text())
    content["model"] = {"init_from": str(vq_folder), "codebook": {"ema_decay": 0.9}}
    tiny_yaml.write_text(yaml.safe_dump(content))
    return tiny_yaml


def test_a_run_starts_with_its_weights_and_codes(finetuning: Path, vq_folder: Path) -> None:
    experiment = load_experiment(finetuning)
    assert experiment.model.kind == "discrete" and experiment.model.coder.channels == (8, 16)
    codebook = experiment.model.codebook
    assert (codebook.size, codebook.ema_decay, experiment.model.code_dim) == (32, 0.9, 5)
    ours, theirs = initial_model(experiment), ldm_ae.load(vq_folder)
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name
    assert ours.quantizer.initialized, "the first batch must not replace the codes"


def test_it_trains_and_exports(finetuning: Path, vq_folder: Path) -> None:
    before, after = ldm_ae.load(vq_folder), ldm_ae.load(train(load_experiment(finetuning)))
    assert not torch.equal(before.decoder.conv_in.weight, after.decoder.conv_in.weight)
    codes = after.quantizer.codes() - before.quantizer.codes()
    assert 0 < codes.abs().mean() < 0.5, "they have moved from where they were"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.kind=kl", "kind=kl with model.init_from=.*, which is of kind discrete"),
        ("model.codebook.size=64", r"codebook\.size=64 instead of 32"),
        ("model.codebook={kind: gumbel, size: 32}", r"codebook\.kind=gumbel instead of vq"),
        ("model.code_channels=4", "code_channels=4 instead of 5"),
        ("train.freeze_encoder=true", "freeze_encoder=true needs model.init_from, the Auto"),
    ],
)
def test_what_does_not_fit_is_named(finetuning: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        initial_model(load_experiment(finetuning, [override]))


@pytest.fixture
def kl_folder(tmp_path: Path) -> Path:
    torch.manual_seed(4)
    diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 16],
        norm_num_groups=4,
        latent_channels=3,
    ).save_pretrained(tmp_path / "kl")
    return tmp_path / "kl"


def test_a_codebook_is_put_into_an_autoencoder_without_one(
    tiny_yaml: Path, kl_folder: Path
) -> None:
    content = yaml.safe_load(tiny_yaml.read_text())
    content["model"] = {
        "kind": "discrete",
        "init_from": str(kl_folder),
        "codebook": {"kind": "vq", "size": 16},
    }
    tiny_yaml.write_text(yaml.safe_dump(content))
    experiment = load_experiment(tiny_yaml)
    ours, theirs = initial_model(experiment).eval(), ldm_ae.load(kl_folder)
    assert ours.quantizer is not None and ours.quantizer.num_codes == 16
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = theirs.encode(images)
        assert torch.allclose(ours.encode(images), latents, atol=1e-5)
        assert torch.allclose(ours.decode_codes(latents), theirs.decode(latents), atol=1e-5)
    exported = ldm_ae.load(train(experiment))
    assert exported.config.kind == "discrete" and exported.latent_channels == 3


def test_what_else_does_not_fit_an_autoencoder_without_codebook(
    tiny_yaml: Path, kl_folder: Path
) -> None:
    asked = f"model={{kind: discrete, init_from: {kl_folder}, latent_channels: 5}}"
    with pytest.raises(ValueError, match=r"latent_channels=5 instead of 3"):
        initial_model(load_experiment(tiny_yaml, [asked]))
