"""The diagonal Gaussian posterior of a KL-regularised autoencoder."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ldm_ae.noise import normal_noise

# Bounds of log sigma^2 used by every public KL autoencoder: exp overflows in fp16 beyond them.
MIN_LOGVAR, MAX_LOGVAR = -30.0, 20.0


@dataclass(frozen=True)
class DiagonalGaussian:
    """q(z|x) = N(mean, diag(exp(logvar))); mean and logvar are (B, c, h, w), logvar clamped."""

    mean: Tensor
    logvar: Tensor

    @staticmethod
    def from_moments(moments: Tensor) -> "DiagonalGaussian":
        """moments (B, 2c, h, w) -> posterior; the halves are the mean and log sigma^2."""
        mean, logvar = moments.chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar.clamp(MIN_LOGVAR, MAX_LOGVAR))

    @property
    def std(self) -> Tensor:
        return torch.exp(0.5 * self.logvar)

    def sample(self, keys: Tensor | None = None) -> Tensor:
        """z = mean + std * noise (Kingma and Welling 2014, eq. 4); noise keyed by image."""
        return self.mean + self.std * normal_noise(self.mean, keys)

    def mode(self) -> Tensor:
        return self.mean

    def kl(self) -> Tensor:
        """KL(q || N(0, I)) per element, (B, c, h, w), in nats, in at least fp32.

        1/2 (mean^2 + sigma^2 - 1 - log sigma^2), Kingma and Welling 2014, appendix B. In fp16 the
        square and the exponential overflow, so half precision is raised to fp32 first.
        """
        dtype = torch.promote_types(self.mean.dtype, torch.float32)
        mean, logvar = self.mean.to(dtype), self.logvar.to(dtype)
        return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar)
