import math

import pytest
import torch

from ldm_ae.quantizers.gumbel import GumbelConfig, GumbelQuantizer


def test_most_likely_code_is_the_nearest() -> None:
    codebook = GumbelQuantizer(GumbelConfig(size=32), dim=5)
    latents = torch.randn(2, 5, 6, 6)
    logits = torch.einsum("bdhw,kd->bkhw", latents, codebook.codes())
    assert torch.equal(codebook.indices(latents), logits.argmax(1))


def test_cold_relaxation_is_a_sample_of_the_softmax() -> None:
    codebook = GumbelQuantizer(GumbelConfig(size=3), dim=2)
    codebook.temperature = 1e-3
    latents = torch.tensor([0.3, -0.2]).view(1, 2, 1, 1).expand(1, 2, 200, 200)
    codes = codebook(latents, torch.tensor([0])).codes
    nearest = torch.cdist(codes.flatten(2)[0].T, codebook.codes()).argmin(1)
    shares = torch.bincount(nearest, minlength=3) / 40_000
    expected = torch.einsum("d,kd->k", torch.tensor([0.3, -0.2]), codebook.codes()).softmax(0)
    torch.testing.assert_close(shares, expected.detach(), atol=0.01, rtol=0)


@torch.no_grad()
def test_divergence_is_zero_for_uniform_and_log_k_for_certain() -> None:
    codebook = GumbelQuantizer(GumbelConfig(size=8), dim=4)
    flat = codebook(torch.zeros(1, 4, 2, 2)).penalties["kl_uniform"]
    certain = codebook(1e4 * codebook.codes()[:1].view(1, 4, 1, 1)).penalties["kl_uniform"]
    assert float(flat) == pytest.approx(0.0, abs=1e-6)
    assert float(certain) == pytest.approx(math.log(8), rel=1e-4)


def test_eval_mode_decodes_hard_codes() -> None:
    codebook = GumbelQuantizer(GumbelConfig(size=8), dim=4).eval()
    latents = torch.randn(1, 4, 3, 3)
    quantized = codebook(latents)
    assert torch.equal(quantized.codes, codebook.lookup(quantized.indices))


def test_temperature_schedule() -> None:
    config = GumbelConfig(temperature_start=1.0, temperature_end=0.5, temperature_steps=100)
    assert config.temperature(0) == 1.0
    assert config.temperature(50) == pytest.approx(0.75)
    assert config.temperature(100) == config.temperature(1000) == 0.5


def test_bad_temperature_is_named() -> None:
    with pytest.raises(ValueError, match="temperature_end=0"):
        GumbelConfig(temperature_end=0)
