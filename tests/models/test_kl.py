import math

import pytest
import torch

from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig

CODER = CoderConfig(channels=(8, 8), num_res_blocks=1, norm_groups=4)
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_fixed_variance_is_that_everywhere_and_its_kl_pulls_on_the_means_alone() -> None:
    model = build_model(KLConfig(coder=CODER, posterior="fixed", fixed_std=0.5))
    posterior = model.posterior(IMAGES)
    assert posterior.std.detach().unique().tolist() == [0.5]
    constant = 0.5 * (0.25 - 1 - math.log(0.25))
    kl = model(IMAGES).penalties["kl"]
    torch.testing.assert_close(kl, posterior.mean.square().mean() / 2 + constant)
    kl.backward()
    assert float(model.encoder.conv_in.weight.grad.abs().max()) > 0
    noise = model(IMAGES).latents - posterior.mean
    assert float(noise.detach().std()) == pytest.approx(0.5, rel=0.15)


def test_the_encoder_of_fixed_variance_gives_no_variance() -> None:
    model = build_model(KLConfig(coder=CODER, posterior="fixed"))
    assert model.encoder.conv_out.out_channels == model.quant_conv.out_channels == 4


@pytest.mark.parametrize("decodes", ["sample", "mode"])
def test_the_decoder_is_given_what_the_config_says(decodes: str) -> None:
    model = build_model(KLConfig(coder=CODER, decodes=decodes, initial_logvar=0.0)).eval()
    with torch.no_grad():
        output = model(IMAGES)
        is_mode = torch.equal(output.latents, model.encode(IMAGES))
        assert is_mode is (decodes == "mode")
        torch.testing.assert_close(output.images, model.decode(output.latents))


@pytest.mark.parametrize("std", [0.0, -1.0, 1e-8, 1e5])
def test_impossible_deviations_are_named(std: float) -> None:
    with pytest.raises(ValueError, match="model.fixed_std="):
        KLConfig(coder=CODER, posterior="fixed", fixed_std=std)


def test_fixed_variance_cannot_start_from_an_autoencoder_kl() -> None:
    with pytest.raises(ValueError, match="model.posterior=fixed with model.init_from"):
        KLConfig(coder=CODER, posterior="fixed", init_from="somewhere")
