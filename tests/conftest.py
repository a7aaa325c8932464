"""Fixtures for every test: no network, tiny models whose every weight matters."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import pytest
import torch

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import ModelConfig, build_model
from ldm_ae.models.coders import CoderConfig

# `nohup make test &` starts with Ctrl-C ignored, and what ignores it cannot be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Photos and reference weights that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("reference photos and weights (../shared) are not beside the project")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def _empty_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a user has fetched before decides no test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "TORCH_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps its settings for the life of a process; each test has its own."""
    yield
    if "accelerate.state" in sys.modules:
        sys.modules["accelerate.state"].AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def squeeze_weights(shared_dir: Path) -> Path:
    """torchvision's SqueezeNet 1.1 features, the backbone of LPIPS-squeeze."""
    return shared_dir / "weights" / "squeezenet1_1_features.safetensors"


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
