"""What a model is given by its users, checked before torch says something of its own."""

from typing import Any

from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.models.rows import Rows


def require_images(images: Tensor | Rows, channels: int) -> None:
    """Raise UserError unless they are float (B, channels, H, W), or rows of one such image."""
    _require(images, "images", channels, "float in [-1, 1], such as `x / 127.5 - 1` of uint8")


def require_latents(latents: Tensor, channels: int) -> None:
    """Raise UserError unless they are float (B, channels, h, w)."""
    _require(latents, "latents", channels, "float, as encode() gives them")


def _require(given: Any, name: str, channels: int, wanted: str) -> None:
    is_tensor = isinstance(given, Tensor)
    if not is_tensor and not hasattr(given, "read"):
        raise UserError(
            f"{name} are {type(given).__name__}: give a torch tensor (B, {channels}, H, W)"
        )
    if is_tensor and not given.is_floating_point():
        raise UserError(f"{name} are {given.dtype}: give {wanted}")
    shape = tuple(given.shape)
    if len(shape) != 4:
        raise UserError(f"{name} have the shape {shape}: give (B, {channels}, H, W), a batch")
    if shape[1] != channels:
        raise UserError(f"{name} have {shape[1]} channels, this model takes {channels}")
