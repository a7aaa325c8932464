"""The training objective: what is added up, with which weights.

Everything inside is a mean per element. LDM adds over an image instead; dividing its loss by the
C H W values of an image gives the same gradients up to that constant, and turns its weight of the
KL term, w per summed nat, into w c / (C f^2) per mean nat: 1e-6 becomes 2.08e-8 at f8 with four
latent channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.losses.adversarial import AdversarialConfig
from ldm_ae.losses.colour import colour_error
from ldm_ae.losses.grid import grid_power
from ldm_ae.losses.perceptual import PerceptualConfig, PerceptualLoss, to_rgb
from ldm_ae.losses.reconstruction import l1, l2, logit_laplace
from ldm_ae.losses.structural import WINDOW_SIZE, structural_loss
from ldm_ae.losses.texture import texture_distance
from ldm_ae.losses.views import random_view
from ldm_ae.models.outputs import Reconstruction


@dataclass(frozen=True)
class LossConfig:
    """reconstruction: the pixel term; `logit_laplace` needs model.predict_scale (dVAE).

    target: what reconstructions are compared with: the `images`, or what the `teacher` makes of the
        same latents, where a decoder learns from another one (model.init_from with a frozen
        encoder, or tiny). It has no detail that latents do not hold.
    reconstruction_weight, perceptual_weight: their factors; a weight of 0 leaves the perceptual
        network out.
    perceptual_views: show the perceptual network both sides resized, shifted, turned and recoloured
        at random, anew at each step (E-LPIPS).
    view_scales: the least and the greatest size of such a view, in sizes of the image. A short
        training learns more from small ones, which cost less. Fine detail takes enlarged ones:
        the first layers of SqueezeNet and AlexNet skip pixels.
    structural_weight: of the multi-scale SSIM term.
    colour_weight: of the error in red against green and yellow against blue, of block means.
    texture_weight: of the distance between local moments of the perceptual network's features.
    grid_weight: of the power of what an error has in common at each place of the decoder's grid.
    kl_weight: factor of the KL term (kl, and discrete with a gumbel codebook), in `kl_units`:
        `summed`, as LDM and the VAE literature state it, or `mean`, per element.
    kl_warmup_steps: the KL weight rises linearly from 0 over these steps.
    codebook_weight: factor of all other terms of a codebook (codebook, commitment, entropy).
    rate_weight: factor of the latents' bits per pixel at the middle step (plain with model.rate).
    rate_start_step, rate_warmup_steps: the rate's weight is 0 until the one and rises linearly
        over the other: a decoder that cannot use bits yet gives the encoder no reason to send
        them, and a channel given up early does not return. The prior learns from the first step.
    learn_log_variance: train s in exp(-s) reconstruction + s (Rombach et al.'s code has it, but
        never gives it to the optimizer).
    """

    reconstruction: Literal["l1", "l2", "logit_laplace"] = "l1"
    target: Literal["images", "teacher"] = "images"
    reconstruction_weight: float = 1.0
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    perceptual_weight: float = 1.0
    perceptual_views: bool = False
    view_scales: tuple[float, float] = (0.5, 1.0)
    structural_weight: float = 0.0
    colour_weight: float = 0.0
    texture_weight: float = 0.0
    grid_weight: float = 0.0
    kl_weight: float = 1e-6
    kl_units: Literal["summed", "mean"] = "summed"
    kl_warmup_steps: int = 0
    codebook_weight: float = 1.0
    rate_weight: float = 1.0
    rate_start_step: int = 0
    rate_warmup_steps: int = 0
    learn_log_variance: bool = False
    log_variance_init: float = 0.0
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)

    def __post_init__(self) -> None:
        for name in (
            "reconstruction_weight",
            "perceptual_weight",
            "structural_weight",
            "colour_weight",
            "texture_weight",
            "grid_weight",
            "kl_weight",
            "kl_warmup_steps",
            "codebook_weight",
            "rate_weight",
            "rate_start_step",
            "rate_warmup_steps",
        ):
            if getattr(self, name) < 0:
                raise UserError(f"loss.{name}={getattr(self, name)}: use 0 or more")
        least, greatest = self.view_scales
        if not 0.1 <= least <= greatest <= 4:
            raise UserError(
                f"loss.view_scales={list(self.view_scales)}: use two numbers from 0.1 to 4, the"
                " lesser first"
            )

    @property
    def needs_perceptual(self) -> bool:
        """Whether a term in use is made of the perceptual network's features."""
        return max(self.perceptual_weight, self.texture_weight) > 0

    @property
    def smallest_image(self) -> int:
        """The least side, in pixels, that the pixel terms in use are defined for."""
        return WINDOW_SIZE if self.structural_weight > 0 else 1


