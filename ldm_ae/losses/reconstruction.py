"""Pixel terms: how unlikely an image is under the decoder's output, per image value."""

import torch
import torch.nn.functional as F
from torch import Tensor

# DALL-E maps intensities from [0, 1] into [eps, 1 - eps] before the logit (Ramesh et al. 2021).
LOGIT_EPS = 0.1
# The decoder's location is kept where that map stays inside (0, 1): |x| < 1 / (1 - 2 eps).
_LOCATION_LIMIT = 1.2
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -7.0, 3.0


def l1(output: Tensor, images: Tensor) -> Tensor:
    """|x - x'| of images (B, C, H, W), mean over all values."""
    return F.l1_loss(output, images)


def l2(output: Tensor, images: Tensor) -> Tensor:
    """(x - x')^2 of images (B, C, H, W), mean over all values."""
    return F.mse_loss(output, images)


class _StraightThroughClamp(torch.autograd.Function):
    """Clamp whose gradient still passes where it leads back inside."""

    @staticmethod
    def forward(ctx, x: Tensor, limit: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.limit = limit
        return x.clamp(-limit, limit)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        leads_out = ((x > ctx.limit) & (grad < 0)) | ((x < -ctx.limit) & (grad > 0))
        return grad.masked_fill(leads_out, 0.0), None


def logit_laplace(output: Tensor, log_scale: Tensor, images: Tensor) -> Tensor:
    """Negative log-likelihood in nats per value, mean (Ramesh et al. 2021, appendix A.3).

        f(x | mu, b) = 1 / (2 b x (1 - x)) exp(-|logit(x) - mu| / b),   x in (eps, 1 - eps)

    output: (B, C, H, W), the location as an image in [-1, 1], mu = logit of its intensity. So
    the decoder's output is the reconstruction itself, whatever the likelihood.
    log_scale: (B, C, H, W), log b.
    """
    x = _intensity(images)
    location = torch.logit(_intensity(_StraightThroughClamp.apply(output, _LOCATION_LIMIT)))
    log_b = log_scale.clamp(_MIN_LOG_SCALE, _MAX_LOG_SCALE)
    distance = (torch.logit(x) - location).abs()
    nll = distance * torch.exp(-log_b) + log_b + torch.log(2 * x * (1 - x))
    return nll.mean()


def _intensity(images: Tensor) -> Tensor:
    """[-1, 1] -> [eps, 1 - eps]."""
    return (images + 1) / 2 * (1 - 2 * LOGIT_EPS) + LOGIT_EPS
