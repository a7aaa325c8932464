"""From a model's config to the model: the one list of families."""

from typing import Annotated

from ldm_ae.config import TAGGED_BY_KIND
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.discrete import DiscreteAutoencoder, DiscreteConfig
from ldm_ae.models.kl import KLAutoencoder, KLConfig
from ldm_ae.models.plain import PlainAutoencoder, PlainConfig
from ldm_ae.models.settings import ModelSettings
from ldm_ae.models.tiny import TinyAutoencoder, TinyConfig

ModelConfig = Annotated[KLConfig | PlainConfig | DiscreteConfig | TinyConfig, TAGGED_BY_KIND]

MODELS: dict[type[ModelSettings], type[Autoencoder]] = {
    KLConfig: KLAutoencoder,
    PlainConfig: PlainAutoencoder,
    DiscreteConfig: DiscreteAutoencoder,
    TinyConfig: TinyAutoencoder,
}


def build_model(config: ModelSettings) -> Autoencoder:
    """A model with random weights, drawn from torch's global generator."""
    return MODELS[type(config)](config)  # type: ignore[call-arg]
