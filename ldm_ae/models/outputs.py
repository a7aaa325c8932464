"""What the models return.

Shapes everywhere in the package: B images, C image channels, H x W pixels, c latent channels,
f the downsampling factor, K codes. The spaces, in order:

    images [-1, 1] (B, C, H, W)  ->  moments (B, 2c, H/f, W/f)  ->  latents (B, c, H/f, W/f)
    latents  ->  indices (B, H/f, W/f), for the families with a codebook
    latents * scaling_factor  =  scaled latents, what a diffusion model sees
"""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Lesson:
    """What a teacher makes of images, (B, c, H/f, W/f) each, in its scaled latents.

    mode: what an encoder is to make of them. latents: what a decoder is to make them of.
    """

    mode: Tensor
    latents: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """One training pass.

    images: (B, C, H, W), the decoder's output, nominally in [-1, 1], not clamped.
    latents: (B, c, H/f, W/f), unscaled; what was decoded (sampled) or what was quantised.
    penalties: scalar terms by name (`kl`, `codebook`, `commitment`, `kl_uniform`, `latents`), means
        per element of the latent, in fp32; the objective weighs them.
    indices: int64 (B, H/f, W/f) for the families with a codebook, else None.
    log_scale: (B, C, H, W) log b of a logit-Laplace likelihood, else None.
    target: (B, C, H, W), what images are to be compared with instead of the model's input, or None.
    """

    images: Tensor
    latents: Tensor
    penalties: dict[str, Tensor] = field(default_factory=dict)
    indices: Tensor | None = None
    log_scale: Tensor | None = None
    target: Tensor | None = None
