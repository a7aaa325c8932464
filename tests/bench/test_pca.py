import numpy as np
import pytest
import torch
from torch import Tensor

from ldm_ae.bench.pca import (
    PatchCovariance,
    fit_patch_pca,
    from_patches,
    principal_angles,
    to_patches,
)


@pytest.fixture
def images() -> Tensor:
    """Correlated noise far from zero mean, (6, 3, 24, 32)."""
    noise = torch.randn(6, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    return noise.cumsum(dim=3) * 0.05 + 0.7


def test_patches_hold_channel_row_column_and_go_back() -> None:
    images = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    patches = to_patches(images, 2)
    assert patches.shape == (2, 2, 3, 12)
    assert torch.equal(patches[1, 1, 2], images[1, :, 2:4, 4:6].flatten())
    assert torch.equal(from_patches(patches, 2), images)
    with pytest.raises(ValueError, match="not divisible by the patch size 4"):
        to_patches(images, 4)


def test_components_and_loss_are_those_of_an_svd_of_all_patches(images: Tensor) -> None:
    pca = fit_patch_pca([images[:1], images[1:3], images[3:]], 4, 5)
    patches = to_patches(images.double(), 4).flatten(0, 2).numpy()
    centred = patches - patches.mean(axis=0)
    _, singular_values, right = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(pca.mean, patches.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(pca.variances, singular_values**2 / len(patches), atol=1e-12)
    assert principal_angles(pca.components, torch.from_numpy(right[:5])).max() < 1e-6
    lost = (pca.reconstruct(images) - images).double().square().sum() / len(patches)
    assert lost.item() == pytest.approx(pca.variances[5:].sum().item(), rel=1e-5)


def test_a_large_mean_costs_no_digits(images: Tensor) -> None:
    """Sums of squares without centring would leave about one digit here."""
    batches = images.double().split(2)
    near, far = (
        fit_patch_pca([batch + offset for batch in batches], 4, 5) for offset in (0.0, 1e7)
    )
    assert torch.allclose(near.variances, far.variances, rtol=1e-4, atol=1e-8)


def test_all_components_reconstruct_any_size_exactly(images: Tensor) -> None:
    pca = fit_patch_pca([images], 2, 12)
    odd = images[:, :, :23, :29]
    assert torch.allclose(pca.reconstruct(odd), odd, rtol=0, atol=1e-6)
    assert pca.encode(images).shape == (6, 12, 12, 16)


def test_no_other_subspace_of_the_same_size_loses_less(images: Tensor) -> None:
    pca = fit_patch_pca([images], 4, 3)
    centred = to_patches(images.double(), 4).flatten(0, 2) - pca.mean
    for seed in range(5):
        noise = torch.randn(3, 48, generator=torch.Generator().manual_seed(seed))
        other = torch.linalg.qr((pca.components + 0.05 * noise).T).Q
        kept, other_kept = (centred @ pca.components.T, centred @ other)
        assert kept.square().sum() > other_kept.square().sum()


def test_a_remainder_at_the_edge_is_left_out(images: Tensor) -> None:
    whole, ragged = PatchCovariance(8), PatchCovariance(8)
    whole.update(images[:, :, :16, :24])
    ragged.update(images[:, :, :23, :31])
    assert whole.count == ragged.count == 6 * 2 * 3
    assert torch.equal(whole.scatter, ragged.scatter)
    ragged.update(images[:, :, :7])
    assert ragged.count == whole.count


def test_principal_angles_in_degrees_even_if_tiny() -> None:
    for degrees in (1e-6, 3.0, 60.0, 90.0):
        angle = np.deg2rad(degrees)
        a = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=torch.float64)
        b = torch.tensor([[1.0, 0, 0], [5, 3 * np.cos(angle), 3 * np.sin(angle)]]).double()
        if degrees == 1e-6:
            b = torch.tensor([[1, 0, 0], [5, 3, 3 * angle]], dtype=torch.float64)
        measured = principal_angles(a, b)
        assert measured.tolist() == pytest.approx([0, degrees], rel=1e-6, abs=1e-7)


def test_what_cannot_be_fitted_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="no image"):
        fit_patch_pca([], 4, 3)
    with pytest.raises(ValueError, match="keep 1 to 48"):
        fit_patch_pca([images], 4, 49)
    with pytest.raises(ValueError, match="more than 4 patches"):
        fit_patch_pca([images[:1, :, :8, :8]], 4, 4)
