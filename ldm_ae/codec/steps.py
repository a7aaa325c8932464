"""What lies between the network and the entropy coder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ldm_ae.codec.format import container


@dataclass(frozen=True)
class Analysis:
    """An image after the network: latents float32 (C, h, w), or code indices int64 (h, w); its
    size; whether it is grey; its packed alpha plane, None without one."""

    content: np.ndarray
    width: int
    height: int
    grey: bool
    alpha: bytes | None


@dataclass(frozen=True)
class Unpacked:
    """A file after the entropy decoder: quantised latents int64 (C, h, w) or indices (h, w);
    alpha: uint8 (H, W)."""

    symbols: np.ndarray
    header: container.Header
    alpha: np.ndarray | None
