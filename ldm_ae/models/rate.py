"""The rate of quantised latents, as a term to train with (Balle et al. 2017, eqs. 10 to 13).

Latents are rounded to a step that is drawn anew for each image, so that one model serves a range
of rates. The decoder sees them rounded, with a straight-through gradient; their bits are counted
under uniform noise instead (Minnen and Singh 2020, section 3.3), by a prior that learns with the
model and is not part of an export: the codec fits its own.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from ldm_ae.config import Width
from ldm_ae.errors import UserError
from ldm_ae.noise import uniform_noise

_STEP, _ROUNDING = 1, 2  # streams of an image's noise
_LEAST_PROBABILITY = 1e-9
_LOG_SCALES = (-7.0, 7.0)  # of the middle step

# The passes: one position of each 2 x 2 block after the other; later ones see the earlier.
_PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))


@dataclass(frozen=True)
class RateConfig:
    """least_step, greatest_step: the quantisation steps trained for, in units of the latents; a
        step is drawn log-uniformly for each image.
    step_power: the rate weighs loss.rate_weight (step / middle step)^step_power: a coarser step
        goes with a dearer bit. 1 suits distances that grow with the error, 2 its square.
    width: channels of the prior's network.
    """

    least_step: float = 0.1
    greatest_step: float = 0.8
    step_power: float = 1.0
    width: Width = 64

    def __post_init__(self) -> None:
        if not 0 < self.least_step <= self.greatest_step:
            raise UserError(
                f"model.rate.least_step={self.least_step}, greatest_step={self.greatest_step}: use"
                " 0 < least_step <= greatest_step"
            )
        if self.width < 1:
            raise UserError(f"model.rate.width={self.width}: use 1 or more")

    @property
    def middle_step(self) -> float:
        return math.sqrt(self.least_step * self.greatest_step)


class RatePrior(nn.Module):
    """A logistic density for each latent value, given the neighbours of earlier passes."""

    def __init__(self, config: RateConfig, latent_channels: int, downsampling_factor: int) -> None:
        super().__init__()
        self.config = config
        self.values_per_pixel = latent_channels / downsampling_factor**2
        self.network = nn.Sequential(
            nn.Conv2d(latent_channels + 2, config.width, 5, padding=2),
            nn.SiLU(),
            nn.Conv2d(config.width, config.width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.width, len(_PASSES) * 2 * latent_channels, 1),
        )

    def draw_steps(self, latents: Tensor, keys: Tensor | None) -> Tensor:
        """A step for each image, (B, 1, 1, 1)."""
        uniform = uniform_noise(latents[:, :1, :1, :1], keys, _STEP)
        low, high = math.log(self.config.least_step), math.log(self.config.greatest_step)
        return torch.exp(low + (high - low) * uniform)

    def quantize(self, latents: Tensor, steps: Tensor) -> Tensor:
        """Latents rounded to the steps, (B, c, h, w), with the gradient of the identity."""
        rounded = torch.round(latents / steps) * steps
        return latents + (rounded - latents).detach()

    def bits(self, latents: Tensor, steps: Tensor, keys: Tensor | None) -> Tensor:
        """Bits of each latent value at its image's step, (B, c, h, w), under uniform noise."""
        noise = uniform_noise(latents, keys, _ROUNDING) - 0.5
        # In units of the middle step, which the network's inputs and outputs are of the order of.
        noisy = (latents + noise * steps) / self.config.middle_step
        relative = steps / self.config.middle_step
        return self.value_bits(noisy, *self._densities(noisy, relative), relative)

    @staticmethod
    def value_bits(values: Tensor, mean: Tensor, log_scale: Tensor, relative: Tensor) -> Tensor:
        """Bits of the bins, as wide as the relative steps, around values (B, c, h, w)."""
        width = 0.5 * relative * torch.exp(-log_scale)
        centre = (values - mean).abs() * torch.exp(-log_scale)
        # The bin's mass; taken on the falling side, where the difference keeps its digits.
        mass = torch.sigmoid(width - centre) - torch.sigmoid(-width - centre)
        return -torch.log2(mass.clamp_min(_LEAST_PROBABILITY))

    def _densities(self, values: Tensor, relative: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log scales (B, c, h, w), each from what its pass knows."""
        batch, channels, height, width = values.shape
        known = torch.zeros_like(values[:, :1])
        step_plane = torch.log(relative).expand_as(known)
        chosen = values.new_zeros((batch, 2, channels, height, width))
        for index, (top, left) in enumerate(_PASSES):
            inputs = torch.cat([0.25 * values * known, known, step_plane], dim=1)
            out = rearrange(
                self.network(inputs), "b (p m c) h w -> p b m c h w", p=len(_PASSES), m=2
            )
            here = torch.zeros_like(known[:1])
            here[:, :, top::2, left::2] = 1
            chosen = chosen + here[:, None] * out[index]
            known = known + here
        mean, log_scale = chosen.unbind(dim=1)
        low, high = _LOG_SCALES
        return mean, log_scale.clamp(low, high)

    def forward(self, latents: Tensor, keys: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents (B, c, h, w) -> the same quantised, and the penalties `rate` (bits per pixel,
        each image's weighed by its step), `bpp` (unweighed, for the logs) and `prior`: the same
        bits as far as the prior can change them, which trains it while the rate weighs nothing."""
        steps = self.draw_steps(latents, keys)
        with torch.autocast(latents.device.type, enabled=False):
            bpp = self._bpp(latents, steps, keys)
            of_prior = self._bpp(latents.detach(), steps, keys)
        weights = (steps.flatten() / self.config.middle_step) ** self.config.step_power
        penalties = {
            "rate": (weights * bpp).mean(),
            "bpp": bpp.mean().detach(),
            "prior": of_prior.mean(),
        }
        return self.quantize(latents, steps), penalties

    def _bpp(self, latents: Tensor, steps: Tensor, keys: Tensor | None) -> Tensor:
        """Bits per pixel of each image, (B,)."""
        return self.bits(latents, steps, keys).mean(dim=(1, 2, 3)) * self.values_per_pixel
