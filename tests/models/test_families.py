"""What holds for every family: shapes, odd sizes, determinism, gradients to every parameter."""

import copy

import pytest
import torch

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import ModelConfig, build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.dvae import DVAEConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.models.vq import VQConfig
from ldm_ae.quantizers.codebook import CodebookConfig
from ldm_ae.quantizers.gumbel import GumbelConfig

CODER = CoderConfig(channels=(8, 8, 16), num_res_blocks=1, norm_groups=4)
CONFIGS: dict[str, ModelConfig] = {
    "kl": KLConfig(coder=CODER),
    "kl without quant convs": KLConfig(coder=CODER, quant_conv=False),
    "kl of fixed variance": KLConfig(coder=CODER, posterior="fixed", fixed_std=0.5),
    "plain": PlainConfig(coder=CODER),
    "vq": VQConfig(coder=CODER, codebook=CodebookConfig(size=16, update="gradient")),
    "vq with longer codes": VQConfig(coder=CODER, code_channels=6),
    "vq on the sphere": VQConfig(coder=CODER, codebook=CodebookConfig(size=16, l2_normalize=True)),
    "dvae": DVAEConfig(coder=CODER, latent_channels=6, codebook=GumbelConfig(size=16)),
    "dvae with scale": DVAEConfig(coder=CODER, codebook=GumbelConfig(16), predict_scale=True),
}


@pytest.fixture(params=CONFIGS, ids=str)
def model(request: pytest.FixtureRequest) -> Autoencoder:
    return build_model(CONFIGS[request.param])


def test_training_pass_reaches_every_trained_parameter(model: Autoencoder) -> None:
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    output = model(images, torch.tensor([3, 4]))
    assert output.images.shape == images.shape
    assert output.latents.shape[2:] == (4, 6)
    loss = output.images.square().mean() + sum(output.penalties.values())
    if output.log_scale is not None:
        assert output.log_scale.shape == images.shape
        loss = loss + output.log_scale.square().mean()
    loss.backward()
    untouched = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert untouched == []


def test_keys_decide_the_noise(model: Autoencoder) -> None:
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    keys = torch.tensor([3, 4])
    model(images)  # codebooks start on their first batch, and move with each
    first = copy.deepcopy(model)(images, keys).images
    swapped = copy.deepcopy(model)(images.flip(0), keys.flip(0)).images
    torch.testing.assert_close(first, swapped.flip(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 21), (16, 16)])
def test_reconstruct_takes_any_size(model: Autoencoder, size: tuple[int, int]) -> None:
    images = torch.rand(1, 3, *size) * 2 - 1
    model.eval()
    with torch.no_grad():
        assert model.reconstruct(images).shape == images.shape
        assert torch.equal(model.reconstruct(images), model.reconstruct(images))


def test_reconstruct_is_decode_of_encode(model: Autoencoder) -> None:
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model.decode(model.encode(images)), model.reconstruct(images))


def test_indivisible_size_and_wrong_channels_are_named(model: Autoencoder) -> None:
    with pytest.raises(ValueError, match="18x16 is not divisible by the downsampling factor 4"):
        model.encode(torch.zeros(1, 3, 18, 16))
    with pytest.raises(ValueError, match="images have 1 channels, this model takes 3"):
        model.encode(torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize("name", ["vq", "vq with longer codes", "vq on the sphere", "dvae"])
def test_indices_are_the_whole_of_the_code(name: str) -> None:
    model = build_model(CONFIGS[name]).eval()
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        indices = model.encode_indices(images)
        assert indices.shape == (2, 4, 6) and indices.dtype == torch.int64
        torch.testing.assert_close(model.decode_indices(indices), model.reconstruct(images))
        codes = model.quantize.lookup(indices)
        assert torch.equal(model.quantize.indices(codes), indices)


def test_indices_outside_the_codebook_are_named() -> None:
    model = build_model(CONFIGS["vq"])
    with pytest.raises(ValueError, match=r"\[0, 16\], the codebook has 16 codes: use 0 to 15"):
        model.decode_indices(torch.tensor([[[0, 16]]]))


def test_plain_posterior_has_the_least_variance() -> None:
    posterior = build_model(CONFIGS["plain"]).posterior(torch.zeros(1, 3, 8, 8))
    assert float(posterior.logvar.max()) == -30.0


def test_regularised_elements_per_image_value() -> None:
    assert build_model(CONFIGS["kl"]).regularized_per_value == 4 / (3 * 16)
    assert build_model(CONFIGS["dvae"]).regularized_per_value == 1 / (3 * 16)


@pytest.mark.parametrize("name", ["kl", "kl without quant convs"])
def test_kl_starts_with_little_noise(name: str) -> None:
    posterior = build_model(CONFIGS[name]).posterior(torch.rand(1, 3, 16, 16))
    assert float(posterior.logvar.detach().mean()) < -4
    assert abs(float(posterior.mean.detach().mean())) < 1


@pytest.mark.parametrize("name", ["kl", "plain"])
def test_latents_are_transformed_before_they_are_decoded(name: str) -> None:
    model = build_model(CONFIGS[name]).eval()
    images, keys = torch.rand(1, 3, 16, 24) * 2 - 1, torch.tensor([5])
    with torch.no_grad():
        plain = model(images, keys)
        turned = model(images, keys, lambda latents: torch.rot90(latents, 1, (2, 3)))
        assert torch.equal(turned.latents, plain.latents)
        expected = model.decode(torch.rot90(plain.latents, 1, (2, 3)))
    assert turned.images.shape == (1, 3, 24, 16)
    torch.testing.assert_close(turned.images, expected)
