"""Pixels of another colour space => sRGB, as the ICC profile that came with them says."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
# A profile that changes no probe by more than one level is sRGB's own, in one of its spellings.
_PROBE_SIDE = 17


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB, or the picture itself: without a profile, with one that says sRGB, and
    with one that cannot be read or is for other channels. Grey stays grey; alpha is kept.

    Relative colorimetric with black point compensation, which for profiles of displays is exact
    within sRGB; what lies outside of it is clipped.
    """
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"):
        return image
    mode = {"L": "L", "LA": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    convert = _conversion(profile, mode)
    if convert is None:
        return image
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    converted = convert(image.convert(mode))
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@lru_cache(maxsize=16)
def _conversion(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """From a profile to sRGB, or None where there is nothing to do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(source.profile.xcolor_space.strip()) != mode:
            return None
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        if mode == "L":  # littleCMS' shortcut for grey was seen to be off by ten levels
            flags |= ImageCms.Flags.NOOPTIMIZE
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if mode == "L":
        levels = transform.apply(Image.fromarray(np.arange(256, dtype=np.uint8)[None]))
        table = np.asarray(levels)[0, :, 1]
        return None if _is_identity(table, np.arange(256)) else lambda grey: grey.point(table)
    if mode == "RGB" and _is_identity(np.asarray(transform.apply(_probe())), np.asarray(_probe())):
        return None
    return transform.apply


def _is_identity(after: np.ndarray, before: np.ndarray) -> bool:
    change = after.astype(int) - before.astype(int)
    return bool(np.abs(change).max() <= 1)


def _probe() -> Image.Image:
    """Colours of a regular grid."""
    levels = np.linspace(0, 255, _PROBE_SIDE).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
    return Image.fromarray(grid.reshape(_PROBE_SIDE, -1, 3))
