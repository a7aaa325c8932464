import pytest
import torch

from ldm_ae.bench.linear import (
    LinearAutoencoder,
    LinearConfig,
    compare_with_pca,
    fit_least_squares,
)
from ldm_ae.bench.pca import fit_patch_pca, from_patches, principal_angles, to_patches
from ldm_ae.data.folder import EMBEDDED_TRAIN, embedded_photos
from ldm_ae.data.images import load_image, to_float


def patches(patch: int, count: int) -> torch.Tensor:
    """Patches (count, 3, f, f) of an embedded photo, in fp64."""
    image = to_float(load_image(embedded_photos(EMBEDDED_TRAIN)[0])).double()[..., :480, :480]
    flat = to_patches(image, patch).flatten(0, 2)
    chosen = flat[torch.randperm(len(flat))[:count]]
    return chosen.view(count, 3, patch, patch)


@pytest.mark.parametrize(("patch", "size"), [(4, 6), (4, 3), (8, 4)])
def test_squared_error_leads_to_pca(patch: int, size: int) -> None:
    images = patches(patch, 3000)
    model = LinearAutoencoder(LinearConfig(patch=patch, latent_channels=size)).double()
    claimed = fit_least_squares(model, images)
    error = float((model(images).images - images).detach().square().mean())
    assert claimed == pytest.approx(error, rel=1e-9)

    flat = images.flatten(1)
    _, values, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    best = float(values[size:].square().sum() / flat.numel())
    assert best <= error <= 1.01 * best
    angles = principal_angles(model.decoder.weight.detach().flatten(1), directions[:size])
    assert float(angles.max()) < 5.0
    row = compare_with_pca(model, fit_patch_pca([images], patch, size), images)
    assert row["mse_pca"] == pytest.approx(best, rel=1e-6)
    assert row["excess"] == pytest.approx(error / best - 1, abs=1e-6)
    expected = float(angles.max())
    assert row["largest_principal_angle_degrees"] == pytest.approx(expected, abs=1e-4)


def test_shapes_of_patches_and_latents() -> None:
    model = LinearAutoencoder(LinearConfig(patch=4, latent_channels=5))
    output = model(torch.randn(2, 3, 8, 12))
    assert output.latents.shape == (2, 5, 2, 3) and output.images.shape == (2, 3, 8, 12)
    images = torch.randn(1, 3, 8, 12)
    assert torch.equal(from_patches(to_patches(images, 4), 4), images)
