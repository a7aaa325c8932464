import pytest
import torch

from ldm_ae.models.kl import KLAutoencoder, KLConfig
from ldm_ae.models.plain import PlainAutoencoder, PlainConfig
from ldm_ae.models.rate import RateConfig


@pytest.mark.parametrize("quant_conv", [True, False])
def test_new_channels_leave_pictures_and_old_channels_as_they_were(
    quant_conv: bool, tiny_coder
) -> None:
    source = KLAutoencoder(KLConfig(coder=tiny_coder, latent_channels=3, quant_conv=quant_conv))
    settings = PlainConfig(
        coder=tiny_coder, latent_channels=5, quant_conv=quant_conv, rate=RateConfig(width=8)
    )
    wide = PlainAutoencoder(settings)
    wide.load_pretrained(source.state_dict())
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    latents = wide.encode(images)
    torch.testing.assert_close(latents[:, :3], source.encode(images), rtol=1e-4, atol=1e-5)
    assert (latents[:, 3:].std((0, 2, 3)) > 0.01).all()
    torch.testing.assert_close(
        wide.decode(latents), source.decode(latents[:, :3]), rtol=1e-4, atol=1e-5
    )
    wide.decode(latents).square().mean().backward()
    assert (wide.decoder.conv_in.weight.grad[:, 3:].abs().amax((0, 2, 3)) > 0).all()
