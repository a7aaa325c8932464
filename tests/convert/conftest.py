"""Models whose every weight matters."""

from collections.abc import Callable

import pytest
import torch

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import ModelConfig, build_model
from ldm_ae.models.coders import CoderConfig

TINY = CoderConfig(channels=(8, 16), num_res_blocks=1, norm_groups=4)


@pytest.fixture
def tiny_coder() -> CoderConfig:
    """f2, a few thousand parameters."""
    return TINY


@pytest.fixture
def make_model() -> Callable[[ModelConfig], Autoencoder]:
    """A model in eval mode; norms and biases, which start as ones and zeros, are random, too."""

    def make(config: ModelConfig) -> Autoencoder:
        torch.manual_seed(0)
        model = build_model(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
                if name == "quantize.embedding.weight":
                    parameter.copy_(torch.randn_like(parameter))
        return model.eval()

    return make


@pytest.fixture
def images() -> torch.Tensor:
    """Smooth random images in [-1, 1], (2, 3, 32, 48)."""
    coarse = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")
