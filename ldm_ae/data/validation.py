"""The fixed images that training is judged by."""

from __future__ import annotations

import torch
from torch import Tensor

from ldm_ae.data.bounds import BrokenImageError
from ldm_ae.data.images import decode_image, has_further_frames
from ldm_ae.data.opening import Data
from ldm_ae.data.paths import tell
from ldm_ae.data.transforms import centre_view
from ldm_ae.errors import UserError


def validation_images(data: Data) -> list[tuple[str, Tensor]]:
    """(name, uint8 (C, size, size)) of every validation image, in a fixed order.

    Empty where the config asks for no validation. An unusable image is left out and named in the
    log. Raises UserError when images were asked for and none is usable.
    """
    images, num_cut, problem, config = [], 0, "", data.config
    for name, encoded in data.validation.items():
        try:
            if isinstance(encoded, BrokenImageError):
                raise encoded
            image = decode_image(encoded, config.channels, bounds=config.bounds)
            view = centre_view(image, config)
        except BrokenImageError as error:
            tell("validation image %s is left out: %s", name, error)
            problem = problem or f"{name}: {error}"
            continue
        num_cut += has_further_frames(image)
        images.append((name, torch.from_numpy(view.copy()).permute(2, 0, 1).contiguous()))
    if num_cut:
        tell("of %d validation files only the first frame or page is used", num_cut)
    if not images and len(data.validation):
        raise UserError(
            f"none of {len(data.validation)} validation images is usable, the first one being"
            f" {problem}. Set data.validation_path to others"
            + ("" if config.validation_path else ", or data.validation_count=0")
        )
    return images
