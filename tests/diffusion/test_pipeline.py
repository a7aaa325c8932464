"""What is drawn of a pipeline, whatever its classes are called and its autoencoder decodes."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from ldm_ae.data.images import to_uint8
from ldm_ae.diffusion.config import DenoiserConfig, SamplingConfig
from ldm_ae.diffusion.denoiser import EMPTY_CLASS, build_denoiser
from ldm_ae.diffusion.pipeline import make_pipeline, sample, sample_grid, save_pipeline
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig, DecoderConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.tiny import TinyConfig

# diffusers' solver turns tensors into arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TWICE = SamplingConfig(num_steps=2, rows=3)


def pipeline_of(names=("cat", "dog"), model=None, image_channels: int = 3):
    """Of 8 x 8 pixels, with latents of 4 x 4."""
    coder = CoderConfig(image_channels, channels=(8, 16), num_res_blocks=1, norm_groups=4)
    network = build_denoiser(DenoiserConfig(1, 2, 8), (4, 4, 4))
    return make_pipeline(network, build_model(model or KLConfig(coder=coder)).eval(), names)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The classes that denoisers were asked for."""
    found: set[int] = set()
    forward = diffusers.DiTTransformer2DModel.forward

    def noting(self, *args, class_labels, **kwargs):
        found.update(class_labels.tolist())
        return forward(self, *args, class_labels=class_labels, **kwargs)

    monkeypatch.setattr(diffusers.DiTTransformer2DModel, "forward", noting)
    return found


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_whoever_knows_the_velocity_is_led_to_the_picture(
    guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what training calls time and velocity, and the scaling, the solver's are the same."""
    pipeline = pipeline_of()
    pipeline.vae.register_to_config(scaling_factor=0.4)
    x = torch.randn(4, 4, 4)

    def known(self, noisy, timestep, class_labels):
        t = (timestep / 1000)[:, None, None, None]
        return type("Output", (), {"sample": (noisy - x) / t})

    monkeypatch.setattr(diffusers.DiTTransformer2DModel, "forward", known)
    (drawn,) = sample(pipeline, [1], SamplingConfig(num_steps=20, guidance=guidance), 0)
    with torch.no_grad():
        wanted = to_uint8(pipeline.vae.decode(x[None] / 0.4).sample)[0].permute(1, 2, 0)
    assert np.abs(drawn.astype(int) - wanted.numpy()).max() <= 2


def test_a_name_with_commas_is_one_class(asked: set[int]) -> None:
    """DiTPipeline has three labels then, of two classes: a third was never learned."""
    pipeline = pipeline_of(["cat, tabby", "dog"])
    assert len(pipeline.labels) == 3
    assert sample_grid(pipeline, TWICE, 0).shape == (3 * 8, 2 * 8, 3)
    assert asked == {0, 1, EMPTY_CLASS}


def test_a_single_class_is_not_guided(asked: set[int]) -> None:
    pipeline = pipeline_of(["image"])
    assert sample_grid(pipeline, TWICE, 0).shape == (3 * 8, 10 * 8, 3)
    assert asked == {0}


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_samples_are_shown_in_rgb(channels: int) -> None:
    pipeline = pipeline_of(image_channels=channels)
    grid = sample_grid(pipeline, TWICE, 0)
    assert grid.shape == (24, 16, 3)
    (first,) = sample(pipeline, [0], TWICE, 0)
    assert first.shape == (8, 8, channels)
    assert np.array_equal(grid[:8, :8], first[..., :3] if channels == 4 else first.repeat(3, -1))


@pytest.mark.parametrize(
    "model",
    [
        KLConfig(
            coder=CoderConfig(channels=(8, 16), num_res_blocks=1, norm_groups=4),
            decoder=DecoderConfig((4, 8)),
        ),
        TinyConfig(encoder_width=4, encoder_blocks=(1, 1), decoder_width=4, decoder_blocks=(1, 1)),
    ],
    ids=lambda model: model.kind,
)
def test_a_small_decoder_comes_back_without_a_complaint(model, tmp_path: Path, caplog) -> None:
    pipeline = pipeline_of(model=model)
    save_pipeline(pipeline, tmp_path / "pipeline")
    diffusers.logging.enable_propagation()
    try:
        back = diffusers.DiTPipeline.from_pretrained(tmp_path / "pipeline")
    finally:
        diffusers.logging.disable_propagation()
    assert "not expected" not in caplog.text
    latents = torch.randn(1, 4, 4, 4)
    with torch.no_grad():
        ours, theirs = (each.vae.decode(latents).sample for each in (pipeline, back))
    assert torch.equal(ours, theirs)
