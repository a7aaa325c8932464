"""An autoencoder whose latents another one learns to make and to decode."""

import torch
from torch import Tensor, nn

from ldm_ae.models.kl import KLAutoencoder
from ldm_ae.models.outputs import Lesson


class Teacher(nn.Module):
    """Frozen. In what pipelines compute with, (z - shift_factor) * scaling_factor of the model."""

    def __init__(self, model: KLAutoencoder) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor, keys: Tensor | None) -> Lesson:
        """Images (B, C, H, W) -> the posterior's mode and a sample, as its decoder saw them in
        training; keys int64 (B,) fix each image's noise."""
        posterior = self.model.posterior(images)
        return Lesson(self._scaled(posterior.mode()), self._scaled(posterior.sample(keys)))

    @torch.no_grad()
    def picture(self, latents: Tensor) -> Tensor:
        """What its decoder makes of unscaled latents (B, c, H/f, W/f)."""
        return self.model.decode(latents)

    def unscaled(self, latents: Tensor) -> Tensor:
        return latents / self.model.scaling_factor + self.model.shift_factor

    def _scaled(self, latents: Tensor) -> Tensor:
        return (latents - self.model.shift_factor) * self.model.scaling_factor
