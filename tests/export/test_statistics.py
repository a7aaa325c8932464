import json

import numpy as np
import pytest
import torch

from ldm_ae.export.statistics import StreamingMoments, measure_latents
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.quantizers.gumbel import GumbelConfig
from ldm_ae.quantizers.vq import VQConfig


def test_moments_equal_numpy_over_all_batches():
    # An offset of 1e4 with a spread of 1: a running sum of squares in fp32 would lose all digits.
    batches = [torch.randn(n, 3, 5, 7, dtype=torch.float64) + 1e4 for n in (1, 4, 2)]
    moments = StreamingMoments(3)
    for batch in batches:
        moments.update(batch)
    everything = np.concatenate([b.numpy() for b in batches]).transpose(1, 0, 2, 3).reshape(3, -1)
    assert moments.count == everything.shape[1]
    np.testing.assert_allclose(moments.mean, everything.mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(moments.variance, everything.var(axis=1), rtol=1e-9)


def test_kl_scaling_factor_is_of_the_sampled_posterior(make_model, tiny_coder, images):
    model = make_model(KLConfig(coder=tiny_coder, latent_channels=4))
    with torch.no_grad():
        model.quant_conv.bias[4:] = torch.tensor([-1.0, 0.0, 1.0, -6.0])
    statistics = measure_latents(model, images.split(1))
    with torch.no_grad():
        posterior = model.posterior(images)
    torch.manual_seed(0)
    samples = torch.stack([posterior.sample() for _ in range(100)]).double()
    assert statistics.scaling_factor == pytest.approx(1 / float(samples.std()), rel=5e-3)
    assert statistics.std > 1.05 * float(posterior.mean.std())
    np.testing.assert_allclose(statistics.channel_std, samples.std(dim=(0, 1, 3, 4)), rtol=1e-2)
    np.testing.assert_allclose(statistics.posterior_std, posterior.std.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(statistics.kl_nats, posterior.kl().mean((0, 2, 3)), rtol=1e-5)


def test_constant_channels_are_not_active(make_model, tiny_coder, images):
    model = make_model(KLConfig(coder=tiny_coder, latent_channels=4))
    with torch.no_grad():
        model.quant_conv.weight[:4] *= 30
        model.quant_conv.weight[1] = 0
    assert measure_latents(model, [images]).active_channels == 3


@pytest.mark.parametrize(
    "config",
    [
        PlainConfig(latent_channels=4),
        DiscreteConfig(latent_channels=4, code_channels=3, codebook=VQConfig(size=32)),
        DiscreteConfig(latent_channels=4, code_channels=3, codebook=GumbelConfig(size=32)),
    ],
    ids=lambda config: config.kind,
)
def test_other_families_measure_the_encoders_output(config, make_model, tiny_coder, images):
    model = make_model(type(config)(**{**vars(config), "coder": tiny_coder}))
    statistics = measure_latents(model, images.split(1))
    with torch.no_grad():
        latents = model.encode(images).double()
    assert statistics.std == pytest.approx(float(latents.std(correction=0)), rel=1e-6)
    np.testing.assert_allclose(statistics.channel_mean, latents.mean((0, 2, 3)), rtol=1e-5)
    assert statistics.posterior_std is None
    if config.kind == "plain":
        assert statistics.codebook is None
    else:
        assert statistics.codebook.num_tokens == latents[:, 0].numel()
        used = len(model.encode_indices(images).unique())
        assert statistics.codebook.share == used / 32
    assert json.loads(statistics.to_json())["scaling_factor"] == statistics.scaling_factor


def test_no_images_and_broken_weights_are_errors(make_model, tiny_coder, images):
    model = make_model(PlainConfig(coder=tiny_coder))
    with pytest.raises(ValueError, match="no training image"):
        measure_latents(model, [])
    model.quant_conv.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="weights are broken"):
        measure_latents(model, [images])
