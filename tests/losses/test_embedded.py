"""The embedded network: small, well-behaved, and in agreement with LPIPS."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from safetensors import safe_open
from scipy.stats import spearmanr
from torch import Tensor

import ldm_ae
from ldm_ae.data.images import to_float
from ldm_ae.losses.embedded import EmbeddedPerceptual, embedded_card, load_embedded
from ldm_ae.losses.perceptual import PerceptualConfig, PerceptualLoss, build_perceptual

WEIGHTS = Path(ldm_ae.__file__).parent / "weights" / "embedded_perceptual.safetensors"


@pytest.fixture(scope="module")
def embedded() -> PerceptualLoss:
    loss = build_perceptual(PerceptualConfig("embedded"))
    assert isinstance(loss, PerceptualLoss)
    return loss


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Three of scikit-image's photos, (3, 3, 256, 256)."""
    pixels = (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea())
    return torch.cat([to_float(np.ascontiguousarray(p[20:276, 100:356])) for p in pixels])


def noisy(photos: Tensor, scale: float) -> Tensor:
    noise = torch.randn(photos.shape, generator=torch.Generator().manual_seed(0))
    return (photos + scale * noise).clamp(-1, 1)


def test_says_that_it_is_not_lpips(embedded: PerceptualLoss) -> None:
    assert embedded.name == "embedded (not LPIPS)"


def test_file_is_small_and_its_card_true() -> None:
    assert WEIGHTS.stat().st_size <= 1.5e6
    with safe_open(WEIGHTS, "pt") as file:
        counts = [file.get_tensor(name).numel() for name in file.keys()]  # noqa: SIM118
    assert sum(counts) == embedded_card()["num_parameters"]
    assert embedded_card()["trained_from"] == "random weights"


def test_identity_is_zero_and_order_does_not_matter(
    embedded: PerceptualLoss, photos: Tensor
) -> None:
    assert embedded(photos, photos).tolist() == [0.0, 0.0, 0.0]
    other = noisy(photos, 0.2)
    torch.testing.assert_close(embedded(photos, other), embedded(other, photos))


def test_distances_are_positive_and_grow_with_noise(
    embedded: PerceptualLoss, photos: Tensor
) -> None:
    distances = torch.stack([embedded(photos, noisy(photos, s)) for s in (0.02, 0.1, 0.3, 0.8)])
    assert (distances[0] > 0).all()
    assert (distances.diff(dim=0) > 0).all()


def test_weights_are_not_negative() -> None:
    assert all((weights >= 0).all() for weights in load_embedded().level_weights())


def test_gradient_leads_back_to_the_photo(embedded: PerceptualLoss, photos: Tensor) -> None:
    image = noisy(photos, 0.2).requires_grad_()
    start = embedded(image, photos).sum()
    start.backward()
    assert image.grad is not None and image.grad.isfinite().all()
    step = 0.01 * image.grad / image.grad.abs().mean()
    assert embedded(image.detach() - step, photos).sum() < start
    towards = ((image.detach() - photos) * image.grad).flatten(1).sum(dim=1)
    assert (towards > 0).all()  # down the slope is towards the photo


def test_smallest_image(embedded: PerceptualLoss) -> None:
    size = EmbeddedPerceptual.min_size
    x, y = torch.zeros(1, 3, size, size), torch.ones(1, 3, size, size)
    assert embedded(x, y).item() > 0
    with pytest.raises(ValueError, match=f"at least {size} pixels"):
        embedded(x[..., 1:], y[..., 1:])


def test_weights_file_is_refused() -> None:
    with pytest.raises(ValueError, match="part of the package"):
        build_perceptual(PerceptualConfig("embedded", "squeezenet.safetensors"))


def test_agrees_with_lpips(shared_dir: Path, embedded: PerceptualLoss, photos: Tensor) -> None:
    weights = shared_dir / "weights" / "squeezenet1_1_features.safetensors"
    lpips = build_perceptual(PerceptualConfig("squeeze", str(weights)))
    small = torch.nn.functional.avg_pool2d(photos, 4)
    versions = [noisy(photos, s) for s in (0.05, 0.3)]
    versions += [torch.nn.functional.interpolate(small, photos.shape[2:], mode="bilinear")]
    versions += [photos * 0.6, photos.roll(2, dims=3), photos.flip(1)]
    ours = torch.cat([embedded(version, photos) for version in versions])
    theirs = torch.cat([lpips(version, photos) for version in versions])
    assert spearmanr(ours, theirs).statistic > 0.9
