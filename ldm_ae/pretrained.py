"""Opens a model's folder as a codec."""

from __future__ import annotations

from pathlib import Path

import torch

from ldm_ae.codec.codec import Codec
from ldm_ae.codec.format.container import MAX_PIXELS
from ldm_ae.codec.priors.file import load_prior
from ldm_ae.convert.load import load, model_folder


def load_codec(
    folder: str | Path,
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    device: torch.device | str = "cpu",
    max_pixels: int = MAX_PIXELS,
) -> Codec:
    """The codec of an export, or of any folder that `ldm_ae.load` opens and `ldm-ae calibrate` has
    given a `prior.safetensors`; the arguments are `load`'s. max_pixels: files of larger pictures
    are refused; lower it for files from strangers, since a header alone may ask for minutes of
    work. Raises UserError as `load`, and if the prior is missing, damaged or another model's."""
    model = load(folder, subfolder=subfolder, variant=variant, device=device)
    place = model_folder(Path(folder), subfolder)
    return Codec(model, load_prior(place), max_pixels, place)
