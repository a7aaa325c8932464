"""A smaller decoder, and a tiny autoencoder, for the latents of a model that exists."""

import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ldm_ae
from ldm_ae.errors import UserError
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.build import build_state
from ldm_ae.train.initial import initial_model, load_experiment
from ldm_ae.train.loop import train

FEW = [
    "data.size=16",
    "data.num_workers=0",
    "data.validation_count=2",
    "loss.perceptual={net: none}",
    "loss.perceptual_weight=0",
    "loss.texture_weight=0",
    "loss.structural_weight=0",
    "train.steps=4",
    "train.batch_size=2",
    "train.warmup_steps=1",
    "train.validate_every=4",
    "train.checkpoint_every=2",
    "train.precision=fp32",
    "train.kernels=plain",
    "train.device=cpu",
]
SMALL = ["model.decoder.channels=[4, 8]", "model.decoder.num_res_blocks=0"]
TINY = [
    "model.encoder_width=4",
    "model.encoder_blocks=[1, 1]",
    "model.decoder_width=4",
    "model.decoder_blocks=[1, 1]",
]
GAME = (
    "loss.adversarial={weight: 0.5, start_step: 1, num_layers: 2, base_channels: 8,"
    " discriminator_warmup_steps: 1, ramp_steps: 2}"
)
CASES = {"distill_decoder": SMALL, "distill_tiny": TINY}


def save_teacher(folder: Path, **changes: object) -> Path:
    torch.manual_seed(3)
    settings = {
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "block_out_channels": [8, 16],
        "norm_num_groups": 4,
        "scaling_factor": 0.37,
    }
    diffusers.AutoencoderKL(**{**settings, **changes}).save_pretrained(folder)
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return save_teacher(tmp_path / "teacher")


@pytest.fixture
def overrides(teacher: Path, photos: Path, tmp_path: Path) -> list[str]:
    run = tmp_path / "run"
    return [*FEW, f"model.init_from={teacher}", f"data.path={photos}", f"train.run_dir={run}"]


@pytest.mark.parametrize("config", CASES)
def test_it_trains_with_a_discriminator_exports_and_loads(
    config: str, overrides: list[str], teacher: Path, images: torch.Tensor
) -> None:
    experiment = load_experiment(config, [*overrides, *CASES[config], GAME])
    export = train(experiment)
    old, new = ldm_ae.load(teacher), ldm_ae.load(export)
    assert new.scaling_factor == (0.37 if config == "distill_decoder" else 1.0)
    card = (export / "README.md").read_text()
    assert "| started from | teacher |" in card or "| imitates | teacher |" in card
    with torch.no_grad():
        assert new.reconstruct(images).shape == images.shape
        if config == "distill_decoder":
            assert torch.equal(new.encode(images), old.encode(images))
    pixels = (images[0].permute(1, 2, 0).numpy() * 127.5 + 127.5).round().astype(np.uint8)
    codec = ldm_ae.load_codec(export)
    assert codec.decompress(codec.compress(pixels, quality=30)).shape == pixels.shape
    name = json.loads((export / "config.json").read_text())["_class_name"]
    assert name == experiment.model.diffusers_class in card


@pytest.mark.parametrize("config", CASES)
def test_a_run_that_went_on_ends_with_the_same_bits(
    config: str, overrides: list[str], tmp_path: Path
) -> None:
    def final(run: Path) -> dict[str, torch.Tensor]:
        return load_file(run / "checkpoints" / "step-00000004" / "ema.safetensors")

    runs = tmp_path / "whole", tmp_path / "cut"
    for run in runs:
        settings = [*overrides, *CASES[config], f"train.run_dir={run}"]
        train(load_experiment(config, settings))
    (runs[1] / "checkpoints" / "step-00000004").rename(tmp_path / "lost")
    train(load_experiment(config, settings), resume="latest")
    whole, cut = map(final, runs)
    assert whole.keys() == cut.keys()
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_the_decoder_starts_with_channels_of_the_teachers(
    overrides: list[str], teacher: Path
) -> None:
    model = initial_model(load_experiment("distill_decoder", [*overrides, *SMALL]))
    old = ldm_ae.load(teacher).decoder.conv_in.weight
    of_groups = old.unflatten(0, (4, 4))
    assert torch.equal(model.decoder.conv_in.weight, of_groups[:, :2].flatten(0, 1))
    assert not any(value.requires_grad for value in model.encoder.parameters())


