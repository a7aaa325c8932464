"""Training on transformed latents: what is decoded, and what it is compared with."""

import pytest
import torch

from ldm_ae.losses.equivariance import draw_transform
from ldm_ae.train import steps
from ldm_ae.train.steps import noise_keys, train_step

ALWAYS = "loss.equivariance={probability: 1.0}"
GAN = "loss.adversarial={weight: 0.5, start_step: 0, num_layers: 2, base_channels: 8}"


def test_the_loss_compares_the_transformed_pair(make_state, make_batch) -> None:
    state, batch = make_state(ALWAYS, "train.seed=3"), make_batch(2)
    transform = draw_transform(state.objective.config.equivariance, 3, 1)
    with torch.no_grad():
        latents = state.generator.module(batch.images, noise_keys(batch.keys, 3)).latents
        decoded = state.autoencoder.decode(transform.latents(latents))
    expected = (decoded - transform.images(batch.images, 2)).abs().mean()
    terms = train_step(state, [batch], 1)
    assert terms["l1"] == pytest.approx(float(expected), rel=1e-5)
    assert float(terms["equivariance"]) == 1


def test_the_discriminator_sees_the_same_pair(make_state, make_batch, monkeypatch) -> None:
    state = make_state("loss.equivariance={probability: 1.0, min_scale: 0.8}", GAN)
    seen = []
    monkeypatch.setattr(
        steps, "discriminator_step", lambda _, real, fake: seen.extend([real, fake]) or {}
    )
    train_step(state, [make_batch(2)], 4)
    (real,), (fake,) = seen
    transform = draw_transform(state.objective.config.equivariance, 0, 4)
    assert fake.shape == real.images.shape != (2, 3, 16, 16)
    assert torch.equal(real.images, transform.images(make_batch(2).images, 2))


def test_accumulation_equals_the_larger_batch(make_state, make_batch, flat, float64) -> None:
    one, two = (make_state(ALWAYS) for _ in range(2))
    for step in range(2):
        train_step(one, [make_batch(4)], step)
        train_step(two, [make_batch(2), make_batch(2, first=2)], step)
    torch.testing.assert_close(
        flat(one.generator.module), flat(two.generator.module), atol=1e-9, rtol=0
    )


def test_off_transforms_nothing(make_state, make_batch, monkeypatch) -> None:
    state, given = make_state(), []
    forward = state.autoencoder.forward
    monkeypatch.setattr(state.autoencoder, "forward", lambda *a: given.append(a) or forward(*a))
    terms = train_step(state, [make_batch(2)], 0)
    assert [len(arguments) for arguments in given] == [2]  # images and keys
    assert "equivariance" not in terms


def test_a_codebook_and_images_too_small_are_refused(make_experiment) -> None:
    vq = (
        "model={kind: vq, latent_channels: 2, coder: {channels: [8, 8], num_res_blocks: 1,"
        " mid_attention: false, norm_groups: 4}, codebook: {size: 8}}"
    )
    with pytest.raises(ValueError, match="model.kind=discrete: only latents without a codebook"):
        make_experiment(vq, ALWAYS)
    with pytest.raises(ValueError, match="data.size=16, 4 after .* is too small for a discrim"):
        make_experiment(ALWAYS, GAN)
    with pytest.raises(ValueError, match="is too small for the pixel terms"):
        make_experiment(ALWAYS, "loss.multi_scale_weight=1")
