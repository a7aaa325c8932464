import pytest
import torch

from ldm_ae.metrics.frechet import FeatureMoments, frechet_distance


def gaussian(mean: torch.Tensor, root: torch.Tensor) -> FeatureMoments:
    """Exact moments without sampling: n - 1 = 1."""
    return FeatureMoments(2, 2 * mean, root @ root.T + 2 * torch.outer(mean, mean))


def test_a_set_is_at_no_distance_from_itself() -> None:
    features = torch.randn(50, 8)
    moments = FeatureMoments.of(features)
    assert abs(frechet_distance(moments, moments)) < 1e-9
    few = FeatureMoments.of(features[:4])  # fewer samples than features: a singular covariance
    assert abs(frechet_distance(few, few)) < 1e-6


def test_closed_form_of_commuting_gaussians() -> None:
    a, b = torch.rand(2, 6, dtype=torch.float64) + 0.5
    m1, m2 = torch.randn(2, 6, dtype=torch.float64)
    expected = (m1 - m2).square().sum() + (a - b).square().sum()
    found = frechet_distance(gaussian(m1, a.diag()), gaussian(m2, b.diag()))
    assert found == pytest.approx(float(expected), rel=1e-10)


def test_against_the_eigenvalues_of_the_product() -> None:
    r1, r2 = torch.randn(2, 5, 5, dtype=torch.float64)
    zero = torch.zeros(5, dtype=torch.float64)
    s1, s2 = r1 @ r1.T, r2 @ r2.T
    root = torch.linalg.eigvals(s1 @ s2).real.clamp_min(0).sqrt().sum()
    expected = s1.trace() + s2.trace() - 2 * root
    found = frechet_distance(gaussian(zero, r1), gaussian(zero, r2))
    assert found == pytest.approx(float(expected), rel=1e-8)


def test_the_root_of_what_many_are_compared_with_is_taken_once(monkeypatch) -> None:
    first, *others = (FeatureMoments.of(torch.randn(9, 4)) for _ in range(3))
    calls, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda x: calls.append(1) or eigh(x))
    assert frechet_distance(first, others[0]) != frechet_distance(first, others[1])
    assert len(calls) == 1


def test_moments_add_up_and_are_those_of_numpy() -> None:
    features = torch.randn(30, 4)
    parts = FeatureMoments.of(features[:7]) + FeatureMoments.of(features[7:])
    torch.testing.assert_close(parts.mean, features.double().mean(0))
    torch.testing.assert_close(parts.covariance, torch.cov(features.double().T))
    with pytest.raises(ValueError, match="2 or more images; got 1"):
        FeatureMoments.of(features[:1]).covariance  # noqa: B018
