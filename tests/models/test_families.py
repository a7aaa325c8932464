"""What holds for every family: shapes, odd sizes, determinism, gradients to every parameter."""

import copy

import pytest
import torch

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import ModelConfig, build_model
from ldm_ae.models.coders import CoderConfig, DecoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.models.tiny import TinyConfig
from ldm_ae.quantizers.gumbel import GumbelConfig
from ldm_ae.quantizers.vq import VQConfig

CODER = CoderConfig(channels=(8, 8, 16), num_res_blocks=1, norm_groups=4)
CONFIGS: dict[str, ModelConfig] = {
    "kl": KLConfig(coder=CODER),
    "kl without quant convs": KLConfig(coder=CODER, quant_conv=False),
    "kl of fixed variance": KLConfig(coder=CODER, posterior="fixed", fixed_std=0.5),
    "kl with a decoder of its own": KLConfig(
        coder=CODER, decoder=DecoderConfig((4, 8, 8), num_res_blocks=0, mid_attention=True)
    ),
    "tiny": TinyConfig(
        encoder_width=6, encoder_blocks=(1, 0, 2), decoder_width=5, decoder_blocks=(1, 2, 1)
    ),
    "plain": PlainConfig(coder=CODER),
    "vq": DiscreteConfig(coder=CODER, codebook=VQConfig(size=16, update="gradient")),
    "vq with longer codes": DiscreteConfig(coder=CODER, code_channels=6),
    "vq on the sphere": DiscreteConfig(coder=CODER, codebook=VQConfig(size=16, l2_normalize=True)),
    "dvae": DiscreteConfig(coder=CODER, latent_channels=6, codebook=GumbelConfig(size=16)),
    "dvae with scale": DiscreteConfig(
        coder=CODER, codebook=GumbelConfig(size=16), predict_scale=True
    ),
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


NOISY = (
    "kl",
    "kl with a decoder of its own",
    "kl without quant convs",
    "kl of fixed variance",
    "dvae",
    "dvae with scale",
)


@pytest.mark.parametrize("name", CONFIGS)
def test_keys_decide_the_noise_of_an_image(name: str) -> None:
    model = build_model(CONFIGS[name]).double()
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    model(images)  # codebooks start on their first batch, and move with each

    def output(first: int, second: int) -> torch.Tensor:
        """Of a copy in the same state, for these images with their keys."""
        keys = torch.tensor([3, 4, 5])[[first, second]]
        return copy.deepcopy(model)(images[[first % 2, second % 2]], keys).images

    both = output(0, 1)
    torch.testing.assert_close(output(1, 0).flip(0), both)
    other = output(2, 1)  # the first image with another key
    torch.testing.assert_close(other[1], both[1])
    assert torch.allclose(other[0], both[0]) == (name not in NOISY)


@pytest.mark.parametrize("size", [(1, 1), (7, 21), (16, 16)])
def test_reconstruct_takes_any_size(model: Autoencoder, size: tuple[int, int]) -> None:
    images = torch.rand(1, 3, *size) * 2 - 1
    model.eval()
    with torch.no_grad():
        assert model.reconstruct(images).shape == images.shape
        assert torch.equal(model.reconstruct(images), model.reconstruct(images))


def test_reconstruct_repeats_the_edges(model: Autoencoder) -> None:
    images = torch.rand(1, 3, 13, 10) * 2 - 1
    rows, columns = torch.arange(16).clamp(max=12), torch.arange(12).clamp(max=9)
    model.eval()
    with torch.no_grad():
        whole = model.decode(model.encode(images[:, :, rows][..., columns]))
        assert torch.equal(model.reconstruct(images), whole[..., :13, :10])


@pytest.mark.parametrize(
    "name", ["plain", "tiny", "vq", "vq on the sphere", "dvae", "dvae with scale"]
)
def test_without_noise_training_decodes_what_reconstruct_does(name: str) -> None:
    model = build_model(CONFIGS[name]).double()
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    model(images)  # codebooks start on their first batch
    with torch.no_grad():
        model.eval()
        torch.testing.assert_close(model(images).images, model.reconstruct(images))


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


def test_a_model_without_a_codebook_has_no_indices() -> None:
    model = build_model(CONFIGS["plain"])
    assert model.quantizer is None
    with pytest.raises(ValueError, match="of kind plain has no codebook: use encode"):
        model.encode_indices(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="of kind plain has no codebook: use decode"):
        model.decode_indices(torch.zeros(1, 2, 2, dtype=torch.int64))


def test_regularised_elements_per_image_value() -> None:
    assert build_model(CONFIGS["kl"]).regularized_per_value == 4 / (3 * 16)
    assert build_model(CONFIGS["dvae"]).regularized_per_value == 1 / (3 * 16)


@pytest.mark.parametrize("name", ["kl", "kl without quant convs"])
def test_kl_starts_with_little_noise(name: str) -> None:
    posterior = build_model(CONFIGS[name]).posterior(torch.rand(1, 3, 16, 16))
    assert float(posterior.logvar.detach().mean()) < -4
    assert abs(float(posterior.mean.detach().mean())) < 1
