"""What holds for every kind of codebook in `quantizers.build`, with its default settings."""

import diffusers
import numpy as np
import pytest
import torch

import ldm_ae
from ldm_ae.codec.codec import Codec
from ldm_ae.codec.digest import model_digest
from ldm_ae.codec.fitting.fit import fit_prior
from ldm_ae.convert.agreement import compare
from ldm_ae.export.export import export
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteAutoencoder, DiscreteConfig
from ldm_ae.quantizers.base import Quantizer, QuantizerConfig
from ldm_ae.quantizers.build import QUANTIZERS, build_quantizer

CODER = CoderConfig(channels=(8, 16), num_res_blocks=1, norm_groups=4)  # f2


@pytest.fixture(params=QUANTIZERS, ids=lambda kind: kind.kind)
def config(request: pytest.FixtureRequest) -> QuantizerConfig:
    return request.param()


@pytest.fixture
def quantizer(config: QuantizerConfig) -> Quantizer:
    """In eval mode and float64, with codes of about unit size."""
    made = build_quantizer(config, config.dim or 4).double().eval()
    for parameter in made.parameters():
        parameter.data.normal_()
    return made


@pytest.fixture
def model(config: QuantizerConfig) -> DiscreteAutoencoder:
    built = build_model(DiscreteConfig(coder=CODER, codebook=config))
    built(torch.rand(2, 3, 32, 32) * 2 - 1)  # codes that start on the first batch do so
    return built.eval()


def latents_for(quantizer: Quantizer, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(2, quantizer.codes().shape[1], 9, 7, dtype=torch.float64)


@torch.no_grad()
def test_the_table_is_the_lookup_and_each_code_its_own(quantizer: Quantizer) -> None:
    codes = quantizer.codes()
    assert len(codes) == quantizer.num_codes
    every = torch.arange(len(codes)).view(1, 1, -1)
    assert torch.equal(quantizer.lookup(every)[0, :, 0].T, codes)
    assert torch.equal(quantizer.indices(codes.T[None, :, None]), every)


@torch.no_grad()
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_chosen_code_is_the_nearest_to_the_latent(quantizer: Quantizer, scale: float) -> None:
    latents = latents_for(quantizer, scale)
    codes, chosen = quantizer.codes(), quantizer.indices(latents)
    rows = latents.permute(0, 2, 3, 1)
    distances = (rows[..., None, :] - codes).square().sum(-1)
    found = distances.gather(3, chosen[..., None])[..., 0]
    assert float((found - distances.min(3).values).max()) <= 1e-12 * scale**2
    assert torch.equal(quantizer(latents).indices, chosen)
    torch.testing.assert_close(quantizer(latents).codes, quantizer.lookup(chosen).double())


def test_training_reaches_latents_and_codes_in_full_precision(config: QuantizerConfig) -> None:
    quantizer = build_quantizer(config, config.dim or 4)
    latents = torch.randn(2, config.dim or 4, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantized = quantizer(latents, torch.tensor([1, 2]))
    loss = (quantized.codes * torch.randn(latents.shape)).sum() + sum(quantized.penalties.values())
    loss.backward()
    assert {quantized.codes.dtype, loss.dtype} == {torch.float32}
    assert latents.grad is not None and latents.grad.abs().sum() > 0
    assert all(p.grad is not None for p in quantizer.parameters() if p.requires_grad)


@torch.no_grad()
def test_its_export_chooses_and_decodes_the_same(model, images, tmp_path) -> None:
    export(model, tmp_path / "out", batches=[images], sample_size=32, resolved_config="", card={})
    agreement = compare(model, diffusers.VQModel.from_pretrained(tmp_path / "out"), [images])
    assert max(agreement.encode, agreement.decode) <= 1e-4
    assert agreement.num_ties <= agreement.num_tokens / 1000
    codec = ldm_ae.load_codec(tmp_path / "out")
    assert codec.digest == model_digest(model, codec.prior)
    loaded = codec.model
    indices = model.encode_indices(images)
    assert float((loaded.encode_indices(images) == indices).float().mean()) >= 0.999
    decoded, expected = loaded.decode_indices(indices), model.decode_indices(indices)
    torch.testing.assert_close(decoded, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["factorised", "context"])
def test_its_indices_come_back_from_a_file(model, images, kind: str) -> None:
    assert model.quantizer is not None
    with torch.no_grad():
        samples = list(model.encode_indices(images).numpy())
        codes = model.quantizer.codes().numpy()
    codec = Codec(model, fit_prior(samples, kind, codes=codes, steps=2))
    picture = ((images[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)[:31, :45]
    data = codec.compress(picture)
    assert np.array_equal(codec.unpack(data).symbols, codec.encode(picture).content)
    assert codec.decompress(data).shape == picture.shape
