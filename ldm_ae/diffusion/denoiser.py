"""What is learned: the velocity from a picture's latents to noise, by diffusers' DiT."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_ae.diffusion.config import DenoiserConfig
from ldm_ae.diffusion.latents import MAX_CLASSES, LatentBatch
from ldm_ae.errors import UserError
from ldm_ae.noise import noise_keys, normal_noise, uniform_noise

EMPTY_CLASS = MAX_CLASSES
TIMESTEPS = 1000  # what DiT's embedding of time and the scheduler count in
_NOISE, _TIME, _DROPOUT = 1, 2, 3  # streams of a latent's random numbers; 0 is its posterior's


def build_denoiser(config: DenoiserConfig, shape: tuple[int, int, int]) -> Any:
    """diffusers' DiTTransformer2DModel for latents (c, h, w), in eval mode: in training mode each
    block would drop labels on its own. Raises UserError for latents that patches do not cover."""
    from diffusers import DiTTransformer2DModel

    channels, side, _ = shape
    if side % config.patch_size:
        raise UserError(
            f"denoiser.patch_size={config.patch_size} does not divide the latents' side {side}:"
            " use 1, or encode crops of another --size"
        )
    network: Any = DiTTransformer2DModel(
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        in_channels=channels,
        out_channels=channels,  # DiTPipeline reads it
        num_layers=config.num_layers,
        sample_size=side,
        patch_size=config.patch_size,
        num_embeds_ada_norm=MAX_CLASSES,
    )
    _start_as_nothing(network)
    network.eval()
    return network


def _start_as_nothing(network: Any) -> None:
    """adaLN-Zero: each block begins as the identity, the whole as 0 (Peebles and Xie 2023, section
    3.2), which diffusers leaves to whoever trains."""
    layers: list[nn.Linear] = [block.norm1.linear for block in network.transformer_blocks]
    for layer in (*layers, network.proj_out_1, network.proj_out_2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def denoising_loss(
    denoiser: nn.Module, batch: LatentBatch, seed: int, label_dropout: float
) -> tuple[Tensor, Tensor]:
    """The loss, a scalar, and the predicted velocity (B, c, h, w).

    x_t = (1 - t) x + t noise; the target is its derivative, noise - x (Liu et al. 2023, eq. 1),
    with t the logistic function of a normal number (Esser et al. 2024, section 3.1). All that is
    random follows from the batch's keys and the run's seed.
    """
    x, keys = batch.images, noise_keys(batch.keys, seed)
    noise = normal_noise(x, keys, _NOISE)
    t = torch.sigmoid(normal_noise(x[:, 0, 0, 0], keys, _TIME))  # (B,)
    dropped = uniform_noise(t, keys, _DROPOUT) < label_dropout
    labels = torch.where(dropped, EMPTY_CLASS, batch.labels)
    share = t[:, None, None, None]
    noisy = (1 - share) * x + share * noise
    velocity: Tensor = denoiser(noisy, timestep=TIMESTEPS * t, class_labels=labels).sample
    return F.mse_loss(velocity.float(), noise - x), velocity
