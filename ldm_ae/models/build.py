"""From a model's config to the model."""

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.dvae import DiscreteVAE, DVAEConfig
from ldm_ae.models.kl import KLAutoencoder, KLConfig
from ldm_ae.models.plain import PlainAutoencoder, PlainConfig
from ldm_ae.models.vq import VQAutoencoder, VQConfig

ModelConfig = KLConfig | VQConfig | PlainConfig | DVAEConfig

MODELS: dict[type, type[Autoencoder]] = {
    KLConfig: KLAutoencoder,
    VQConfig: VQAutoencoder,
    PlainConfig: PlainAutoencoder,
    DVAEConfig: DiscreteVAE,
}


def build_model(config: ModelConfig) -> Autoencoder:
    """A model with random weights, drawn from torch's global generator."""
    return MODELS[type(config)](config)  # type: ignore[call-arg]


def count_parameters(model: Autoencoder) -> int:
    """Parameters that diffusers' class of the same shape has, too."""
    return sum(parameter.numel() for parameter in model.parameters())
