"""Large pictures piece by piece: memory and the attention's time stay those of one piece."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Pictures of up to this many pixels go through the network whole.
WHOLE_PIXELS = 1 << 21
TILE_PIXELS, OVERLAP_PIXELS = 1024, 128  # along a side


def encode_tiles(encode: Callable[[Tensor], Tensor], images: Tensor, factor: int) -> Tensor:
    """Images (B, C, h f, w f) => latents (B, c, h, w), whole or, if large, from tiles.

    Overlapping latents are averaged with weights that fall towards a tile's border, where the
    network saw only one side.
    """
    height, width = images.shape[-2] // factor, images.shape[-1] // factor
    if height * width * factor**2 <= WHOLE_PIXELS:
        return encode(images)
    return _blend(
        lambda y, x: encode(images[..., _scaled(y, factor), _scaled(x, factor)]),
        (height, width),
        factor,
        out_factor=1,
    )


def decode_tiles(decode: Callable[[Tensor], Tensor], codes: Tensor, factor: int) -> Tensor:
    """Latents (B, c, h, w) or indices (B, h, w) => images (B, C, h f, w f), likewise."""
    height, width = codes.shape[-2:]
    if height * width * factor**2 <= WHOLE_PIXELS:
        return decode(codes)
    return _blend(lambda y, x: decode(codes[..., y, x]), (height, width), factor, out_factor=factor)


def windows(size: int, side: int, overlap: int) -> list[slice]:
    """Evenly spread windows of `side` that cover 0..size and overlap by at least so much."""
    if size <= side:
        return [slice(0, size)]
    count = -(-(size - overlap) // (side - overlap))
    starts = [round(index * (size - side) / (count - 1)) for index in range(count)]
    return [slice(start, start + side) for start in starts]


def _blend(
    piece: Callable[[slice, slice], Tensor], size: tuple[int, int], factor: int, out_factor: int
) -> Tensor:
    """Weighted mean of pieces; windows in latent positions, output `out_factor` times as fine."""
    side, overlap = max(1, TILE_PIXELS // factor), OVERLAP_PIXELS // factor
    total, weights = None, None
    for y in windows(size[0], side, overlap):
        for x in windows(size[1], side, overlap):
            found = piece(y, x)
            if total is None or weights is None:
                shape = (size[0] * out_factor, size[1] * out_factor)
                total = found.new_zeros((*found.shape[:-2], *shape))
                weights = found.new_zeros(shape)
            fade = overlap * out_factor
            weight = _ramp(found.shape[-2], fade)[:, None] * _ramp(found.shape[-1], fade)[None, :]
            weight = weight.to(found)
            area = (..., _scaled(y, out_factor), _scaled(x, out_factor))
            total[area] += found * weight
            weights[area] += weight
    assert total is not None and weights is not None
    return total / weights


def _ramp(size: int, fade: int) -> Tensor:
    """Rises over the first `fade` places and falls over the last, never zero."""
    place = torch.arange(1, size + 1, dtype=torch.float32)
    return (torch.minimum(place, size + 1 - place) / (fade + 1)).clamp(max=1)


def _scaled(window: slice, factor: int) -> slice:
    return slice(window.start * factor, window.stop * factor)
