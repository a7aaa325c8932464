from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2

from ldm_ae.metrics.mobilenet import MEAN, STD, FrechetNetwork


@pytest.fixture(scope="module")
def teacher() -> torch.nn.Module:
    """torchvision's network with random weights and batch norms that do something."""
    torch.manual_seed(0)
    network = mobilenet_v2(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return network


def test_folded_features_are_torchvisions(teacher: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(teacher.state_dict(), tmp_path / "mobilenet_v2.pth")
    network = FrechetNetwork(tmp_path / "mobilenet_v2.pth")
    images = torch.randint(0, 256, (1, 3, 224, 224)).float() / 127.5 - 1
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        expected = teacher.features((images / 2 + 0.5 - mean) / std).mean((2, 3))
    torch.testing.assert_close(network(images), expected, rtol=1e-3, atol=1e-4)
    assert "not FID" in network.name


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"0.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for path in (tmp_path / "other.pth", tmp_path / "missing.safetensors"):
        with pytest.raises(ValueError, match=f"train.frechet.weights={path}"):
            FrechetNetwork(path)


def test_the_shared_file_is_such_a_network(shared_dir: Path) -> None:
    network = FrechetNetwork(shared_dir / "weights" / "mobilenetv2_features_bnfolded.safetensors")
    features = network(torch.rand(1, 3, 64, 48) * 2 - 1)
    assert features.shape == (1, 1280)
    assert 0 < float(features.mean()) < 6  # means of ReLU6 outputs
