import pytest
import torch

from ldm_ae.losses.adversarial import AdversarialConfig
from ldm_ae.losses.critic import build_critic
from ldm_ae.losses.perceptual import PerceptualConfig, build_perceptual

CONFIG = AdversarialConfig(weight=1, discriminator="features", base_channels=8)


def test_heads_learn_and_the_network_under_them_does_not() -> None:
    perceptual = build_perceptual(PerceptualConfig(net="embedded"))
    critic = build_critic(CONFIG, 3, perceptual)
    assert not any("perceptual" in name for name in critic.state_dict())
    assert not any("perceptual" in name for name, _ in critic.named_parameters())
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    logits = critic(images)
    assert len(logits) == len(perceptual.network.level_weights()) == len(critic.real_anchor)
    torch.stack([part.square().mean() for part in logits]).sum().backward()
    assert images.grad is not None and float(images.grad.abs().max()) > 0
    assert all(parameter.grad is not None for parameter in critic.parameters())


def test_grey_images_pass_and_spectral_norm_keeps_to_the_heads() -> None:
    perceptual = build_perceptual(PerceptualConfig(net="embedded"))
    before = [level.clone() for level in perceptual.network.features(torch.ones(1, 3, 32, 32))]
    config = AdversarialConfig(discriminator="features", base_channels=8, spectral_norm=True)
    build_critic(config, 1, perceptual)(torch.zeros(1, 1, 32, 32))
    after = perceptual.network.features(torch.ones(1, 3, 32, 32))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_no_perceptual_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="discriminator=features with loss.perceptual.net=none"):
        build_critic(CONFIG, 3, None)
