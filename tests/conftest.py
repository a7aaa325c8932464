"""Fixtures for every test: few threads, no network, tiny configs."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import pytest
import torch

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Photos and reference weights that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("reference photos and weights (../shared) are not beside the project")
    return SHARED


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def squeeze_weights(shared_dir: Path) -> Path:
    """torchvision's SqueezeNet 1.1 features, the backbone of LPIPS-squeeze."""
    return shared_dir / "weights" / "squeezenet1_1_features.safetensors"
