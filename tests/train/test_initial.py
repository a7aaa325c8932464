"""Starting from a model that exists: its settings, its weights, its frozen encoder."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file

import ldm_ae
from ldm_ae import config
from ldm_ae.data.images import to_float
from ldm_ae.data.opening import open_data
from ldm_ae.data.validation import validation_images
from ldm_ae.metrics.panel import evaluate, mean_scores, open_panel
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.build import build_state
from ldm_ae.train.initial import about_latents, initial_model, load_experiment
from ldm_ae.train.loop import train

SHIPPED = "finetune_decoder"
TINY = [
    "data.size=16",
    "data.num_workers=0",
    "data.validation_count=2",
    "loss.perceptual={net: none}",
    "loss.perceptual_weight=0",
    "train.steps=50",
    "train.optimizer=muon",
    "train.batch_size=4",
    "train.warmup_steps=2",
    "train.lr=3e-3",
    "train.validate_every=50",
    "train.checkpoint_every=50",
    "train.ema_decay=0.5",
    "train.precision=fp32",
    "train.kernels=plain",
    "train.device=cpu",
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model of random weights with every kind of scaling."""
    torch.manual_seed(3)
    model = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 16],
        norm_num_groups=4,
        mid_block_add_attention=False,
        scaling_factor=0.37,
        shift_factor=0.1,
        latents_mean=[0.1, 0.2, 0.3, 0.4],
        latents_std=[1.1, 1.2, 1.3, 1.4],
    )
    model.save_pretrained(tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def overrides(source: Path, photos: Path, tmp_path: Path) -> list[str]:
    paths = [
        f"model.init_from={source}",
        f"data.path={photos}",
        f"train.run_dir={tmp_path / 'run'}",
    ]
    return [*TINY, *paths]


def encoder_of(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v for k, v in state.items() if k.startswith(("encoder.", "quant_conv."))}


def test_the_model_is_that_of_the_folder(overrides: list[str], source: Path) -> None:
    experiment = load_experiment(SHIPPED, overrides)
    assert experiment.model.coder.channels == (8, 16)
    assert experiment.model.init_from == str(source)
    assert experiment.scaling.latents_std == (1.1, 1.2, 1.3, 1.4)
    model, expected = initial_model(experiment), ldm_ae.load(source).state_dict()
    assert all(torch.equal(value, expected[k]) for k, value in model.state_dict().items())
    whole = load_experiment(SHIPPED, [*overrides, "train.freeze_encoder=no"])
    assert whole.scaling is None
    assert all(p.requires_grad for p in initial_model(whole).parameters())


def test_a_plain_model_starts_from_the_posteriors_mean(overrides: list[str], source: Path) -> None:
    """Its rate's prior, which no folder holds, starts at random."""
    plain = f"model={{kind: plain, init_from: {source}, rate: {{width: 8}}}}"
    experiment = load_experiment(SHIPPED, [*overrides, plain, "train.freeze_encoder=no"])
    assert experiment.model.kind == "plain" and experiment.model.coder.channels == (8, 16)
    ours, theirs = initial_model(experiment).eval(), ldm_ae.load(source)
    images = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(images), theirs.encode(images))
        torch.testing.assert_close(ours.reconstruct(images), theirs.reconstruct(images))


def test_a_deeper_model_starts_with_the_same_pictures(overrides: list[str], source: Path) -> None:
    deeper = [*overrides, "train.freeze_encoder=no", "model.coder.num_res_blocks=2"]
    ours = initial_model(load_experiment(SHIPPED, deeper)).eval()
    theirs = ldm_ae.load(source)
    assert len(ours.state_dict()) > len(theirs.state_dict())
    images = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(ours.reconstruct(images), theirs.reconstruct(images))


def test_settings_that_disagree_are_named_together(overrides: list[str]) -> None:
    wrong = ["model.latent_channels=8", "model.coder={channels: [8, 32]}"]
    with pytest.raises(ValueError, match=r"has another model: model\.coder\.channels") as caught:
        load_experiment(SHIPPED, [*overrides, *wrong])
    assert "model.latent_channels=8 instead of 4" in str(caught.value)
    same = load_experiment(SHIPPED, [*overrides, "model.latent_channels=4"])
    assert initial_model(same).latent_channels == 4


