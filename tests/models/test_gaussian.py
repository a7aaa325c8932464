import torch
from torch.distributions import Normal, kl_divergence

from ldm_ae.models.gaussian import MAX_LOGVAR, MIN_LOGVAR, DiagonalGaussian


def test_kl_equals_torch_distributions() -> None:
    posterior = DiagonalGaussian.from_moments(torch.randn(2, 8, 3, 5, dtype=torch.float64))
    expected = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.kl(), expected.double())


def test_kl_of_half_precision_is_finite() -> None:
    moments = torch.cat([torch.full((1, 4, 2, 2), 300.0), torch.full((1, 4, 2, 2), 15.0)], dim=1)
    kl = DiagonalGaussian.from_moments(moments.half()).kl()
    assert kl.dtype == torch.float32 and torch.isfinite(kl).all()


def test_logvar_is_clamped() -> None:
    moments = torch.tensor([0.0, 100.0, 0.0, -100.0]).view(2, 2, 1, 1)
    logvar = DiagonalGaussian.from_moments(moments).logvar.flatten().tolist()
    assert logvar == [MAX_LOGVAR, MIN_LOGVAR]


def test_samples_have_the_posteriors_moments() -> None:
    mean, logvar = torch.full((1, 1, 300, 300), 2.0), torch.full((1, 1, 300, 300), -2.0)
    sample = DiagonalGaussian(mean, logvar).sample(torch.tensor([7]))
    assert abs(float(sample.mean()) - 2.0) < 0.01
    assert abs(float(sample.std()) - float(torch.tensor(-1.0).exp())) < 0.01


def test_mode_is_the_mean() -> None:
    posterior = DiagonalGaussian.from_moments(torch.randn(1, 2, 4, 4))
    assert torch.equal(posterior.mode(), posterior.mean)
