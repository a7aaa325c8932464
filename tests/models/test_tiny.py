"""The tiny autoencoder and what it is taught."""

import diffusers
import pytest
import torch

from ldm_ae.errors import UserError
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.teacher import Teacher
from ldm_ae.models.tiny import TinyConfig

CONFIG = TinyConfig(
    encoder_width=6, encoder_blocks=(1, 0, 2), decoder_width=5, decoder_blocks=(2, 1, 0)
)
IMAGES = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def teacher() -> Teacher:
    coder = CoderConfig(channels=(8, 8, 8), num_res_blocks=1, norm_groups=4)
    model = build_model(KLConfig(coder=coder)).eval()
    model.scaling_factor, model.shift_factor = 0.3, 0.5
    return Teacher(model)  # type: ignore[arg-type]


def test_by_default_it_is_taesd() -> None:
    with torch.device("meta"):
        ours, theirs = build_model(TinyConfig()), diffusers.AutoencoderTiny()
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes
    assert sum(value.numel() for value in ours.parameters()) == 2_445_063


@torch.no_grad()
def test_the_decoder_is_given_what_lies_within_3() -> None:
    model = build_model(CONFIG).eval()
    far = torch.full((1, 4, 3, 3), 40.0)
    torch.testing.assert_close(model.decode(far), model.decode(100 * far))


@torch.no_grad()
def test_a_lesson_is_in_scaled_latents() -> None:
    source = teacher()
    lesson = source(IMAGES, torch.tensor([1, 2]))
    posterior = source.model.posterior(IMAGES)
    torch.testing.assert_close(lesson.mode, (posterior.mean - 0.5) * 0.3)
    sample = posterior.sample(torch.tensor([1, 2]))
    torch.testing.assert_close(lesson.latents, (sample - 0.5) * 0.3)


def test_both_coders_learn_from_the_lesson_and_the_teacher_does_not() -> None:
    source, model = teacher(), build_model(CONFIG)
    lesson = source(IMAGES, None)
    output = model(IMAGES, None, lesson)
    torch.testing.assert_close(output.images, model.decode(lesson.latents))
    distance = (model.encode(IMAGES) - lesson.mode).square().mean()
    torch.testing.assert_close(output.penalties["latents"], distance)
    output.images.square().mean().backward()
    assert all(value.grad is None for value in model.encoder.parameters())
    model(IMAGES, None, lesson).penalties["latents"].backward()
    assert all(value.grad is not None for value in model.parameters())
    assert not any(value.requires_grad for value in source.parameters())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"encoder_blocks": (1, 1)}, "list as many numbers in both"),
        ({"encoder_blocks": (), "decoder_blocks": ()}, "list as many numbers in both"),
        ({"decoder_blocks": (1, 1, -1, 1)}, "none below 0"),
        ({"encoder_width": 0}, "model.encoder_width=0"),
        ({"image_channels": 2}, "model.image_channels=2"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        TinyConfig(**settings)  # type: ignore[arg-type]