@pytest.mark.parametrize("name", ["kl_f8_small", "rate_f8_small", "vq_f8_small"])
def test_a_config_of_another_shape_takes_that_of_the_source(
    name: str, overrides: list[str], source: Path, tmp_path: Path
) -> None:
    experiment = load_experiment(name, [*overrides, "model.coder.gradient_checkpointing=true"])
    coder, shape = experiment.model.coder, ldm_ae.load(source).config
    assert coder.gradient_checkpointing and coder.channels == (8, 16)
    assert coder.num_res_blocks == shape.coder.num_res_blocks
    assert experiment.model.latent_channels == 4
    deeper = [*overrides, "model.coder.num_res_blocks=3"]
    assert load_experiment(name, deeper).model.coder.num_res_blocks == 3


def test_what_stands_beside_the_source_in_a_file_counts(
    overrides: list[str], tmp_path: Path
) -> None:
    """As in the config that a run keeps."""
    asked = [*overrides, "train.freeze_encoder=no", "model.coder.num_res_blocks=2"]
    kept = tmp_path / "kept.yaml"
    kept.write_text(config.dump(load_experiment(SHIPPED, asked)))
    again = load_experiment(kept, [f"model.init_from={overrides[-3].partition('=')[2]}"])
    assert again.model.coder.num_res_blocks == 2
    kept.write_text(kept.read_text().replace("- 16\n", "- 32\n"))
    with pytest.raises(ValueError, match="has another model"):
        load_experiment(kept)


def test_freezing_needs_a_model_to_start_from_and_its_scaling(
    make_experiment, overrides: list[str], source: Path
) -> None:
    with pytest.raises(ValueError, match="freeze_encoder=true needs model.init_from"):
        make_experiment("train.freeze_encoder=true")
    experiment = make_experiment(
        "train.freeze_encoder=true",
        f"model.init_from={source}",
        "model.coder.channels=[8, 16]",
        "model.latent_channels=4",
    )
    with pytest.raises(ValueError, match="freeze_encoder=true without scaling"):
        initial_model(experiment)


def test_whoever_moves_the_encoder_is_told_what_becomes_of_the_scaling(
    overrides: list[str],
) -> None:
    assert about_latents(load_experiment(SHIPPED, overrides)) is None
    whole = load_experiment(SHIPPED, [*overrides, "train.freeze_encoder=no"])
    assert "latents will not be those of source, whose scaling_factor 0.37" in about_latents(whole)
    assert about_latents(load_experiment("kl_f8_small", ["data.path=photos"])) is None


def test_the_optimizer_has_the_decoder_alone(overrides: list[str], tmp_path: Path) -> None:
    experiment = load_experiment(SHIPPED, overrides)
    state = build_state(experiment, make_accelerator(experiment.train, tmp_path))
    named = {id(value): name for name, value in state.autoencoder.named_parameters()}
    moved = {
        named[id(p)] for group in state.generator.optimizer.param_groups for p in group["params"]
    }
    assert {name.split(".")[0] for name in moved} == {"decoder", "post_quant_conv"}
    assert len(moved) + len(encoder_of(dict.fromkeys(named.values(), None))) == len(named)


def test_the_decoder_gets_better_and_latents_stay_the_same_bits(
    overrides: list[str], source: Path, tmp_path: Path
) -> None:
    # Untrained, the source's posterior is mostly noise: from its mode there is more to learn.
    experiment = load_experiment(SHIPPED, [*overrides, "model.decodes=mode"])
    export = train(experiment)
    before, after = ldm_ae.load(source), ldm_ae.load(export)
    images = [to_float(image[None]) for _, image in validation_images(open_data(experiment.data))]
    with torch.no_grad():
        for image in [*images, torch.rand(1, 3, 32, 48) * 2 - 1]:
            old, new = before.posterior(image), after.posterior(image)
            assert torch.equal(old.mean, new.mean) and torch.equal(old.logvar, new.logvar)
    scores = [
        mean_scores(evaluate(model.reconstruct, images, open_panel(["psnr"]))).values["psnr"]
        for model in (before, after)
    ]
    assert scores[1] > scores[0] + 0.7  # dB

    expected = encoder_of(before.state_dict())
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-*50")
    for name in ("model", "ema"):
        state = load_file(checkpoint / f"{name}.safetensors")
        assert all(torch.equal(value, state[key]) for key, value in expected.items())

    old, new = (json.loads((f / "config.json").read_text()) for f in (source, export))
    for key in ("scaling_factor", "shift_factor", "latents_mean", "latents_std"):
        assert new[key] == old[key] is not None
    card = (export / "README.md").read_text()
    assert "`(latents - 0.1) * 0.37`" in card
    assert "the decoder alone" in card