@dataclass(frozen=True)
class Losses:
    """total: the scalar to differentiate, without the adversarial term.

    reconstruction: the part of it that the adaptive weight compares with, all terms of images.
    terms: unweighted scalars by name, detached, for the logs.
    """

    total: Tensor
    reconstruction: Tensor
    terms: dict[str, Tensor]


class Objective:
    """Weighs the terms of one model family; holds the frozen perceptual network, no parameters."""

    def __init__(
        self,
        config: LossConfig,
        perceptual: PerceptualLoss | None,
        regularized_per_value: float,
        downsampling_factor: int = 1,
    ) -> None:
        """regularized_per_value: the model's, to turn summed weights into weights of means.
        downsampling_factor: the model's, the period of its decoder's grid."""
        self.config, self.period = config, downsampling_factor
        self.perceptual = perceptual
        scale = regularized_per_value if config.kl_units == "summed" else 1.0
        self.kl_weight = config.kl_weight * scale

    def penalty_weight(self, name: str, step: int) -> float:
        """Weight of one of the models' penalties at a training step."""
        config = self.config
        if name in ("kl", "kl_uniform"):
            return self.kl_weight * _warmup(step, config.kl_warmup_steps)
        if name == "rate":
            return config.rate_weight * _warmup(
                step - config.rate_start_step, config.rate_warmup_steps
            )
        if name == "bpp":  # for the logs
            return 0.0
        if name in ("prior", "latents"):
            return 1.0
        return config.codebook_weight

    def __call__(
        self, images: Tensor, output: Reconstruction, log_variance: Tensor, step: int
    ) -> Losses:
        """Images (B, C, H, W) in [-1, 1] and the model's output for them -> losses."""
        images = images if output.target is None else output.target
        with torch.autocast(images.device.type, enabled=False):
            terms: dict[str, Tensor] = {}
            error = images.new_zeros(())
            for name, weight, value in self._image_terms(images, output, step):
                terms[name] = value
                error = error + weight * value
            reconstruction = error * torch.exp(-log_variance) + log_variance
            total = reconstruction
            for name, value in output.penalties.items():
                terms[name] = value
                total = total + self.penalty_weight(name, step) * value
            detached = {name: value.detach() for name, value in terms.items()}
            return Losses(total, reconstruction, {"loss": total.detach(), **detached})

    def _image_terms(
        self, images: Tensor, output: Reconstruction, step: int
    ) -> Iterator[tuple[str, float, Tensor]]:
        """(name, weight, scalar) of each term in use."""
        config = self.config
        pixel = self._pixel(images, output)
        yield config.reconstruction, config.reconstruction_weight, pixel
        if config.structural_weight > 0:
            yield "structural", config.structural_weight, structural_loss(output.images, images)
        if config.colour_weight > 0 and images.shape[1] > 1:
            sides = to_rgb(output.images), to_rgb(images)
            yield "colour", config.colour_weight, colour_error(*sides, self.period)
        if config.grid_weight > 0:
            yield "grid", config.grid_weight, grid_power(output.images, images, self.period)
        if self.perceptual is not None:
            sides = to_rgb(output.images), to_rgb(images)
            if config.perceptual_views:
                sides = random_view(*sides, step, config.view_scales)
            features = self.perceptual.features(*sides)
            if config.perceptual_weight > 0:
                value = self.perceptual.distance(*features).mean()
                yield "perceptual", config.perceptual_weight, value
            if config.texture_weight > 0:
                yield "texture", config.texture_weight, texture_distance(*features)

    def _pixel(self, images: Tensor, output: Reconstruction) -> Tensor:
        if self.config.reconstruction == "logit_laplace":
            assert output.log_scale is not None, "logit_laplace without a predicted scale"
            return logit_laplace(output.images, output.log_scale, images)
        return (l1 if self.config.reconstruction == "l1" else l2)(output.images, images)


def _warmup(step: int, num_steps: int) -> float:
    """The factor at a step counted from where the rise begins, negative before it."""
    if step < 0:
        return 0.0
    return min(1.0, step / num_steps) if num_steps else 1.0
