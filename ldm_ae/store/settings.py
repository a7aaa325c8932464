"""Which model, and what is kept of its latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Content = Literal["mode", "moments", "coded"]
DType = Literal["float16", "bfloat16", "float32"]


@dataclass(frozen=True)
class ModelChoice:
    """As `ldm_ae.load` takes it, or the folder of another autoencoder of diffusers. precision: the
    latents of `fast` are near, not equal."""

    folder: str | Path
    subfolder: str | None = None
    variant: str | None = None
    device: str = "cpu"
    precision: Literal["fp32", "fast"] = "fp32"


@dataclass(frozen=True)
class Storage:
    """content: `mode`, the posterior's mean, or latents of a model without one; `moments`, mean
    and log variance, of which samples can be drawn later; `coded`, an .lae file of the codec at
    `quality`. A model with a codebook stores its indices, int32, whatever the first two say.
    dtype: of latents that are not coded.
    """

    content: Content = "mode"
    dtype: DType = "float16"
    quality: int = 40