def test_training_goes_on_from_a_distilled_decoder(overrides: list[str], tmp_path: Path) -> None:
    export = train(load_experiment("distill_decoder", [*overrides, *SMALL]))
    again = [f"model.init_from={export}", f"train.run_dir={tmp_path / 'again'}"]
    experiment = load_experiment("finetune_decoder", [*overrides, *again])
    assert experiment.model.decoder is not None
    model, before = initial_model(experiment), ldm_ae.load(export)
    for name, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_the_teacher_is_in_no_checkpoint_and_does_not_move(
    overrides: list[str], tmp_path: Path
) -> None:
    experiment = load_experiment("distill_tiny", [*overrides, *TINY])
    state = build_state(experiment, make_accelerator(experiment.train, tmp_path))
    teacher = state.generator.module.teacher
    assert teacher is not None and teacher.model.scaling_factor == 0.37
    moved = {id(p) for group in state.generator.optimizer.param_groups for p in group["params"]}
    assert moved == {id(value) for value in state.autoencoder.parameters()}
    assert not any("teacher" in name for name in state.autoencoder.state_dict())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"latent_channels": 2}, "has 2 as its latent_channels, this model 4"),
        ({"block_out_channels": [8], "down_block_types": ["DownEncoderBlock2D"],
          "up_block_types": ["UpDecoderBlock2D"]}, "list more or fewer blocks"),
    ],
)  # fmt: skip
def test_a_teacher_of_another_shape_is_named(
    changes: dict[str, object], named: str, overrides: list[str], tmp_path: Path
) -> None:
    other = save_teacher(tmp_path / "other", **changes)
    shape = [*overrides, *TINY, f"model.init_from={other}", "model.latent_channels=4"]
    experiment = load_experiment("distill_tiny", shape)
    with pytest.raises(UserError, match=named):
        build_state(experiment, make_accelerator(experiment.train, tmp_path))


def test_what_cannot_be_a_teacher_is_named(overrides: list[str], tmp_path: Path) -> None:
    diffusers.AutoencoderTiny().save_pretrained(tmp_path / "tiny")
    for config in CASES:
        with pytest.raises(UserError, match="is an AutoencoderTiny: name the AutoencoderKL"):
            load_experiment(config, [*overrides, f"model.init_from={tmp_path / 'tiny'}"])
    with pytest.raises(UserError, match="which is of kind discrete"):
        load_experiment("distill_tiny", [*overrides, "model.init_from=vq"])
    with pytest.raises(UserError, match="freeze_encoder=true needs"):
        load_experiment("distill_tiny", [*overrides, *TINY, "train.freeze_encoder=true"])


def test_a_shift_needs_the_tiny_one(overrides: list[str], tmp_path: Path) -> None:
    shifted = f"model.init_from={save_teacher(tmp_path / 'shifted', shift_factor=0.1)}"
    with pytest.raises(UserError, match="AsymmetricAutoencoderKL's config holds scaling_factor"):
        load_experiment("distill_decoder", [*overrides, *SMALL, shifted])
    experiment = load_experiment("distill_tiny", [*overrides, *TINY, shifted])
    state = build_state(experiment, make_accelerator(experiment.train, tmp_path))
    assert state.generator.module.teacher.model.shift_factor == pytest.approx(0.1)


def generator_pass(overrides: list[str], tmp_path: Path, images: torch.Tensor):
    state = build_state(
        experiment := load_experiment("distill_decoder", overrides),
        make_accelerator(experiment.train, tmp_path / "logs"),
    )
    output = state.generator.module(images, torch.arange(len(images)))
    losses = state.objective(images, output, torch.tensor(0.0), 0)
    return output, losses


def test_a_whole_copy_of_the_teacher_has_nothing_to_learn_from_its_pictures(
    overrides: list[str], teacher: Path, images: torch.Tensor, tmp_path: Path
) -> None:
    same = [*overrides, "model.decoder.channels=[8, 16]", "model.decoder.num_res_blocks=1"]
    same += ["model.decoder.mid_attention=true", "loss.grid_weight=0"]
    output, losses = generator_pass(same, tmp_path, images)
    theirs = ldm_ae.load(teacher)
    with torch.no_grad():
        torch.testing.assert_close(output.target, theirs.decode(output.latents))
    assert losses.terms["l1"] < 1e-6 and not output.target.requires_grad
    output, losses = generator_pass([*same, "loss.target=images"], tmp_path, images)
    assert output.target is None and losses.terms["l1"] > 0.01


def test_a_tiny_one_may_learn_from_pictures_too(
    overrides: list[str], teacher: Path, images: torch.Tensor, tmp_path: Path
) -> None:
    experiment = load_experiment("distill_tiny", [*overrides, *TINY, "loss.target=teacher"])
    state = build_state(experiment, make_accelerator(experiment.train, tmp_path / "logs"))
    generator, keys = state.generator.module, torch.arange(len(images))
    output, theirs = generator(images, keys), ldm_ae.load(teacher)
    with torch.no_grad():
        sample = theirs.posterior(images).sample(keys)
        torch.testing.assert_close(output.target, theirs.decode(sample))


@pytest.mark.parametrize("config", ["distill_decoder", "kl_f8_small"])
def test_pictures_of_a_teacher_need_one(config: str, overrides: list[str], tmp_path: Path) -> None:
    asked = [*overrides, "train.freeze_encoder=false", "loss.target=teacher"]
    asked = [each for each in asked if config == "distill_decoder" or "init_from" not in each]
    shape = SMALL if config == "distill_decoder" else ["model.coder.channels=[4, 8]"]
    experiment = load_experiment(config, [*asked, *shape])
    with pytest.raises(UserError, match=r"loss.target=teacher: a teacher is model.init_from"):
        build_state(experiment, make_accelerator(experiment.train, tmp_path / "logs"))
